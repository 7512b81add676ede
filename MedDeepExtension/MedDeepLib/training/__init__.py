"""The engine that trains every method: stages on MONAI's trainer, with events, checkpoints and exact resumption.

The way of a batch: a stage's ``sample(number)`` makes one training sample, whose content depends on the job's seed and
its number only (:mod:`~MedDeepLib.training.stage`); :mod:`~MedDeepLib.training.engine` collates samples in a background
thread and hands them to MONAI's ``SupervisedTrainer``, which runs the network, the loss and the optimiser, in parts if
memory is short (:mod:`~MedDeepLib.training.trainer`); :mod:`~MedDeepLib.training.handlers` watch it.
"""
