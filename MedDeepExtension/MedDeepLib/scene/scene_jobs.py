"""Jobs for the scene: follows and stops them, and puts their results into the scene; ``task_logic`` starts them."""

from __future__ import annotations

import csv
import shutil
import time
from pathlib import Path
from typing import Any

from MedDeepLib.errors import JobError
from MedDeepLib.evaluation.report import headline, table_path
from MedDeepLib.jobs import JobFolder, Launcher, State, Worker
from MedDeepLib.scene import nodes

_POLL_SECONDS = 0.1
_LOG_TAIL_BYTES = 200_000


class SceneJob:
    """A running job and the handling of its result.

    A script calls :meth:`wait`. A panel calls :meth:`poll` from a timer and :meth:`finish` once the worker has ended.

    Attributes:
        running: the worker.
        failure: why the job failed, in one sentence; empty if it has not failed.
        notes: sentences about the result that the user should read.
    """

    def __init__(self, running: Worker):
        self.running = running
        self.failure = ""
        self.notes: list[str] = []
        self._state: State | None = None

    @property
    def folder(self) -> JobFolder:
        return self.running.folder

    @property
    def state(self) -> State:
        return self._state or self.running.state

    def is_running(self) -> bool:
        return self.running.is_running()

    def poll(self) -> list[dict[str, Any]]:
        """The events since the last call."""
        events = [self.translate(event) for event in self.running.poll()]
        for event in events:
            if event["event"] == "state" and event.get("state") == State.FAILED:
                self.failure = str(event.get("message", ""))
        return events

    def stop(self, grace_seconds: float = 20.0) -> None:
        """Ask the worker to exit; a training saves a checkpoint first. Does not wait."""
        self.running.stop(grace_seconds)

    def kill(self) -> None:
        """End the worker now."""
        self.running.kill()

    def wait(self, timeout: float | None = None) -> State:
        """Wait for the end and load the result; for scripts.

        Raises:
            JobError: the job failed; the message says why.
            TimeoutError: it is still running after ``timeout`` seconds.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.is_running():
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"The job in {self.folder.path} is still running after {timeout} s.")
            self.poll()
            time.sleep(_POLL_SECONDS)
        state = self.finish()
        if state is State.FAILED:
            raise JobError(self.failure)
        return state

    def finish(self) -> State:
        """Call once the worker has ended: the result goes into the scene and the state is final."""
        if self._state is None:
            self.poll()
            self._state = self.running.state
            try:
                if self._state is State.DONE:
                    self.take_over()
                elif self._state is State.FAILED and not self.failure and self.folder.stop_requested():
                    self._state = State.STOPPED  # it did not stop in time and was ended
                elif self._state is State.FAILED and not self.failure:
                    self.failure = f"The worker process ended unexpectedly (exit code {self.running.exit_code})."
            except Exception:
                self._state = State.FAILED
                raise
            finally:
                self.clean_up()
        return self._state

    def translate(self, event: dict[str, Any]) -> dict[str, Any]:
        """For subclasses: rephrase an event in terms of the scene."""
        return event

    def take_over(self) -> None:
        """For subclasses: load the result into the scene. Raises UserError when it cannot be read."""

    def clean_up(self) -> None:
        """For subclasses: clean up after the end, whatever the final state."""

    def log(self) -> str:
        """The end of the worker's log, including tracebacks."""
        return log_tail(self.folder)


class TrainingJob(SceneJob):
    """A training; its result is the model in ``folder.model_folder``."""


class PlanningJob(SceneJob):
    """Plans a training; the job folder is deleted at the end.

    Attributes:
        text: the plan, as lines of text; empty before the end.
    """

    text = ""

    def take_over(self) -> None:
        self.text = str(self.folder.result()["plan"])

    def clean_up(self) -> None:
        if self.state is not State.FAILED:
            shutil.rmtree(self.folder.path, ignore_errors=True)


class EvaluationJob(SceneJob):
    """An evaluation or a cross-validation; its tables become table nodes.

    Attributes:
        report: the CSV file with one row for every case and structure, None before the end.
        headline: its key metric, in words.
        summary_table: node with one row for every structure.
        case_table: node with one row for every case and structure.
        group_tables: nodes with the summary of each site ("sites") and each fold ("folds"), if there are several.
    """

    def __init__(self, running: Worker, name: str):
        super().__init__(running)
        self.report: Path | None = None
        self.headline = ""
        self.summary_table = None
        self.case_table = None
        self.group_tables: dict[str, Any] = {}
        self._name = name

    def take_over(self) -> None:
        result = self.folder.result()
        self.report = Path(result["report"])
        self.headline = result.get("headline") or headline(result["summary"][-1])  # results of older versions
        self.summary_table = table_from_csv(table_path(self.report, "summary"), f"{self._name} metrics")
        self.case_table = table_from_csv(self.report, f"{self._name} metrics by case")
        for name, title in (("sites", "site"), ("folds", "fold")):
            if name in result:
                file = table_path(self.report, name)
                self.group_tables[name] = table_from_csv(file, f"{self._name} metrics by {title}")


def start_training(launcher: Launcher, folder: JobFolder) -> TrainingJob | EvaluationJob:
    """Start a training or cross-validation, or resume it from its last checkpoint.

    Raises UserError when the job is done or another worker is running it.
    """
    action = folder.job().action
    launcher.release()  # a training can use all available memory
    worker = launcher.launch(folder)
    return TrainingJob(worker) if action == "train" else EvaluationJob(worker, folder.path.name)


def table_from_csv(path: Path, name: str) -> Any:
    """A table node with the rows of a CSV file; columns of numbers are numeric, empty columns are left
    out."""
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    kept = [number for number in range(len(header)) if any(row[number] for row in rows)]
    columns = [_column([row[number] for row in rows]) for number in kept]
    return nodes.table_from_rows(name, [header[number] for number in kept], list(zip(*columns, strict=True)))


def log_tail(folder: JobFolder) -> str:
    """The end of a job's log file; empty when there is none."""
    try:
        with folder.log_file.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _LOG_TAIL_BYTES))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def _column(texts: list[str]) -> list[Any]:
    try:
        return [float(text) if text else None for text in texts]
    except ValueError:
        return list(texts)
