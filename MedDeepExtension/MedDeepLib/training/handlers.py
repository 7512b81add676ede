"""What watches a stage while MONAI's trainer runs it: progress, validation, checkpoints, stop, a loss gone wrong."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from ignite.engine import Engine, Events
from monai.engines import IterationEvents

from MedDeepLib.errors import JobError, Stopped
from MedDeepLib.methods import Context
from MedDeepLib.training.checkpoint import CheckpointStore
from MedDeepLib.training.stage import Stage

_REPORT_SECONDS = 0.5
_CHECKPOINT_SECONDS = 20.0


@dataclass
class Progress:
    """How far a stage has come; part of every checkpoint."""

    stage_index: int
    step: int = 0
    best_figure: float = -math.inf
    best_step: int = 0
    validations_without_gain: int = 0
    validation_due: bool = False
    finished: bool = False
    parts: int = 1

    def as_dict(self) -> dict:
        return dict(vars(self))


@dataclass
class Finished:
    """The stages that are done: their networks by name, and how each of them went."""

    networks: dict[str, torch.nn.Module] = field(default_factory=dict)
    progress: list[Progress] = field(default_factory=list)


class StepSeed:
    """Seeds torch at every step from the job's seed and the step, so that dropout does not depend on interruptions."""

    def __init__(self, context: Context, progress: Progress):
        self._seed, self._progress = context.seed, progress

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        torch.manual_seed((self._seed << 32) + (self._progress.stage_index << 26) + engine.state.iteration)


class LearningRate:
    """Sets the learning rate as a pure function of the step."""

    def __init__(self, stage: Stage):
        self._stage = stage
        self._base = [group.setdefault("initial_lr", group["lr"]) for group in stage.optimizer.param_groups]

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        factor = self._stage.learning_rate(engine.state.iteration - 1)
        for group, base in zip(self._stage.optimizer.param_groups, self._base, strict=True):
            group["lr"] = base * factor


class GradientClipping:
    """Clips the norm of the trained network's gradients before the optimiser's step."""

    def __init__(self, stage: Stage):
        self._stage = stage

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        torch.nn.utils.clip_grad_norm_(self._stage.trained_network.parameters(), self._stage.max_gradient_norm)


class LossReport:
    """Sends progress, mean loss and time left; ends the job when the loss is not finite."""

    def __init__(self, stage: Stage, context: Context):
        self._stage, self._context = stage, context
        self._losses: list[torch.Tensor] = []
        self._reported = self._began = time.monotonic()
        self._first_step = 0

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self._begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def _begin(self, engine: Engine) -> None:
        self._reported = self._began = time.monotonic()
        self._first_step = engine.state.iteration

    def __call__(self, engine: Engine) -> None:
        # Losses stay on the device until they are reported: reading one would make the device wait at every step.
        self._losses.append(engine.state.output["loss"].detach())
        now, step = time.monotonic(), engine.state.iteration
        if now - self._reported < _REPORT_SECONDS and step < self._stage.steps:
            return
        self._reported = now
        loss = float(torch.stack(self._losses).mean())
        self._losses.clear()
        if not math.isfinite(loss):
            raise JobError(
                f"The loss became {loss} at step {step} of stage '{self._stage.name}': try a lower learning rate. "
                "The checkpoint before it is kept."
            )
        remaining = (now - self._began) / (step - self._first_step) * (self._stage.steps - step)
        self._context.report("metrics", stage=self._stage.name, step=step, values={"loss": loss})
        self._context.report(
            "progress",
            stage=self._stage.name,
            step=step,
            total=self._stage.steps,
            remaining=round(remaining, 1),
        )


class Keeper:
    """Validates, keeps the best weights, writes checkpoints, and leaves when the user asks or nothing improves."""

    def __init__(
        self,
        stage: Stage,
        progress: Progress,
        store: CheckpointStore,
        context: Context,
        finished: Finished,
    ):
        self._stage, self._progress, self._store, self._context = stage, progress, store, context
        self._finished = finished
        self._saved = time.monotonic()
        self.stopped = False

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        step = self._progress.step = engine.state.iteration
        at_end = step >= self._stage.steps
        self._progress.validation_due = bool(self._stage.validate) and (
            at_end or step % self._stage.validate_every == 0
        )
        validated = self._progress.validation_due
        self.catch_up()
        if self._context.stop_requested() and not self._progress.finished:
            self.stopped = True
        if validated or self.stopped or at_end or time.monotonic() - self._saved > _CHECKPOINT_SECONDS:
            self.save()
        if self.stopped or self._progress.finished:
            engine.terminate()

    def catch_up(self) -> None:
        """Do the validation that is due, now or since the job was stopped in the middle of it."""
        if self._progress.validation_due:
            try:
                self._validate()
                self._progress.validation_due = False
            except Stopped:
                self.stopped = True
                return
        progress = self._progress
        enough = 0 < self._stage.patience <= progress.validations_without_gain
        if enough and progress.step < self._stage.steps:
            self._context.report(
                "message",
                message=f"Stopped at step {progress.step}: {self._stage.patience} validations without a better "
                f"{self._stage.key_figure} than at step {progress.best_step}, whose weights are kept.",
            )
        self._progress.finished = enough or self._progress.step >= self._stage.steps

    def save(self) -> None:
        """Write a checkpoint, but never weights that are not finite: the last good ones stay."""
        if all(torch.isfinite(p).all() for n in self._stage.networks.values() for p in n.parameters()):
            networks = {**self._finished.networks, **self._stage.networks}
            self._store.save(
                {
                    "finished": [progress.as_dict() for progress in self._finished.progress],
                    "progress": self._progress.as_dict(),
                    "networks": {name: network.state_dict() for name, network in networks.items()},
                    "optimizer": self._stage.optimizer.state_dict(),
                }
            )
        self._saved = time.monotonic()

    def _validate(self) -> None:
        progress = self._progress
        with _evaluating(self._stage.networks), torch.inference_mode():
            figures = self._stage.validate()
        self._context.report("metrics", stage=self._stage.name, step=progress.step, values=figures)
        figure = figures[self._stage.key_figure]
        if figure > progress.best_figure:
            progress.best_figure, progress.best_step = figure, progress.step
            progress.validations_without_gain = 0
            networks = {name: network.state_dict() for name, network in self._stage.networks.items()}
            self._store.save_best(progress.stage_index, {"networks": networks})
        else:
            progress.validations_without_gain += 1


@contextlib.contextmanager
def _evaluating(networks: dict[str, torch.nn.Module]) -> Iterator[None]:
    """Networks in evaluation mode; afterwards every layer is as it was, since a stage may train only some of them."""
    modes = {layer: layer.training for network in networks.values() for layer in network.modules()}
    for network in networks.values():
        network.eval()
    try:
        yield
    finally:
        for layer, training in modes.items():
            layer.training = training
