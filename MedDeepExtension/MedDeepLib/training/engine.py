"""Runs the stages of a method one after the other, on MONAI's trainer.

A checkpoint says which stage and step it belongs to. Because a sample depends on its number only, and dropout on the
step only, going on from a checkpoint gives the same weights as never having stopped.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from monai.inferers import Inferer

from MedDeepLib.errors import Stopped
from MedDeepLib.methods import Context
from MedDeepLib.training.batches import BatchStream
from MedDeepLib.training.checkpoint import CheckpointStore
from MedDeepLib.training.handlers import (
    Finished,
    GradientClipping,
    Keeper,
    LearningRate,
    LossReport,
    Progress,
    StepSeed,
)
from MedDeepLib.training.stage import Sample, Stage
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
    checkpoint = store.load()
    outcome, finished = Outcome(), Finished()
    for index, stage in enumerate(stages):
        progress = Progress(index, parts=stage.parts)
        if checkpoint and checkpoint["progress"]["stage_index"] >= index:
            progress = _restore(stage, index, checkpoint)
        if not progress.finished:
            context.report("phase", phase=f"Training: {stage.name}")
            _train_stage(stage, progress, store, context, finished)
        _use_best(stage, progress, store)
        finished.networks.update(stage.networks)
        finished.progress.append(progress)
        outcome.figures[stage.name] = {"steps": progress.step}
        if stage.validate:
            outcome.figures[stage.name] |= {
                stage.key_figure: progress.best_figure,
                "best step": progress.best_step,
            }
    outcome.networks = finished.networks
    return outcome


def _train_stage(
    stage: Stage,
    progress: Progress,
    store: CheckpointStore,
    context: Context,
    finished: Finished,
) -> None:
    trainer = PartsTrainer(
        device=context.device,
        max_epochs=1,
        epoch_length=stage.steps,
        train_data_loader=BatchStream(stage, progress.step),
        network=stage.trained_network,
        optimizer=stage.optimizer,
        loss_function=stage.loss or _no_loss,
        prepare_batch=_to_device,
        iteration_update=stage.update,
        inferer=_AutocastInferer(context.device, stage.autocast),
        decollate=False,
    )
    trainer.state.iteration = progress.step
    keeper = Keeper(stage, progress, store, context, finished)
    step_seed = StepSeed(context, progress)
    trainer.parts = progress.parts
    trainer.buffers = [buffer for network in stage.networks.values() for buffer in network.buffers()]
    trainer.before_retry = _MoreParts(trainer, stage, progress, keeper, step_seed, context)
    handlers = [step_seed, LearningRate(stage), LossReport(stage, context), keeper]
    if stage.max_gradient_norm:
        handlers.append(GradientClipping(stage))
    for handler in handlers:
        handler.attach(trainer)
    keeper.catch_up()
    if not (progress.finished or keeper.stopped):
        trainer.run()
    if keeper.stopped:
        raise Stopped


class _MoreParts:
    """What has to be known and kept when a batch is computed in more parts than before."""

    def __init__(
        self,
        trainer: PartsTrainer,
        stage: Stage,
        progress: Progress,
        keeper: Keeper,
        step_seed: StepSeed,
        context: Context,
    ):
        self._trainer, self._stage, self._progress = trainer, stage, progress
        self._keeper, self._step_seed, self._context = keeper, step_seed, context

    def __call__(self, parts: int) -> None:
        self._context.report(
            "warning",
            message=f"There was not enough memory. From step {self._trainer.state.iteration} on every batch of "
            f"{self._stage.batch_size} goes through the network in {parts} parts, whose gradients are added up.",
        )
        self._progress.parts = parts
        self._keeper.save()  # a run that dies and goes on computes the same steps in the same parts
        self._step_seed(self._trainer)


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


def _to_device(batch: Sample, device: torch.device, non_blocking: bool, **_: Any) -> tuple[torch.Tensor, Sample]:
    moved = {key: value.to(device, non_blocking=non_blocking) for key, value in batch.items()}
    return moved["image"], moved


def _no_loss(*_: Any) -> torch.Tensor:
    raise TypeError("a stage needs either a loss or an update rule")


def _restore(stage: Stage, index: int, checkpoint: dict[str, Any]) -> Progress:
    """Put a stage back to where the checkpoint left it; a stage before the checkpoint's is finished."""
    for name, state in checkpoint["networks"].items():
        if name in stage.networks:
            stage.networks[name].load_state_dict(state)
    if checkpoint["progress"]["stage_index"] > index:
        return Progress(**checkpoint["finished"][index])
    stage.optimizer.load_state_dict(checkpoint["optimizer"])
    return Progress(**checkpoint["progress"])


def _use_best(stage: Stage, progress: Progress, store: CheckpointStore) -> None:
    if stage.validate and progress.best_step:
        for name, state in store.load_best(progress.stage_index)["networks"].items():
            stage.networks[name].load_state_dict(state)
