"""Runs one TrainStage on MONAI's trainer, from its checkpoint or its beginning to its end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from MedDeepLib.core import Context
from MedDeepLib.devices.memory import is_out_of_memory
from MedDeepLib.errors import Stopped
from MedDeepLib.training import ranks
from MedDeepLib.training.average import WeightAverage
from MedDeepLib.training.batches import BatchStream
from MedDeepLib.training.checkpoint import CheckpointStore
from MedDeepLib.training.handlers import (
    Averaging,
    GradientClipping,
    LearningRate,
    LossReport,
    MoreMicroBatches,
    StepSeed,
)
from MedDeepLib.training.keeper import Keeper, StageState, load_networks
from MedDeepLib.training.precision import loss_scaler
from MedDeepLib.training.progress import Progress
from MedDeepLib.training.stages import TrainStage
from MedDeepLib.training.trainer import MicroBatchTrainer, StageForward


def run_train_stage(
    stage: TrainStage,
    index: int,
    checkpoint: dict[str, Any] | None,
    store: CheckpointStore,
    context: Context,
    finished: Sequence[Progress],
) -> Progress:
    """Train a stage; afterwards its networks hold the weights to keep.

    Args:
        checkpoint: of this stage, if there is one.
        finished: progress of the stages before this one.

    Raises Stopped, once a checkpoint has been written.
    """
    optimisation = stage.optimisation
    progress = Progress(index, micro_batches=min(optimisation.micro_batches, max(1, stage.data.batch_size)))
    average = WeightAverage(stage.networks, optimisation.average) if optimisation.average else None
    scaler = loss_scaler(optimisation.dtype if stage.loss else None, context.device)
    state = StageState(stage, average, scaler)
    if checkpoint is not None:
        progress = Progress.from_dict(checkpoint["progress"])
        state.restore(checkpoint)
    # A custom update rule ignores other processes: each of them does the same work.
    share = (ranks.rank(), ranks.count()) if stage.loss else (0, 1)
    keeper = Keeper(state, progress, store, context, finished, batches_per_step=share[1])
    if not progress.finished:
        context.report("phase", phase=f"Training: {stage.name}")
        keeper.catch_up()
    if not (progress.finished or keeper.stopped):
        _warn_of_own_update(stage, context)
        _trainer(stage, progress, keeper, scaler, average, share, context).run()
    if keeper.stopped:
        raise Stopped
    if average is not None and not progress.best_step:
        average.use()
    if ranks.leads():
        if progress.best_step:
            load_networks(stage, store.load_best(index)["networks"])
        store.save_stage(index, {"networks": state.networks()})
    ranks.share_weights(stage.networks)
    return progress


def _trainer(
    stage: TrainStage,
    progress: Progress,
    keeper: Keeper,
    scaler: torch.amp.GradScaler,
    average: WeightAverage | None,
    share: tuple[int, int],
    context: Context,
) -> MicroBatchTrainer:
    """MONAI's trainer with the handlers of every step, in the order in which they are called."""
    seed = context.seed + (progress.stage_index << 32)
    stream = BatchStream(
        stage,
        progress.step,
        context.device,
        seed,
        first_batch=progress.batches,
        share=share,
        micro_batches=(lambda: progress.micro_batches) if stage.loss else (lambda: 1),
    )
    forward = StageForward(stage)
    # Without a loss there may be no optimiser, one or several, used only by the stage's update rule.
    optimizer: Any = stage.optimisation.optimizer
    loss: Any = stage.loss
    trainer = MicroBatchTrainer(
        device=context.device,
        max_epochs=1,
        epoch_length=stage.optimisation.steps,
        train_data_loader=stream,
        network=ranks.in_parallel(forward) if stage.loss else forward,
        optimizer=optimizer,
        loss_function=loss,
        iteration_update=_own_update(stage.update, stage, context) if stage.update else None,
        decollate=False,
    )
    trainer.state.iteration = progress.step
    trainer.dtype, trainer.loss_scaler = stage.optimisation.dtype, scaler
    trainer.buffers = [buffer for network in stage.networks.values() for buffer in network.buffers()]
    step_seed = StepSeed(context, progress)
    trainer.before_retry = MoreMicroBatches(trainer, stage, progress, context, keeper.save, step_seed)
    handlers = [step_seed, LearningRate(stage, progress)]
    if stage.optimisation.max_gradient_norm and stage.loss:
        handlers.append(GradientClipping(stage))
    if average is not None:
        handlers.append(Averaging(average))
    for handler in [*handlers, LossReport(stage, context, progress), keeper]:
        handler.attach(trainer)
    return trainer


def _own_update(
    own: Callable[[Any, Any], dict[str, Any]], stage: TrainStage, context: Context
) -> Callable[[Any, Any], dict[str, Any]]:
    def update(engine, batch):
        try:
            return own(engine, batch.pieces[0][0])
        except Exception as error:
            if is_out_of_memory(error) and stage.data.batch_size > 1:
                context.report(
                    "warning",
                    message=f"Stage '{stage.name}' has an update rule of its own, so a batch that does not fit into "
                    "memory cannot be split into micro-batches: choose a smaller batch or another device.",
                )
            raise

    return update


def _warn_of_own_update(stage: TrainStage, context: Context) -> None:
    """Warn of the settings of this run that a custom update rule ignores."""
    if stage.update is None:
        return
    optimisation = stage.optimisation
    lost = []
    if ranks.count() > 1:
        lost.append(f"all {ranks.count()} processes do the same work")
    if optimisation.dtype is torch.float16:
        lost.append("losses are not scaled for float16")
    elif optimisation.dtype is not None:
        lost.append("the forward pass is not computed in half precision")
    if optimisation.max_gradient_norm:
        lost.append("gradients are not clipped")
    if optimisation.micro_batches > 1:
        lost.append("batches are not split into micro-batches")
    if lost:
        context.report("warning", message=f"Stage '{stage.name}' has an update rule of its own, so {_listed(lost)}.")


def _listed(words: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
