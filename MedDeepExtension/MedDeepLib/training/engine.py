"""Runs the stages of a method one after the other, resumable at any step, item and stage.

A checkpoint says which stage and step it belongs to. Because a sample depends on its number only, and dropout on the
step only, a training that is resumed from a checkpoint ends with the same weights as one that was never interrupted.
The result of a stage is kept in its own file, so that on resuming, later stages start from the same networks and arrays
even if they change them.

Stages come from a generator, which is run again from its beginning on resuming. Each ``yield`` of a finished stage then
returns at once, but the code between two of them runs again every time: reading files, turning the output of one
network into the training set of the next. It must give the same results again. If it takes more than a few seconds, it
belongs in a FitStage (results in one go) or a DataStage (many items), whose results are kept::

    yield proposals                                                        # a TrainStage
    candidates = [find(network, case) for case in cases]                   # minutes, again at every resume: don't
    yield (candidates := DataStage("candidates", len(cases), find_in))     # each case once: do
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from MedDeepLib.core import Context
from MedDeepLib.errors import UserError
from MedDeepLib.training import ranks
from MedDeepLib.training.checkpoint import CheckpointStore
from MedDeepLib.training.data_loop import run_data_stage
from MedDeepLib.training.keeper import load_networks
from MedDeepLib.training.progress import Progress
from MedDeepLib.training.stages import FitStage, Stage, TrainStage
from MedDeepLib.training.stages.fit import checked_tensors
from MedDeepLib.training.train_loop import run_train_stage


@dataclass(frozen=True)
class KeyMetric:
    """The best value of the metric that a stage was validated by; see
    :class:`~MedDeepLib.training.stages.Validation`.
    """

    name: str
    value: float
    direction: int = 1
    chance: float | None = None

    @property
    def learned_nothing(self) -> bool:
        """Whether it is no better than chance; False where chance is unknown."""
        return self.chance is not None and self.direction * (self.value - self.chance) <= 0


@dataclass
class Trained:
    """The result of a training.

    Attributes:
        networks: of all stages, by name. Where two stages have different networks of one name, both are called
            "stage/network".
        arrays: what FitStages have fitted, by the name of the stage.
        metrics: by the name of the stage: its steps and, if it has validated, the best key metric and its step.
        key_metrics: by the name of the stage, of those that have validated.
    """

    networks: dict[str, torch.nn.Module] = field(default_factory=dict)
    arrays: dict[str, dict[str, torch.Tensor]] = field(default_factory=dict)
    metrics: dict[str, dict[str, Any]] = field(default_factory=dict)
    key_metrics: dict[str, KeyMetric] = field(default_factory=dict)

    def weights(self) -> dict[str, dict[str, torch.Tensor]]:
        """State dictionaries of all networks, and all arrays, by name."""
        return {name: network.state_dict() for name, network in self.networks.items()} | self.arrays


def train(stages: Iterable[Stage], context: Context, identity: dict[str, Any]) -> Trained:
    """Run the stages in order, resuming from the job's checkpoint if there is one.

    Args:
        stages: usually a generator: a stage is built when the ones before it have run. What it does between two stages
            is done again on resuming, see above.
        context: device, seed, job folder, events.
        identity: method and parameters; a checkpoint of others is refused.

    Raises:
        Stopped: the user asked to stop; a checkpoint has been written.
        JobError: the loss became NaN; the last good checkpoint is kept.
        CannotWrite: the disk is full; the last good checkpoint is kept.
        UserError: the checkpoint is damaged or of another method.
    """
    run = _Run(context, identity)
    for index, stage in enumerate(stages):
        run.do(index, stage)
    return run.trained()


class _Run:
    """The state of a training while its stages run."""

    def __init__(self, context: Context, identity: dict[str, Any]):
        self._context = context
        self._store = CheckpointStore(context.folder, {**identity, "seed": context.seed})
        self._checkpoint: Any = ranks.from_leader(self._store.load)
        self._finished: list[Progress] = []
        self._stages: list[Stage] = []

    def do(self, index: int, stage: Stage) -> None:
        """Run a stage, or restore its result from before the interruption."""
        if not isinstance(stage, Stage):
            raise TypeError(f"a method yields a TrainStage, FitStage or DataStage, not {type(stage).__name__}")
        if any(stage.name == other.name for other in self._stages):
            raise ValueError(f"two stages are called '{stage.name}': names must be unique within a method")
        if self._reached(index) and not self._passed(index):
            self._check_name(stage)
        if isinstance(stage, TrainStage):
            progress = self._train(index, stage)
        elif isinstance(stage, FitStage):
            progress = self._fit(index, stage)
        else:
            progress = run_data_stage(
                stage, index, self._reached(index), self._passed(index), self._store, self._context, self._finished
            )
        self._stages.append(stage)
        self._finished.append(progress)

    def _reached(self, index: int) -> bool:
        """Whether the interrupted training had begun this stage."""
        return self._checkpoint is not None and self._checkpoint["progress"]["stage_index"] >= index

    def _passed(self, index: int) -> bool:
        """Whether the interrupted training had begun the stage after this one."""
        return self._checkpoint is not None and self._checkpoint["progress"]["stage_index"] > index

    def _check_name(self, stage: Stage) -> None:
        known = self._checkpoint.get("stage", stage.name)  # missing in checkpoints of the previous version
        if known != stage.name:
            raise UserError(
                f"The checkpoint in {self._context.folder} was made by another version of the method (stage '{known}' "
                f"instead of '{stage.name}'): train in another folder."
            )

    def _train(self, index: int, stage: TrainStage) -> Progress:
        if self._passed(index):
            load_networks(stage, ranks.from_leader(partial(self._store.load_stage, index))["networks"])
            return Progress.from_dict(self._checkpoint["finished"][index])
        checkpoint = self._checkpoint if self._reached(index) else None
        self._checkpoint = None  # later stages start afresh; its weights need not stay in memory
        return run_train_stage(stage, index, checkpoint, self._store, self._context, self._finished)

    def _fit(self, index: int, stage: FitStage) -> Progress:
        done = self._reached(index)  # its checkpoint is written when it is done
        progress = Progress(index, finished=True)
        if done:
            stage.arrays = ranks.from_leader(partial(self._store.load_stage, index))["arrays"]
            return progress
        self._context.report("phase", phase=f"Fitting: {stage.name}")
        what = f"what stage '{stage.name}' returns"
        stage.arrays = ranks.from_leader(lambda: checked_tensors(stage.fit(self._context), what))
        if ranks.leads():
            self._store.save_stage(index, {"arrays": stage.arrays})
            self._store.save_progress(stage.name, progress, self._finished)
        return progress

    def trained(self) -> Trained:
        trained = Trained()
        for stage, progress in zip(self._stages, self._finished, strict=True):
            if not isinstance(stage, TrainStage):
                continue
            trained.metrics[stage.name] = metrics = {"steps": progress.step}
            if stage.validation is not None:
                name, direction = stage.validation.key_metric, stage.validation.direction
                metrics |= {name: direction * progress.best_score, "best step": progress.best_step}
                trained.key_metrics[stage.name] = KeyMetric(name, metrics[name], direction, stage.validation.chance)
        for name, made in _named(self._stages).items():
            (trained.networks if isinstance(made, torch.nn.Module) else trained.arrays)[name] = made
        return trained


def _named(stages: list[Stage]) -> dict[str, Any]:
    """Networks and arrays of all stages by name, or by "stage/name" where the name alone is ambiguous.

    A network that several stages train under one name is one network.
    """
    made: list[tuple[str, str, Any]] = []
    for stage in stages:
        if isinstance(stage, TrainStage):
            made += [(stage.name, name, network) for name, network in stage.networks.items()]
        elif isinstance(stage, FitStage):
            made.append((stage.name, stage.name, stage.arrays))
    meanings: dict[str, list[Any]] = {}
    for _, name, value in made:
        known = meanings.setdefault(name, [])
        if not any(value is other for other in known):
            known.append(value)
    named: dict[str, Any] = {}
    for stage_name, name, value in made:
        if len(meanings[name]) == 1:
            named[name] = value
        elif not any(value is other for key, other in named.items() if key.endswith(f"/{name}")):
            named[f"{stage_name}/{name}"] = value
    return named
