"""Handlers of every step of a stage: seed, learning rate, clipping, averaged weights, reports of the loss."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines import IterationEvents

from MedDeepLib.core import Context
from MedDeepLib.errors import JobError
from MedDeepLib.training import ranks
from MedDeepLib.training.average import WeightAverage
from MedDeepLib.training.progress import Progress
from MedDeepLib.training.stages import TrainStage
from MedDeepLib.training.trainer import MicroBatchTrainer

_REPORT_SECONDS = 0.5
_GOLDEN = 0x9E3779B97F4A7C15  # spreads the seeds of neighbouring processes over all 64-bit numbers


class StepSeed:
    """Seeds torch at every step from the job's seed and the step, so that dropout does not depend on interruptions.

    Processes that train together get different seeds.
    """

    def __init__(self, context: Context, progress: Progress):
        self._seed, self._progress = context.seed, progress

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        seed = (self._seed << 32) + (self._progress.stage_index << 26) + engine.state.iteration
        torch.manual_seed((seed + ranks.rank() * _GOLDEN) % 2**64)


class LearningRate:
    """Sets the learning rates as a function of the step, or of the elapsed time if the time limit comes first."""

    def __init__(self, stage: TrainStage, progress: Progress):
        self._optimisation, self._progress = stage.optimisation, progress
        groups = [group for each in self._optimisation.optimizers.values() for group in each.param_groups]
        self._groups = [(group, group.setdefault("initial_lr", group["lr"])) for group in groups]

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        optimisation, progress = self._optimisation, self._progress
        step = engine.state.iteration - 1
        if optimisation.seconds:
            step = max(step, int(optimisation.steps * min(1.0, progress.seconds / optimisation.seconds)))
        factor = optimisation.learning_rate(step)
        if optimisation.plateau is not None:
            factor *= optimisation.plateau.factor**progress.reductions
        for group, base in self._groups:
            group["lr"] = base * factor


class GradientClipping:
    """Clips the norm of the trained networks' gradients before the optimiser's step."""

    def __init__(self, stage: TrainStage):
        parameters = [p for network in stage.trained_networks.values() for p in network.parameters()]
        self._parameters = list({id(p): p for p in parameters}.values())  # networks may share some
        self._norm = stage.optimisation.max_gradient_norm

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        torch.nn.utils.clip_grad_norm_(self._parameters, self._norm)


class Averaging:
    """Updates the running average of the weights after every step."""

    def __init__(self, average: WeightAverage):
        self._average = average

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        self._average.update()


class LossReport:
    """Reports progress, mean losses and time left; fails the job when a loss is not finite."""

    def __init__(self, stage: TrainStage, context: Context, progress: Progress):
        self._stage, self._context, self._progress = stage, context, progress
        self._outputs: list[Any] = []  # dictionaries of tensors; ignite does not type them
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
        if now - self._reported < _REPORT_SECONDS and step < self._stage.optimisation.steps:
            return
        self._reported = now
        values = _means(self._outputs)
        self._outputs.clear()
        for name, value in values.items():
            if not math.isfinite(value):
                raise JobError(
                    f"The {name} became {value} at step {step} of stage '{self._stage.name}': try a lower learning "
                    "rate. The last checkpoint before it is kept."
                )
        self._context.report("metrics", stage=self._stage.name, step=step, values=values)
        self._context.report(
            "progress",
            stage=self._stage.name,
            step=step,
            total=self._stage.optimisation.steps,
            remaining=round(self._remaining(now, step), 1),
        )

    def _remaining(self, now: float, step: int) -> float:
        optimisation = self._stage.optimisation
        remaining = (now - self._began) / (step - self._first_step) * (optimisation.steps - step)
        if optimisation.seconds:
            remaining = min(remaining, max(0.0, optimisation.seconds - self._progress.seconds))
        return remaining


class MoreMicroBatches:
    """Reports and saves that batches are split into more micro-batches from now on."""

    def __init__(
        self,
        trainer: MicroBatchTrainer,
        stage: TrainStage,
        progress: Progress,
        context: Context,
        save: Callable[[], None],
        seed: StepSeed,
    ):
        """``save`` writes a checkpoint."""
        self._trainer, self._stage, self._progress, self._context = trainer, stage, progress, context
        self._save, self._seed = save, seed

    def __call__(self, count: int) -> None:
        self._context.report(
            "warning",
            message=f"There was not enough memory. From step {self._trainer.state.iteration} on every batch of "
            f"{self._stage.data.batch_size} is computed in {count} micro-batches, whose gradients are added up.",
        )
        self._progress.micro_batches = count
        self._save()  # a run that dies and is resumed computes the same steps in the same micro-batches
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
