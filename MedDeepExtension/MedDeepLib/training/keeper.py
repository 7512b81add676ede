"""Validates a stage, keeps its best weights, writes its checkpoints, and ends it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from ignite.engine import Engine, Events

from MedDeepLib.core import Context
from MedDeepLib.errors import Stopped
from MedDeepLib.training import ranks
from MedDeepLib.training.average import WeightAverage
from MedDeepLib.training.checkpoint import CheckpointStore
from MedDeepLib.training.progress import Progress
from MedDeepLib.training.stages import TrainStage, Validation

_CHECKPOINT_SECONDS = 20.0


class StageState:
    """Everything of a stage that changes in training, as a checkpoint keeps it."""

    def __init__(self, stage: TrainStage, average: WeightAverage | None, scaler: torch.amp.GradScaler):
        self.stage, self.average = stage, average
        self._others: dict[str, Any] = dict(stage.state)  # each is Stateful, also where torch names arguments otherwise
        self._others |= {f"optimizer {name}": optimizer for name, optimizer in stage.optimisation.optimizers.items()}
        if average is not None:
            self._others["weight average"] = average
        if scaler.is_enabled():
            self._others["loss scaler"] = scaler

    def capture(self) -> dict[str, Any]:
        return {"networks": self.networks(), "others": {n: other.state_dict() for n, other in self._others.items()}}

    def restore(self, content: dict[str, Any]) -> None:
        load_networks(self.stage, content["networks"])
        for name, other in self._others.items():
            other.load_state_dict(content["others"][name])

    def networks(self) -> dict[str, Any]:
        """The current weights, by the network's name."""
        return {name: network.state_dict() for name, network in self.stage.networks.items()}

    def is_finite(self) -> bool:
        parameters = [p for network in self.stage.networks.values() for p in network.parameters()]
        return all(bool(torch.isfinite(parameter).all()) for parameter in parameters)

    def kept_weights(self):
        """A context with the weights that are validated and kept: the averaged ones if there is an average."""
        return self.average.in_use() if self.average is not None else contextlib.nullcontext()


class Keeper:
    """Does what is due after every step and decides when a stage ends; of several processes, the leader decides."""

    def __init__(
        self,
        state: StageState,
        progress: Progress,
        store: CheckpointStore,
        context: Context,
        finished: Sequence[Progress],
        batches_per_step: int = 1,
    ):
        """
        Args:
            finished: progress of the stages before this one.
        """
        self._state, self._progress, self._store, self._context = state, progress, store, context
        self._stage, self._finished, self._batches_per_step = state.stage, finished, batches_per_step
        self._saved = self._looked = time.monotonic()
        self._decisions = ranks.Decisions()
        self.stopped = False

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self._begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def _begin(self, engine: Engine) -> None:
        self._looked = time.monotonic()

    def __call__(self, engine: Engine) -> None:
        stage, progress = self._stage, self._progress
        progress.step = engine.state.iteration
        progress.batches += self._batches_per_step
        self._count_time()
        at_end = self._is_at_end()
        refresh, validation = stage.refresh, stage.validation
        progress.refresh_due = refresh is not None and not at_end and progress.step % refresh.every == 0
        validated = progress.validation_due = validation is not None and (
            at_end or progress.step % validation.every == 0
        )
        self.catch_up(share=False)
        if self._context.stop_requested() and not progress.finished:
            self.stopped = True
        if validated or self.stopped or at_end or time.monotonic() - self._saved > _CHECKPOINT_SECONDS:
            self.save()
        self._share_decisions()
        if self.stopped or progress.finished:
            engine.terminate()

    def catch_up(self, share: bool = True) -> None:
        """Do what is due now, or was due when the job was stopped; ``share``: send the decisions to all processes."""
        self._do_what_is_due()
        if share:
            self._share_decisions()

    def _do_what_is_due(self) -> None:
        progress, stage = self._progress, self._stage
        refresh, validation = stage.refresh, stage.validation
        try:
            if progress.refresh_due and refresh is not None:
                with evaluating(stage.networks), torch.no_grad():
                    refresh.run()
                progress.refresh_due = False
            if progress.validation_due and validation is not None and ranks.leads():
                self._validate(validation)
            progress.validation_due = False
        except Stopped:
            self.stopped = True
            return
        patience = validation.patience if validation is not None else 0
        enough = 0 < patience <= progress.validations_without_gain
        if enough and validation is not None and not self._is_at_end():
            self._context.report(
                "message",
                message=f"Stopped at step {progress.step}: {patience} validations without a better "
                f"{validation.key_metric} than at step {progress.best_step}, whose weights are kept.",
            )
        if self._time_is_up() and progress.step < stage.optimisation.steps and not progress.finished:
            self._context.report(
                "message", message=f"The time for '{stage.name}' is up: it ended at step {progress.step}."
            )
        progress.finished = enough or self._is_at_end()

    def save(self) -> None:
        """Write a checkpoint, but never weights that are not finite: the last good ones stay."""
        if ranks.leads() and self._state.is_finite():
            self._store.save(
                {
                    "stage": self._stage.name,
                    "finished": [progress.as_dict() for progress in self._finished],
                    "progress": self._progress.as_dict(),
                    **self._state.capture(),
                }
            )
        self._saved = time.monotonic()

    def _validate(self, validation: Validation) -> None:
        stage, progress = self._stage, self._progress
        plateau = stage.optimisation.plateau
        with self._state.kept_weights():
            with evaluating(stage.networks), torch.inference_mode():
                metrics = validation.measure()
            self._context.report("metrics", stage=stage.name, step=progress.step, values=metrics)
            score = validation.direction * metrics[validation.key_metric]
            if score > progress.best_score:
                progress.best_score, progress.best_step = score, progress.step
                progress.validations_without_gain = 0
                self._store.save_best(progress.stage_index, {"networks": self._state.networks()})
                return
        progress.validations_without_gain += 1
        if plateau is not None:
            progress.reductions += plateau.reductions(progress.validations_without_gain)

    def _share_decisions(self) -> None:
        progress = self._progress
        stopped, finished, reductions, seconds = self._decisions.share(
            self.stopped, progress.finished, progress.reductions, progress.seconds
        )
        self.stopped, progress.finished = bool(stopped), bool(finished)
        progress.reductions, progress.seconds = int(reductions), seconds

    def _is_at_end(self) -> bool:
        return self._progress.step >= self._stage.optimisation.steps or self._time_is_up()

    def _time_is_up(self) -> bool:
        return 0 < self._stage.optimisation.seconds <= self._progress.seconds

    def _count_time(self) -> None:
        now = time.monotonic()
        self._progress.seconds += now - self._looked
        self._looked = now


def load_networks(stage: TrainStage, states: dict[str, Any]) -> None:
    """Give the stage's networks the weights in ``states``, by their names."""
    for name, network in stage.networks.items():
        network.load_state_dict(states[name])


@contextlib.contextmanager
def evaluating(networks: dict[str, torch.nn.Module]) -> Iterator[None]:
    """Networks in evaluation mode; afterwards every layer is as it was, since a stage may train only some of them."""
    modes = {layer: layer.training for network in networks.values() for layer in network.modules()}
    for network in networks.values():
        network.eval()
    try:
        yield
    finally:
        for layer, training in modes.items():
            layer.training = training
