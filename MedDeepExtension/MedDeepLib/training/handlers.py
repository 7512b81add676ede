"""What goes along with every step of a stage: seed, learning rate, clipping, averaged weights, a word on the loss."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines import IterationEvents

from MedDeepLib.core import Context
from MedDeepLib.errors import JobError
from MedDeepLib.training import ranks
from MedDeepLib.training.average import WeightAverage
from MedDeepLib.training.stage import Stage
from MedDeepLib.training.trainer import PartsTrainer

_REPORT_SECONDS = 0.5
_GOLDEN = 0x9E3779B97F4A7C15  # spreads the seeds of neighbouring processes over all that there are


@dataclass
class Progress:
    """How far a stage has come; part of every checkpoint."""

    stage_index: int
    step: int = 0
    batches: int = 0  # more than steps where several processes train together
    seconds: float = 0.0
    best_figure: float = -math.inf
    best_step: int = 0
    validations_without_gain: int = 0
    reductions: int = 0
    refresh_due: bool = False
    validation_due: bool = False
    finished: bool = False
    parts: int = 1

    def as_dict(self) -> dict[str, Any]:
        return dict(vars(self))


@dataclass
class Finished:
    """The stages that are done: their networks by name, and how each of them went."""

    networks: dict[str, torch.nn.Module] = field(default_factory=dict)
    progress: list[Progress] = field(default_factory=list)


class StepSeed:
    """Seeds torch at every step from the job's seed and the step, so that dropout does not depend on interruptions.

    Processes that train together drop different things.
    """

    def __init__(self, context: Context, progress: Progress):
        self._seed, self._progress = context.seed, progress

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        seed = (self._seed << 32) + (self._progress.stage_index << 26) + engine.state.iteration
        torch.manual_seed((seed + ranks.rank() * _GOLDEN) % 2**64)


class LearningRate:
    """Sets the learning rates as a function of the step, or of the time where that ends the stage first."""

    def __init__(self, stage: Stage, progress: Progress):
        self._stage, self._progress = stage, progress
        groups = [group for optimizer in stage.optimizers.values() for group in optimizer.param_groups]
        self._groups = [(group, group.setdefault("initial_lr", group["lr"])) for group in groups]

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        stage, progress = self._stage, self._progress
        step = engine.state.iteration - 1
        if stage.seconds:
            step = max(step, int(stage.steps * min(1.0, progress.seconds / stage.seconds)))
        factor = stage.learning_rate(step)
        if stage.plateau is not None:
            factor *= stage.plateau.factor**progress.reductions
        for group, base in self._groups:
            group["lr"] = base * factor


class GradientClipping:
    """Clips the norm of the trained network's gradients before the optimiser's step."""

    def __init__(self, stage: Stage):
        self._stage = stage

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        torch.nn.utils.clip_grad_norm_(self._stage.trained_network.parameters(), self._stage.max_gradient_norm)


class Averaging:
    """Takes the weights into their running average after every step."""

    def __init__(self, average: WeightAverage):
        self._average = average

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        self._average.update()


class LossReport:
    """Sends progress, mean losses and time left; ends the job when a loss is not finite."""

    def __init__(self, stage: Stage, context: Context, progress: Progress):
        self._stage, self._context, self._progress = stage, context, progress
        self._outputs: list[dict[str, torch.Tensor]] = []
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
        self._outputs.append(engine.state.output)
        now, step = time.monotonic(), engine.state.iteration
        if now - self._reported < _REPORT_SECONDS and step < self._stage.steps:
            return
        self._reported = now
        values = _means(self._outputs)
        self._outputs.clear()
        for name, value in values.items():
            if not math.isfinite(value):
                raise JobError(
                    f"The {name} became {value} at step {step} of stage '{self._stage.name}': try a lower learning "
                    "rate. The checkpoint before it is kept."
                )
        self._context.report("metrics", stage=self._stage.name, step=step, values=values)
        self._context.report(
            "progress",
            stage=self._stage.name,
            step=step,
            total=self._stage.steps,
            remaining=round(self._remaining(now, step), 1),
        )

    def _remaining(self, now: float, step: int) -> float:
        remaining = (now - self._began) / (step - self._first_step) * (self._stage.steps - step)
        if self._stage.seconds:
            remaining = min(remaining, max(0.0, self._stage.seconds - self._progress.seconds))
        return remaining


class MoreParts:
    """What has to be known and kept when a batch is computed in more parts than before."""

    def __init__(self, trainer: PartsTrainer, stage: Stage, progress: Progress, context: Context, save, seed: StepSeed):
        """``save`` writes a checkpoint."""
        self._trainer, self._stage, self._progress, self._context = trainer, stage, progress, context
        self._save, self._seed = save, seed

    def __call__(self, parts: int) -> None:
        self._context.report(
            "warning",
            message=f"There was not enough memory. From step {self._trainer.state.iteration} on every batch of "
            f"{self._stage.batch_size} goes through the network in {parts} parts, whose gradients are added up.",
        )
        self._progress.parts = parts
        self._save()  # a run that dies and goes on computes the same steps in the same parts
        self._seed(self._trainer)


def _means(outputs: list[dict[str, torch.Tensor]]) -> dict[str, float]:
    """The mean of everything in the outputs of some steps that is a single number."""
    means = {}
    for name, value in outputs[-1].items():
        if isinstance(value, torch.Tensor) and value.numel() == 1:
            means[name] = float(torch.stack([output[name].detach().float().reshape(()) for output in outputs]).mean())
        elif isinstance(value, (int, float)):
            means[name] = sum(float(output[name]) for output in outputs) / len(outputs)
    return means
