"""The job folder: where a job's request, events, checkpoint, model and result lie, and what state it is in.

::

    job.json         what to do
    manifest.json    what the weights of a training depend on, see jobs.manifest
    repeats.json     the manifest of the run that this training repeats
    parameters.json  every parameter of a training, also those left to the data and the device, and what was found there
    worker.json      who does it: process id and start time, so that a recycled id is not mistaken for the worker
    resources.json   the device and the number of processor threads that it computes with
    events.jsonl     how it goes
    log.txt          everything else the worker said, tracebacks included
    stop             present once the user has asked to stop
    checkpoint.pt    training as far as it has come
    tensorboard/     its curves, for TensorBoard
    mlflow.json      the run of MLflow that is told how it goes
    model/           the trained model, a MONAI bundle
    result.json      written last, atomically: the job is done

A cross-validation has a folder for every fold, with parameters, checkpoint, model and result of its own, and::

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
    """A job on disk. Reading it needs no worker; everything can be asked again after a restart."""

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
        """Make the folder of a new job. Raises UserError when the job is not valid or the folder is in use."""
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
        """The job's state; a job whose worker is no longer alive has failed, whatever its last event says.

        Looks at the end of the event file only, however long the job has run.
        """
        return self.state_after(*last_events(self.events_file))

    def state_after(self, events: list[dict[str, Any]], all_of_them: bool) -> State:
        """The state when ``events`` are the last ones that the job has sent."""
        if self.result_file.exists():
            return State.DONE
        last = next((e["state"] for e in reversed(events) if e["event"] == "state" and e.get("state") in _STATES), None)
        if last is None and not all_of_them:
            last = State.RUNNING  # who waits or has ended says so, and then little else
        if last is None:
            return State.RUNNING if self.worker_alive() else State.QUEUED
        state = State(last)
        if state.finished:
            return state if state is not State.DONE else State.FAILED  # "done" without a result is not done
        if not self.worker_alive():
            return State.FAILED
        return State.STOPPING if self.stop_file.exists() else state

    def events(self) -> list[dict[str, Any]]:
        return EventReader(self.events_file).read()

    def result(self) -> dict[str, Any]:
        """What the finished job reports; empty while it is not done."""
        return read_json(self.result_file)

    def is_there(self) -> bool:
        """Whether the folder still holds this job; a drive that does not answer for the moment counts as there."""
        try:
            self.job_file.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True
        return True

    def request_stop(self) -> None:
        """Ask the worker to save its work and leave. Raises CannotWrite when the folder is gone or refuses."""
        try:
            self.stop_file.touch()
        except OSError as error:
            raise self.not_writable(error) from None

    def stop_requested(self) -> bool:
        return os.path.exists(self.stop_file)  # unlike Path.exists, false also where a drive does not answer

    def fold(self, number: int) -> JobFolder:
        """Where fold ``number`` of a cross-validation, from 1, is trained and judged."""
        return JobFolder(self.path / f"fold_{number}")

    def can_resume(self) -> bool:
        """True for a training or cross-validation that was stopped or has died and left something to go on from.

        Reads no events, so that a panel may ask at every key stroke.
        """
        return self.has_checkpoint() and not self.result_file.exists() and not self.worker_alive()

    def has_checkpoint(self) -> bool:
        """True if there is a checkpoint, or the one before it; in a cross-validation also if a fold is done."""
        return any(any(self.path.glob(pattern)) for pattern in _CHECKPOINTS)

    def latest_progress(self) -> dict[str, Any] | None:
        """The last ``progress`` event; looks at the end of the event file only, however long the job has run."""
        events, _ = last_events(self.events_file)
        return next((event for event in reversed(events) if event["event"] == "progress"), None)

    def is_starting(self) -> bool:
        """True for a new job of which no worker has said anything yet, but may do so in a moment."""
        try:
            age = time.time() - self.job_file.stat().st_mtime
            if self.worker_file.exists() or age > _STARTING_SECONDS:
                return False
            return not self.events_file.exists() or self.events_file.stat().st_size == 0
        except OSError:
            return False

    def prepare_restart(self) -> None:
        """Forget the stop request and the dead worker of an earlier run; events and checkpoints stay.

        Raises UserError when a worker is at it still, the job is done, or the folder cannot be written.
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
        """What to raise when a file of the job cannot be written."""
        return CannotWrite(
            f"The job folder {self.path} cannot be written ({error.strerror or error}): free some space, allow "
            "writing, or use another folder."
        )

    def discard(self) -> None:
        """Remove what is the job's own, and the folder if nothing else is in it: for a request that was refused."""
        for fold in self.path.glob("fold_*/"):
            JobFolder(fold).discard()
        request = (self.job_file, self.parameters_file, self.resources_file, self.folds_file)
        request += (self.manifest_file, self.repeated_file)
        for file in (*request, self.worker_file, self.events_file, self.log_file, self.stop_file, self.result_file):
            file.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.path.rmdir()

    def register_worker(self) -> dict[str, Any]:
        """Called by the worker: this process does the job now. Returns what stands for it, see :meth:`is_held_by`."""
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
        """Called by a worker that lives on when the job has ended; another one's registration stays."""
        with contextlib.suppress(OSError):
            if self.worker_pid() in (os.getpid(), None):
                self.worker_file.unlink(missing_ok=True)

    def worker(self) -> dict[str, Any]:
        """What stands for the worker that registered last; empty when there was none."""
        return read_json(self.worker_file)

    def worker_alive(self) -> bool:
        return self.worker_pid() is not None

    def worker_pid(self) -> int | None:
        """The process that does the job now, None when there is none."""
        identity = self.worker()
        try:
            pid, started = int(identity["pid"]), float(identity["started"])
            return pid if process_alive(pid, started, identity.get("after_boot")) else None
        except (KeyError, TypeError, ValueError):
            return None  # no worker has been here, or its file is damaged

    def active_pid(self) -> int | None:
        """The process that is at the job; None for one that has ended, though a warm worker may have stayed."""
        pid = self.worker_pid()
        return pid if pid is not None and not self.state().finished else None

    def write_result(self, result: dict[str, Any]) -> None:
        write_json(self.result_file, result)


def own_identity() -> dict[str, Any]:
    """This process in a way that holds when its number is given to another one: see :func:`process_alive`."""
    started, after_boot = _began(os.getpid())
    return {"pid": os.getpid(), "started": started, "after_boot": after_boot}


def process_identity(pid: int) -> tuple[int, float, float | None]:
    """Another process in that way, for :func:`process_alive`; one that has ended fits no process."""
    try:
        import psutil
    except ImportError:
        return pid, 0.0, None  # the job itself will say what is missing
    try:
        return pid, *_began(pid)
    except psutil.Error:
        return pid, 0.0, None


def process_alive(pid: int, started: float, after_boot: float | None = None) -> bool:
    """Whether the process ``pid`` is still there and not a zombie.

    Args:
        started: when it began (seconds since 1970). Setting the clock changes what some systems say of it...
        after_boot: ... and what others say of this, seconds after the computer was started; one of them always agrees.
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
    """When a process began: seconds since 1970, and after the computer was started; both by the same clock."""
    import psutil

    tries = 10
    while True:
        boot = psutil.boot_time()
        began = psutil.Process(pid).create_time()
        tries -= 1
        # When the clock is set between two looks at it, they are of no use together.
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
    """The folders directly below ``folder``, but for hidden ones: what is being deleted is among these."""
    try:
        with os.scandir(folder) as entries:
            return [Path(entry.path) for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    except OSError:
        return []


def jobs_in(folder: Path) -> Iterable[JobFolder]:
    """The jobs directly below ``folder``, the newest first."""
    found = []
    for path in folders_in(folder):
        with contextlib.suppress(OSError):  # it is no job, or another program deletes it in this moment
            found.append(((path / "job.json").stat().st_mtime, path))
    return [JobFolder(path) for _, path in sorted(found, reverse=True)]


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file; empty when it is missing or damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
