"""The job folder: a job's request, events, checkpoint, model and result, and its state.

::

    job.json         what to do
    manifest.json    everything the weights of a training depend on, see jobs.manifest
    repeats.json     the manifest of the run that this training repeats
    parameters.json  every parameter of a training, including those derived from the data and the device, with the facts
    worker.json      the worker: process id and start time, so that a recycled id is not mistaken for it
    resources.json   the device and the number of CPU threads in use
    events.jsonl     the job's events
    log.txt          everything else the worker printed, including tracebacks
    stop             present once the user has asked to stop
    checkpoint.pt    the training's last checkpoint
    tensorboard/     curves for TensorBoard
    mlflow.json      the MLflow run that tracks the job
    model/           the trained model, a MONAI bundle
    result.json      written last, atomically: the job is done

A cross-validation has a folder for every fold, with its own parameters, checkpoint, model and result, and::

    folds.json       who is in which fold
    fold_1/ ...
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Any

from MedDeepLib.errors import CannotWrite, UserError
from MedDeepLib.jobs.events import EventReader, last_events
from MedDeepLib.jobs.job import Job

_STARTING_SECONDS = 15.0
_CHECKPOINTS = ("checkpoint*.pt", "fold_*/checkpoint*.pt", "fold_*/result.json")


class State(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"
    DONE = "done"

    @property
    def finished(self) -> bool:
        return self in (State.STOPPED, State.FAILED, State.DONE)


_STATES = frozenset(map(str, State))


class JobFolder:
    """A job on disk. Reading it needs no worker and works after a restart."""

    def __init__(self, path: str | Path):
        self.path = Path(path).expanduser().absolute()
        self.job_file = self.path / "job.json"
        self.parameters_file = self.path / "parameters.json"
        self.manifest_file = self.path / "manifest.json"
        self.repeated_file = self.path / "repeats.json"
        self.worker_file = self.path / "worker.json"
        self.resources_file = self.path / "resources.json"
        self.events_file = self.path / "events.jsonl"
        self.log_file = self.path / "log.txt"
        self.stop_file = self.path / "stop"
        self.model_folder = self.path / "model"
        self.result_file = self.path / "result.json"
        self.folds_file = self.path / "folds.json"

    @classmethod
    def create(cls, path: str | Path, job: Job) -> JobFolder:
        """Create the folder of a new job. Raises UserError when the job is not valid or the folder is in use."""
        job.validate()
        folder = cls(path)
        try:
            if folder.job_file.exists():
                raise UserError(f"The folder {path} already holds a job: choose another folder, or resume that job.")
            folder.path.mkdir(parents=True, exist_ok=True)
            job.save(folder.job_file)
        except OSError as error:
            raise UserError(f"The job folder {path} cannot be written: {error.strerror or error}.") from None
        return folder

    def job(self) -> Job:
        return Job.load(self.job_file)

    def state(self) -> State:
        """The job's state. A job whose worker has died counts as failed, whatever its last event.

        Reads only the end of the event file, however long the job has run.
        """
        return self.state_after(*last_events(self.events_file))

    def state_after(self, events: list[dict[str, Any]], all_of_them: bool) -> State:
        """The state, given the job's last ``events``."""
        if self.result_file.exists():
            return State.DONE
        last = next((e["state"] for e in reversed(events) if e["event"] == "state" and e.get("state") in _STATES), None)
        if last is None and not all_of_them:
            last = State.RUNNING  # a waiting or ended job reports its state near the end of the file
        if last is None:
            return State.RUNNING if self.worker_alive() else State.QUEUED
        state = State(last)
        if state.finished:
            return state if state is not State.DONE else State.FAILED  # a job without a result is not done
        if not self.worker_alive():
            return State.FAILED
        return State.STOPPING if self.stop_file.exists() else state

    def events(self) -> list[dict[str, Any]]:
        return EventReader(self.events_file).read()

    def result(self) -> dict[str, Any]:
        """The result of the finished job; empty until it is done."""
        return read_json(self.result_file)

    def is_there(self) -> bool:
        """Whether the folder still holds this job; also true while its drive does not respond."""
        try:
            self.job_file.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True
        return True

    def request_stop(self) -> None:
        """Ask the worker to save its work and exit. Raises CannotWrite when the folder is gone or not writable."""
        try:
            self.stop_file.touch()
        except OSError as error:
            raise self.not_writable(error) from None

    def stop_requested(self) -> bool:
        return os.path.exists(self.stop_file)  # unlike Path.exists, false also when a drive does not respond

    def fold(self, number: int) -> JobFolder:
        """Where fold ``number`` of a cross-validation, from 1, is trained and evaluated."""
        return JobFolder(self.path / f"fold_{number}")

    def can_resume(self) -> bool:
        """True for a training or cross-validation that was stopped or died, and has a checkpoint to resume from.

        Reads no events, so a panel may call it at every keystroke.
        """
        return self.has_checkpoint() and not self.result_file.exists() and not self.worker_alive()

    def has_checkpoint(self) -> bool:
        """True if there is a current or previous checkpoint; in a cross-validation also if a fold is done."""
        return any(any(self.path.glob(pattern)) for pattern in _CHECKPOINTS)

    def latest_progress(self) -> dict[str, Any] | None:
        """The last ``progress`` event; reads only the end of the event file, however long the job has run."""
        events, _ = last_events(self.events_file)
        return next((event for event in reversed(events) if event["event"] == "progress"), None)

    def is_starting(self) -> bool:
        """True for a new job whose worker has not reported yet, but may do so in a moment."""
        try:
            age = time.time() - self.job_file.stat().st_mtime
            if self.worker_file.exists() or age > _STARTING_SECONDS:
                return False
            return not self.events_file.exists() or self.events_file.stat().st_size == 0
        except OSError:
            return False

    def prepare_restart(self) -> None:
        """Clear the stop request and the dead worker of an earlier run; events and checkpoints stay.

        Raises UserError when a worker is still running it, the job is done, or the folder cannot be written.
        """
        if self.result_file.exists():
            raise UserError(f"The job in {self.path} is done: there is nothing to resume.")
        if self.worker_alive():
            raise UserError(f"The job in {self.path} is still running: stop it before starting it again.")
        try:
            for file in (self.stop_file, self.worker_file):
                file.unlink(missing_ok=True)
        except OSError as error:
            raise self.not_writable(error) from None

    def not_writable(self, error: OSError) -> CannotWrite:
        """The error to raise when a file of the job cannot be written."""
        return CannotWrite(
            f"The job folder {self.path} cannot be written ({error.strerror or error}): free some space, allow "
            "writing, or use another folder."
        )

    def discard(self) -> None:
        """Remove the job's own files, and the folder if it is then empty: for a request that was refused."""
        for fold in self.path.glob("fold_*/"):
            JobFolder(fold).discard()
        request = (self.job_file, self.parameters_file, self.resources_file, self.folds_file)
        request += (self.manifest_file, self.repeated_file)
        for file in (*request, self.worker_file, self.events_file, self.log_file, self.stop_file, self.result_file):
            file.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.path.rmdir()

    def register_worker(self) -> dict[str, Any]:
        """Called by the worker: register this process. Returns its identity, see :meth:`is_held_by`."""
        identity = own_identity()
        write_json(self.worker_file, identity)
        return identity

    def is_held_by(self, identity: dict[str, Any]) -> bool:
        """Whether the job is still that of the worker which registered with ``identity``: neither has the folder gone,
        nor has another worker taken over. A drive that does not answer for the moment changes nothing."""
        try:
            return json.loads(self.worker_file.read_text(encoding="utf-8")) == identity
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return False
        except OSError:
            return True

    def forget_worker(self) -> None:
        """Called by a worker that stays alive after the job; leaves another worker's registration alone."""
        with contextlib.suppress(OSError):
            if self.worker_pid() in (os.getpid(), None):
                self.worker_file.unlink(missing_ok=True)

    def worker(self) -> dict[str, Any]:
        """The identity of the worker that registered last; empty when there was none."""
        return read_json(self.worker_file)

    def worker_alive(self) -> bool:
        return self.worker_pid() is not None

    def worker_pid(self) -> int | None:
        """The process that runs the job now, None when there is none."""
        identity = self.worker()
        try:
            pid, started = int(identity["pid"]), float(identity["started"])
            return pid if process_alive(pid, started, identity.get("after_boot")) else None
        except (KeyError, TypeError, ValueError):
            return None  # no worker has registered, or its file is damaged

    def active_pid(self) -> int | None:
        """The process that runs the job; None when the job has ended, even if a warm worker is still alive."""
        pid = self.worker_pid()
        return pid if pid is not None and not self.state().finished else None

    def write_result(self, result: dict[str, Any]) -> None:
        write_json(self.result_file, result)


def own_identity() -> dict[str, Any]:
    """The identity of this process, valid even after its id is recycled: see :func:`process_alive`."""
    started, after_boot = _began(os.getpid())
    return {"pid": os.getpid(), "started": started, "after_boot": after_boot}


def process_identity(pid: int) -> tuple[int, float, float | None]:
    """The identity of another process, for :func:`process_alive`; one that has ended matches no process."""
    try:
        import psutil
    except ImportError:
        return pid, 0.0, None  # the job itself will report what is missing
    try:
        return pid, *_began(pid)
    except psutil.Error:
        return pid, 0.0, None


def process_alive(pid: int, started: float, after_boot: float | None = None) -> bool:
    """Whether the process ``pid`` is still there and not a zombie.

    Args:
        started: when it started (seconds since 1970). Setting the clock changes this value on some systems...
        after_boot: ... and this one on others: seconds since boot. One of the two always agrees.
    """
    try:
        import psutil
    except ImportError:
        return False  # a worker cannot run without it either: nothing has been installed here yet
    try:
        began, began_after_boot = _began(pid)
        # A recycled id differs by far more than a second or two.
        same = abs(began - started) < 2 or (after_boot is not None and abs(began_after_boot - after_boot) < 2)
        return same and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _began(pid: int) -> tuple[float, float]:
    """When a process started: in seconds since 1970 and since boot, both by the same clock."""
    import psutil

    tries = 10
    while True:
        boot = psutil.boot_time()
        began = psutil.Process(pid).create_time()
        tries -= 1
        # If the clock is set between these calls, their results do not fit together: try again.
        if abs(psutil.boot_time() - boot) < 2 or not tries:
            return began, began - boot


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write atomically: a reader sees the whole file or none."""
    temporary = path.with_name(path.name + ".part")
    try:
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def folders_in(folder: Path) -> list[Path]:
    """The folders directly below ``folder``, except hidden ones: folders being deleted are hidden."""
    try:
        with os.scandir(folder) as entries:
            return [Path(entry.path) for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    except OSError:
        return []


def jobs_in(folder: Path) -> Iterable[JobFolder]:
    """The jobs directly below ``folder``, the newest first."""
    found = []
    for path in folders_in(folder):
        with contextlib.suppress(OSError):  # not a job, or another program is deleting it
            found.append(((path / "job.json").stat().st_mtime, path))
    return [JobFolder(path) for _, path in sorted(found, reverse=True)]


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file; empty when it is missing or damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
