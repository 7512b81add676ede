"""The engine that trains every method: stages on MONAI's trainer, with events, checkpoints and exact resumption.

What a method yields are stages of three kinds (:mod:`~MedDeepLib.training.stages`); :mod:`~MedDeepLib.training.engine`
runs them one after the other. In a stage that trains, a batch takes this way, from file to weight:

1. The method reads its cases once and keeps them (:mod:`~MedDeepLib.training.dense.cache`).
2. The stage makes training sample number n from them, whose content depends on the job's seed and n only; which case it
   shows, a sampler decides (:mod:`~MedDeepLib.training.samplers`).
3. Threads make samples ahead of time; on the device they are augmented and collated to a batch, or to several
   micro-batches if memory is short (:mod:`~MedDeepLib.training.batches`; for patches of images
   :mod:`~MedDeepLib.training.dense.patches`).
4. MONAI's ``SupervisedTrainer`` runs forward pass, loss and optimiser (:mod:`~MedDeepLib.training.trainer`), or the
   stage's own update rule.
5. Handlers set seed and learning rate at every step and average the weights (:mod:`~MedDeepLib.training.handlers`);
   after the step comes what is due: validation, checkpoint, the end (:mod:`~MedDeepLib.training.keeper`).
"""
