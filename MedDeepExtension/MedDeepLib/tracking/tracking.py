"""Curves and metrics of a job for other tools: TensorBoard always, MLflow on request.

They receive the job's events, so that every task and every method is tracked in the same way. Files for
TensorBoard are in the job folder, one run for every stage::

    tensorboard --logdir RUN/tensorboard

MLflow is used when the environment variable MLFLOW_TRACKING_URI is set, see :mod:`MedDeepLib.tracking.mlflow_log`.
Tracking never makes a job fail: a tracking error becomes one warning.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from MedDeepLib.errors import Stopped
from MedDeepLib.jobs.folder import JobFolder
from MedDeepLib.jobs.job import Job
from MedDeepLib.tracking.mlflow_log import TRACKING_URI, MlflowLog
from MedDeepLib.tracking.values import metrics_in, parameters_of

TENSORBOARD_FOLDER = "tensorboard"
_WITH_CURVES = ("train", "crossvalidate", "cohort")
_FLUSH_SECONDS = 10


class Sink(Protocol):
    """A receiver of curves and metrics."""

    def metrics(self, stage: str, step: int, values: dict[str, float]) -> None:
        """Add points to the curves of a stage."""

    def finish(self, parameters: dict[str, Any], metrics: dict[str, float]) -> None:
        """The parameters and the final metrics of the job."""

    def close(self, ending: str) -> None:
        """The job has ended: "done", "stopped" or "failed"."""


class Tracking:
    """Reports the events of a job and forwards them to the trackers; a context that lasts as long as the job."""

    def __init__(self, job: Job, folder: JobFolder, report: Callable[..., None], tells: bool = True):
        """``tells``: whether to forward; of several processes that train together, only one does."""
        self._tells = tells
        self._job, self._folder, self._report = job, folder, report
        self._sinks: dict[str, Sink] = {}

    def __enter__(self) -> Tracking:
        job, folder = self._job, self._folder
        if not self._tells:
            return self
        self._open("TensorBoard", lambda: TensorBoard(folder.path, prepare=job.action in _WITH_CURVES))
        if os.environ.get(TRACKING_URI) and job.action != "apply":
            self._open("MLflow", lambda: MlflowLog(job, folder, self._warn))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        ending = "done" if kind is None else "stopped" if issubclass(kind, Stopped) else "failed"
        for name in list(self._sinks):
            self._tell(name, "close", ending)

    def __call__(self, event: str, **fields: Any) -> None:
        self._report(event, **fields)
        if event != "metrics":
            return
        values = {name: float(value) for name, value in fields["values"].items() if value is not None}
        for name in list(self._sinks):
            self._tell(name, "metrics", fields["stage"], fields["step"], values)

    def finish(self, result: dict[str, Any]) -> None:
        """The job is done with this result."""
        metrics = metrics_in(result)
        for name in list(self._sinks) if metrics else []:
            self._tell(name, "finish", parameters_of(self._job, self._folder), metrics)

    def _open(self, name: str, make: Callable[[], Sink]) -> None:
        try:
            self._sinks[name] = make()
        except Exception as error:
            self._give_up(name, error)

    def _tell(self, name: str, what: str, *arguments: Any) -> None:
        try:
            getattr(self._sinks[name], what)(*arguments)
        except Exception as error:
            del self._sinks[name]
            self._give_up(name, error)

    def _give_up(self, name: str, error: Exception) -> None:
        if isinstance(error, ModuleNotFoundError):
            self._warn(f"There are no curves for {name}: its Python package '{error.name}' is missing, install it.")
            return
        reason = " ".join(str(error).split()) or type(error).__name__
        self._warn(f"There are no more curves for {name} ({reason}); the job continues without them.")

    def _warn(self, sentence: str) -> None:
        self._report("warning", message=sentence)


class TensorBoard:
    """Files for TensorBoard, a folder for every stage; torch's own writer works in its own thread."""

    def __init__(self, folder: Path, prepare: bool):
        """``prepare`` imports torch's writer now instead of at the first point."""
        self._folder = folder / TENSORBOARD_FOLDER
        self._writers: dict[str, Any] = {}
        if prepare:
            from torch.utils.tensorboard import SummaryWriter  # noqa: F401

    def metrics(self, stage: str, step: int, values: dict[str, float]) -> None:
        writer = self._writers.get(stage) or self._open(stage, step)
        for name, value in values.items():
            writer.add_scalar(name, value, step)

    def finish(self, parameters: dict[str, Any], metrics: dict[str, float]) -> None:
        plain = {
            name: value if isinstance(value, bool | int | float) else str(value) for name, value in parameters.items()
        }
        writer = self._writers.get("") or self._open("", None)
        writer.add_hparams(plain, metrics, run_name=".")

    def close(self, ending: str) -> None:
        for writer in self._writers.values():
            writer.close()

    def _open(self, stage: str, step: int | None) -> Any:
        """The writer of a stage; points that a dead run wrote from ``step`` on are discarded."""
        from torch.utils.tensorboard import SummaryWriter

        folder = self._folder / re.sub(r"[^\w\-. ]", "_", stage)
        goes_on = step is not None and any(folder.glob("events*"))
        self._writers[stage] = writer = SummaryWriter(
            str(folder), purge_step=step if goes_on else None, flush_secs=_FLUSH_SECONDS
        )
        return writer
