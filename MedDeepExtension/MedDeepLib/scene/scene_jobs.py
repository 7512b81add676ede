"""Jobs that work for the scene: started from a script or a panel, watched, stopped, and their results taken
over."""

from __future__ import annotations

import csv
import shutil
import time
from pathlib import Path
from typing import Any

from MedDeepLib.errors import JobError
from MedDeepLib.evaluation.report import headline, table_path
from MedDeepLib.jobs import Job, JobFolder, RunningJob, State, WarmWorkers, launch
from MedDeepLib.scene import nodes, runs

_POLL_SECONDS = 0.1
_LOG_TAIL_BYTES = 200_000
_warm_workers = WarmWorkers()  # for all modules: whichever applies a model next


class SceneJob:
    """A running job together with what becomes of its result.

    A script calls :meth:`wait`. A panel calls :meth:`poll` from a timer and :meth:`finish` once the worker
    has ended.

    Attributes:
        running: the worker.
        failure: why the job failed, in one sentence; empty while it has not.
        notes: sentences about the result that the user should read.
    """

    def __init__(self, running: RunningJob):
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
        """Ask the worker to leave; a training saves a checkpoint first. Does not wait."""
        self.running.stop(grace_seconds)

    def kill(self) -> None:
        """End the worker now."""
        self.running.kill()

    def wait(self, timeout: float | None = None) -> State:
        """Wait for the end and take over the result; for scripts.

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
        """For subclasses: put an event into words of the scene."""
        return event

    def take_over(self) -> None:
        """For subclasses: put the result into the scene. Raises UserError when it cannot be read."""

    def clean_up(self) -> None:
        """For subclasses: remove what nobody needs after the end, whatever the end was."""

    def log(self) -> str:
        """The end of what the worker said besides its events, tracebacks included."""
        return log_tail(self.folder)


class TrainingJob(SceneJob):
    """A training; its result is the model in ``folder.model_folder``."""


class PlanningJob(SceneJob):
    """Says what a training would choose; nothing of it stays on disk.

    Attributes:
        text: the plan, in lines for people; empty before the end.
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
        headline: its first figure, in words.
        summary_table: node with one row for every structure.
        case_table: node with one row for every case and structure.
        group_tables: nodes with the summary of each site ("sites") and each fold ("folds"), if there are several.
    """

    def __init__(self, running: RunningJob, name: str):
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


def start_training(
    task: str,
    dataset: str | Path,
    method: str,
    parameters: dict[str, Any] | None = None,
    run_folder: str | Path | None = None,
    device: str = "auto",
    seed: int = 0,
) -> TrainingJob:
    """Train a network in a new run folder (a dated one in the runs folder when none is given).

    Raises UserError when an argument is wrong or the folder is in use.
    """
    job = Job(task, "train", method, dict(parameters or {}), dataset=str(dataset), device=device, seed=seed)
    folder = Path(run_folder) if run_folder else runs.new_folder(f"{task}_{method}")
    return _train(JobFolder.create(folder, job))


def start_plan(
    task: str, dataset: str | Path, method: str, parameters: dict[str, Any] | None = None, device: str = "auto"
) -> PlanningJob:
    """Find out what a training with these arguments would choose. Raises UserError when one of them is wrong."""
    job = Job(task, "plan", method, dict(parameters or {}), dataset=str(dataset), device=device)
    return PlanningJob(_launch(JobFolder.create(runs.temporary_folder(f"{task}_plan"), job)))


def start_cross_validation(
    task: str,
    dataset: str | Path,
    method: str,
    folds: int | str,
    parameters: dict[str, Any] | None = None,
    run_folder: str | Path | None = None,
    device: str = "auto",
    seed: int = 0,
) -> EvaluationJob:
    """Train and judge a network for every fold in a new run folder (a dated one in the runs folder when none is given).

    Args:
        folds: how many by patient, or "site" to leave one site out after the other.

    Raises UserError when an argument is wrong or the folder is in use.
    """
    settings = {"dataset": str(dataset), "folds": str(folds), "device": device, "seed": seed}
    job = Job(task, "crossvalidate", method, dict(parameters or {}), **settings)
    folder = Path(run_folder) if run_folder else runs.new_folder(f"{task}_{method}_folds")
    return _train(JobFolder.create(folder, job))


def resume_training(run_folder: str | Path) -> TrainingJob | EvaluationJob:
    """Go on with a training or cross-validation that was stopped or interrupted.

    Raises UserError when there is nothing to resume.
    """
    return _train(JobFolder(run_folder))


def start_evaluation(
    task: str, model: str | Path, dataset: str | Path, device: str = "auto", parameters: dict[str, Any] | None = None
) -> EvaluationJob:
    """Evaluate a model on the test cases of a dataset, in a new folder in the runs folder.

    Raises UserError when an argument is wrong.
    """
    job = Job(task, "evaluate", "", dict(parameters or {}), dataset=str(dataset), model=str(model), device=device)
    folder = JobFolder.create(runs.new_folder(f"{task}_evaluation"), job)
    return EvaluationJob(_launch(folder), name=Path(dataset).stem)


def submit_application(folder: Path, job: Job) -> RunningJob:
    """Let the process that is kept for applications do ``job`` in a new folder."""
    return _warm_workers.submit(JobFolder.create(folder, job))


def release_workers() -> None:
    """End the processes that are kept for the next application; those at work leave when they are done."""
    _warm_workers.retire()


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


def _train(folder: JobFolder) -> TrainingJob | EvaluationJob:
    action = folder.job().action
    release_workers()  # a training can use all the memory that there is
    running = _launch(folder)
    return TrainingJob(running) if action == "train" else EvaluationJob(running, folder.path.name)


def _launch(folder: JobFolder) -> RunningJob:
    # At a lower priority: whoever looks at the scene meanwhile comes first.
    return launch(folder, background=True)


def _column(texts: list[str]) -> list[Any]:
    try:
        return [float(text) if text else None for text in texts]
    except ValueError:
        return list(texts)
