"""The engine that trains every method: stages on MONAI's trainer, with events, checkpoints and exact resumption.

A method yields stages of three kinds (:mod:`~MedDeepLib.training.stages`); :mod:`~MedDeepLib.training.engine` runs them
one after the other. In a training stage, data flow from file to weight in these steps:

1. The method reads its cases once and keeps them (:mod:`~MedDeepLib.training.dense.cache`).
2. The stage makes training sample n from them. Its content depends only on the job's seed and on n; a sampler chooses
   the case (:mod:`~MedDeepLib.training.samplers`).
3. Threads make samples ahead of time; on the device they are augmented and collated to a batch, or to several
   micro-batches if memory is short (:mod:`~MedDeepLib.training.batches`; for patches of images
   :mod:`~MedDeepLib.training.dense.patches`).
4. MONAI's ``SupervisedTrainer`` runs forward pass, loss and optimiser (:mod:`~MedDeepLib.training.trainer`), or the
   stage's own update rule.
5. Handlers set seed and learning rate at every step and average the weights (:mod:`~MedDeepLib.training.handlers`);
   after the step, validation, a checkpoint or the end of the stage follow when due
   (:mod:`~MedDeepLib.training.keeper`).
"""
