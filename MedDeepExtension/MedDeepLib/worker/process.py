"""One job in this process: stop requests, the heartbeat, and how the job ends as an exit code and an event."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import signal
import threading
import time
import traceback
from dataclasses import dataclass
from typing import Any, Protocol

from MedDeepLib.devices.memory import is_out_of_memory
from MedDeepLib.errors import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_STOPPED,
    CannotWrite,
    JobError,
    OutOfMemory,
    Stopped,
    UserError,
)
from MedDeepLib.jobs.events import EventWriter
from MedDeepLib.jobs.folder import JobFolder, process_alive, process_identity
from MedDeepLib.jobs.heartbeat import HEARTBEAT_SECONDS, beat

_PARENT_CHECK_SECONDS = 1.0
_ORPHAN_GRACE_SECONDS = 30.0
_GONE_SECONDS = 3.0  # seconds until a missing folder counts as deleted: network drives can briefly hide one
# Errors of a full disk or an exhausted quota...
_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG}
# ... and of missing permissions.
_REFUSED = {errno.EROFS, errno.EACCES, errno.EPERM}


class Stoppable(Protocol):
    """A stop flag for a job or a server; may be set by a signal handler or another thread."""

    def request(self) -> None: ...


def stop_when_told(stop: Stoppable, *parents: tuple[int, float, float | None] | None) -> None:
    """Stop on a signal, or when one of the ``parents`` (see :func:`process_alive`) has ended."""
    signal.signal(signal.SIGTERM, lambda *_: stop.request())
    signal.signal(signal.SIGINT, lambda *_: stop.request())
    for parent in filter(None, parents):
        threading.Thread(target=_watch_parent, args=(*parent, stop), daemon=True).start()


class FolderGone(Exception):
    """The job folder was deleted, moved or taken over by another worker."""


class StopRequest:
    """True once the stop file is there, a signal has come, or the parent has ended::

        while not stop_requested():     # stop_requested is a StopRequest
            do_a_step()

    Checks for the file at most ten times a second. Every loop of the worker calls it, so it also sends the heartbeat,
    and notices when the job folder is gone.
    """

    def __init__(self, folder: JobFolder):
        self._folder = folder
        self._requested = False
        self._next_look = self._next_beat = 0.0
        self._identity: dict[str, Any] | None = None
        self._gone_since: float | None = None

    def request(self) -> None:
        self._requested = True

    def watch_folder(self, identity: dict[str, Any]) -> None:
        """From now on, raise FolderGone when the folder no longer belongs to the worker with this identity."""
        self._identity = identity

    def __call__(self) -> bool:
        now = time.monotonic()
        if now >= self._next_beat:
            self._next_beat = now + HEARTBEAT_SECONDS
            beat(self._folder.events_file)
            self._check_folder(now)
        return self.asked()

    def asked(self) -> bool:
        """The same check without a heartbeat, for a process that only waits for others, which send the heartbeats."""
        now = time.monotonic()
        if not self._requested and now >= self._next_look:
            self._next_look = now + 0.1
            self._requested = self._folder.stop_requested()
        return self._requested

    def _check_folder(self, now: float) -> None:
        if self._identity is None or self._folder.is_held_by(self._identity):
            self._gone_since = None
            return
        if self._gone_since is None:
            self._gone_since = now
        if now - self._gone_since >= _GONE_SECONDS:
            raise FolderGone


@dataclass(frozen=True)
class JobEnd:
    """How a job ended.

    Attributes:
        exit_code: 0 (done), 2 (bad input), 3 (failed) or 130 (stopped).
        sound: whether the process can run another job; false if an unexpected error left it in an unknown state.
    """

    exit_code: int
    sound: bool = True


def run_job(folder: JobFolder, report: EventWriter, stop: StopRequest, **options: Any) -> JobEnd:
    """Run the job and report how it ends; ``options`` go to :func:`MedDeepLib.worker.actions.perform`."""
    try:
        stop.watch_folder(folder.register_worker())
        report("state", state="running")
        report("phase", phase="Starting")
        from MedDeepLib.worker.actions import perform

        result = perform(folder, report, stop, **options)
        folder.write_result(result)
        report("state", state="done")
        return JobEnd(EXIT_DONE)
    except Stopped:
        report("state", state="stopped")
        return JobEnd(EXIT_STOPPED)
    except FolderGone:
        logging.error("The job folder %s is gone: exiting.", folder.path)
        return JobEnd(EXIT_FAILED)
    except Exception as error:
        logging.error("%s", traceback.format_exc())
        failure = explain(error)
        report("state", state="failed", message=str(failure), kind=failure.kind, exit_code=failure.exit_code)
        return JobEnd(failure.exit_code, sound=isinstance(error, UserError) and failure.kind != "memory")


def explain(error: Exception) -> UserError:
    """The error as one sentence for users; an unexpected one by its type and text, with a reference to the log."""
    if isinstance(error, UserError):
        return error
    if is_out_of_memory(error):
        return OutOfMemory(
            "There was not enough memory: choose smaller patches or a smaller batch, close other programs, or use "
            "another device."
        )
    if isinstance(error, OSError) and error.errno in _FULL:
        return CannotWrite(f"The disk is full ({error.filename or 'job folder'}): free some space and resume the job.")
    if isinstance(error, OSError) and error.errno in _REFUSED:
        return CannotWrite(
            f"{error.filename or 'A file of the job'} cannot be opened or written ({error.strerror}): "
            "check its permissions, or use another folder."
        )
    if isinstance(error, ModuleNotFoundError):
        return JobError(f"The Python package '{error.name}' is missing: install the packages of the extension.")
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    failure = JobError(f"The job failed unexpectedly ({reason}); log.txt has the details.")
    failure.kind = "internal"
    return failure


def _watch_parent(pid: int, started: float, after_boot: float | None, stop: Stoppable) -> None:
    """Exit when the process that started this worker has ended: nothing else would stop it or use its result."""
    while process_alive(pid, started, after_boot):
        time.sleep(_PARENT_CHECK_SECONDS)
    logging.warning("The application that started this job has ended: saving and exiting.")
    stop.request()
    time.sleep(_ORPHAN_GRACE_SECONDS)
    logging.error("The job could not be saved within %g s: exiting without a checkpoint.", _ORPHAN_GRACE_SECONDS)
    _end_children()
    os._exit(EXIT_FAILED)


def _end_children() -> None:
    import psutil

    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            child.kill()


def process_argument(text: str) -> tuple[int, float, float | None]:
    """A process from the command line: PID, or PID:STARTED:AFTER_BOOT, which distinguishes it
    from a later process with the same PID."""
    pid, *moments = text.split(":")
    if moments:
        started, after_boot = map(float, moments)
        return int(pid), started, after_boot
    return process_identity(int(pid))
