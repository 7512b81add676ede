"""The engine that trains every method: stages on MONAI's trainer, with events, checkpoints and exact resumption.

The way of a batch, from file to weight:

1. A method reads its cases once and keeps them (:mod:`~MedDeepLib.training.dense.cache`).
2. A stage (:mod:`~MedDeepLib.training.stage`) makes training sample number n from them, whose content depends on the
   job's seed and n only; which case it shows, a sampler decides (:mod:`~MedDeepLib.training.samplers`).
3. Threads make samples ahead of time; on the device they are augmented and collated to a batch
   (:mod:`~MedDeepLib.training.batches`; for patches of images :mod:`~MedDeepLib.training.dense.patches`).
4. MONAI's ``SupervisedTrainer`` runs network, loss and optimiser, in parts if memory is short
   (:mod:`~MedDeepLib.training.trainer`), or the stage's own update rule.
5. With every step go seed, learning rate and averaged weights (:mod:`~MedDeepLib.training.handlers`); after it comes
   what is due: validation, checkpoint, the end (:mod:`~MedDeepLib.training.keeper`).

:mod:`~MedDeepLib.training.engine` puts this together, stage after stage.
"""
