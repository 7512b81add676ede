"""Runs the stages of a method one after the other, on MONAI's trainer.

A checkpoint says which stage and step it belongs to. Because a sample depends on its number only, and dropout on the
step only, going on from a checkpoint gives the same weights as never having stopped. What a stage has made is kept in a
file of its own, so that the stages after it are built from the very same networks again, whatever they do to them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from monai.inferers import Inferer

from MedDeepLib.core import Context
from MedDeepLib.errors import Stopped
from MedDeepLib.training import ranks
from MedDeepLib.training.average import WeightAverage
from MedDeepLib.training.batches import BatchStream
from MedDeepLib.training.checkpoint import CheckpointStore
from MedDeepLib.training.handlers import (
    Averaging,
    Finished,
    GradientClipping,
    LearningRate,
    LossReport,
    MoreParts,
    Progress,
    StepSeed,
)
from MedDeepLib.training.keeper import Keeper, StageState, load_networks
from MedDeepLib.training.precision import loss_scaler
from MedDeepLib.training.stage import Stage
from MedDeepLib.training.trainer import PartsTrainer


@dataclass
class Outcome:
    """What training has made: the networks of all stages by name, and the figures of each stage."""

    networks: dict[str, torch.nn.Module] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)


def train(stages: Iterable[Stage], context: Context, identity: dict[str, Any]) -> Outcome:
    """Train the stages in order, from the job's checkpoint on if there is one.

    Args:
        stages: usually a generator: a stage is built when the ones before it have been trained.
        context: device, seed, job folder, events.
        identity: what a checkpoint must agree with to be gone on from: method and parameters.

    Raises:
        Stopped: the user asked to stop; a checkpoint has been written.
        JobError: the loss became NaN; the last good checkpoint is kept.
        CannotWrite: the disk is full; the last good checkpoint is kept.
        UserError: the checkpoint is damaged or of another method.
    """
    store = CheckpointStore(context.folder, {**identity, "seed": context.seed})
    checkpoint = ranks.from_leader(store.load)
    outcome, finished = Outcome(), Finished()
    for index, stage in enumerate(stages):
        if checkpoint and checkpoint["progress"]["stage_index"] > index:
            progress = Progress(**checkpoint["finished"][index])
            load_networks(stage, ranks.from_leader(partial(store.load_stage, index))["networks"])
        else:
            progress = _train_stage(stage, index, checkpoint, store, context, finished)
            checkpoint = None  # it was of this stage: the next ones begin at their beginning
        finished.networks.update(stage.networks)
        finished.progress.append(progress)
        outcome.figures[stage.name] = _figures(stage, progress)
    outcome.networks = finished.networks
    return outcome


def _train_stage(
    stage: Stage,
    index: int,
    checkpoint: dict[str, Any] | None,
    store: CheckpointStore,
    context: Context,
    finished: Finished,
) -> Progress:
    """Train a stage from its checkpoint or its beginning to its end; its networks then have the weights to keep."""
    progress = Progress(index, parts=stage.parts)
    average = WeightAverage(stage.networks, stage.average) if stage.average else None
    scaler = loss_scaler(stage.autocast if stage.loss else None, context.device)
    state = StageState(stage, average, scaler)
    if checkpoint is not None:
        progress = Progress(**checkpoint["progress"])
        state.restore(checkpoint)
    # An own update rule knows nothing of other processes: each of them then does the same.
    share = (ranks.rank(), ranks.count()) if stage.loss else (0, 1)
    keeper = Keeper(state, progress, store, context, finished, batches_per_step=share[1])
    if not progress.finished:
        context.report("phase", phase=f"Training: {stage.name}")
        keeper.catch_up()
    if not (progress.finished or keeper.stopped):
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
    stage: Stage,
    progress: Progress,
    keeper: Keeper,
    scaler: torch.amp.GradScaler,
    average: WeightAverage | None,
    share: tuple[int, int],
    context: Context,
) -> PartsTrainer:
    """MONAI's trainer with everything that goes along with a step; what comes first happens first."""
    seed = context.seed + (progress.stage_index << 32)
    stream = BatchStream(stage, progress.step, context.device, seed, first_batch=progress.batches, share=share)
    trainer = PartsTrainer(
        device=context.device,
        max_epochs=1,
        epoch_length=stage.steps,
        train_data_loader=stream,
        network=ranks.in_parallel(stage.trained_network) if stage.loss else stage.trained_network,
        optimizer=stage.optimizer,
        loss_function=stage.loss,
        iteration_update=stage.update,
        inferer=_AutocastInferer(context.device, stage.autocast),
        decollate=False,
    )
    trainer.state.iteration = progress.step
    trainer.parts, trainer.loss_scaler = progress.parts, scaler
    trainer.buffers = [buffer for network in stage.networks.values() for buffer in network.buffers()]
    step_seed = StepSeed(context, progress)
    trainer.before_retry = MoreParts(trainer, stage, progress, context, keeper.save, step_seed)
    handlers = [step_seed, LearningRate(stage, progress)]
    if stage.max_gradient_norm:
        handlers.append(GradientClipping(stage))
    if average is not None:
        handlers.append(Averaging(average))
    for handler in [*handlers, LossReport(stage, context, progress), keeper]:
        handler.attach(trainer)
    return trainer


class _AutocastInferer(Inferer):
    """Runs the network in a shorter number type where that is faster, and hands back float32."""

    def __init__(self, device: torch.device, number_type: torch.dtype | None):
        self._device_type, self._number_type = device.type, number_type

    def __call__(self, inputs: torch.Tensor, network: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
        if self._number_type is None:
            return network(inputs)
        with torch.autocast(self._device_type, dtype=self._number_type):
            output = network(inputs)
        return output.float() if isinstance(output, torch.Tensor) else [part.float() for part in output]


def _figures(stage: Stage, progress: Progress) -> dict[str, Any]:
    figures: dict[str, Any] = {"steps": progress.step}
    if stage.validate:
        figures |= {stage.key_figure: progress.best_figure, "best step": progress.best_step}
    return figures
