"""Starts a job's worker, watches it and stops it, without ever blocking the caller.

The worker's events are read from its event file, so a panel that polls twice a second costs next to nothing, a worker
can never block on a full pipe, and an earlier job can be watched again after a restart.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from MedDeepLib.errors import EXIT_DONE, EXIT_FAILED, EXIT_STOPPED, CannotWrite
from MedDeepLib.jobs.events import EventReader, EventWriter
from MedDeepLib.jobs.folder import JobFolder, State, own_identity
from MedDeepLib.jobs.heartbeat import HeartbeatMonitor, Pulse
from MedDeepLib.jobs.words import in_words

WORKER = "MedDeepLib.worker"
_PROGRAMS = {"cohort": "MedDeepLib.cohort"}  # actions run by another worker program
GRACE_SECONDS = 20.0
_WAIT_SECONDS = 0.5
_KILL_SECONDS = 2.0


class RunningJob:
    """A worker process and the folder it works in.

    Polling also detects that the worker hangs or that its folder has been deleted: such a worker is ended,
    and the last event gives the reason, as if the worker had reported it.
    """

    def __init__(self, folder: JobFolder, process: subprocess.Popen, reader: EventReader):
        self.folder = folder
        self._process = process
        self._reader = reader
        self._kill_at: float | None = None
        self._gone_since: float | None = None
        self._queued = False
        self._failure_known = False
        self._untold: list[dict[str, Any]] = []
        self._heartbeat = HeartbeatMonitor(folder.events_file)

    @property
    def pid(self) -> int:
        return self._process.pid

    def poll(self) -> list[dict[str, Any]]:
        """The events since the last call. Also ends a worker that did not stop within its grace period."""
        self._look_after()
        events, self._untold = [*self._untold, *self._reader.read()], []
        for event in events:
            if event["event"] == "state":
                self._queued = event.get("state") == State.QUEUED
                self._failure_known = event.get("state") == State.FAILED
        return events

    def is_running(self) -> bool:
        return self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """The worker's exit code, None while it runs."""
        return self._process.poll()

    @property
    def state(self) -> State:
        """The state according to the process: if it died at once, the folder still describes an earlier worker.

        Whether a running worker waits for its device is known from the events that :meth:`poll` has read.
        """
        if self.is_running():
            waiting_or_running = State.QUEUED if self._queued else State.RUNNING
            return State.STOPPING if self.folder.stop_requested() else waiting_or_running
        if self.exit_code == EXIT_STOPPED:
            return State.STOPPED
        return State.DONE if self.exit_code == EXIT_DONE and self.folder.result_file.exists() else State.FAILED

    def stop(self, grace_seconds: float = GRACE_SECONDS) -> None:
        """Ask the worker to save its work and exit; after ``grace_seconds`` the next poll() ends it."""
        try:
            self.folder.request_stop()
        except CannotWrite:
            self._signal_stop()
        if self._kill_at is None:
            self._kill_at = time.monotonic() + grace_seconds

    def kill(self) -> None:
        """End the worker and everything it has started, now."""
        kill_tree(self._process)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the worker to end and return its exit code (for scripts; a panel polls).

        Supervises the worker as :meth:`poll` does, but leaves all events for it.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.is_running():
            self._look_after()
            left = _WAIT_SECONDS if deadline is None else min(_WAIT_SECONDS, deadline - time.monotonic())
            if left <= 0:
                raise subprocess.TimeoutExpired("worker", timeout or 0.0)
            self._wait_for_process(left)
        assert self.exit_code is not None
        return self.exit_code

    def _wait_for_process(self, seconds: float) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)

    def _look_after(self) -> None:
        """Detect what the worker cannot report itself, and end it if necessary."""
        now = time.monotonic()
        self._gone_since = None if self.folder.is_there() else self._gone_since or now
        if not self.is_running():
            if self._gone_since is not None and not self._failure_known and self.state is State.FAILED:
                self._tell_failure(_gone(self.folder), "input")
            return
        gone_for = now - self._gone_since if self._gone_since is not None else 0.0
        if gone_for > GRACE_SECONDS or (self._kill_at is not None and now > self._kill_at):
            self._kill_at = None
            self.kill()
            return
        self._check_heartbeat()

    def _check_heartbeat(self) -> None:
        pulse = self._heartbeat.look()
        silence = in_words(self._heartbeat.limit)
        if pulse is Pulse.SILENT:
            sentence = f"The worker has sent no heartbeat for {silence}. It will be ended in another {silence}."
            self._tell("warning", message=sentence, silent=True)
        elif pulse is Pulse.BACK:
            self._tell("message", message="The worker sends heartbeats again.", silent=False)
        elif pulse is Pulse.DEAD:
            self.kill()
            self._tell_failure(_silent(self.folder, 2 * self._heartbeat.limit), "silent")

    def _signal_stop(self) -> None:
        """Ask the worker to stop when the stop file cannot be written; Windows has no gentle way."""
        if os.name != "nt":
            self._process.send_signal(signal.SIGTERM)

    def _tell_failure(self, sentence: str, kind: str = "internal") -> None:
        """Report a failure that the worker could not report itself."""
        self._failure_known = True
        self._tell("state", state=State.FAILED, message=sentence, kind=kind, exit_code=EXIT_FAILED)

    def _tell(self, event: str, **fields: Any) -> None:
        """Add an event of the launcher itself: for the next poll(), and to the file for later readers."""
        self._untold += self._reader.read()
        if self.folder.is_there():
            with contextlib.suppress(OSError), contextlib.closing(EventWriter(self.folder.events_file)) as report:
                report(event, **fields)
        self._heartbeat.ignore_changes()
        self._untold += [other for other in self._reader.read() if other.get("message") != fields["message"]]
        self._untold.append({"time": round(time.time(), 3), "event": event, **fields})


def launch(folder: JobFolder, background: bool = False) -> RunningJob:
    """Start the worker of a job whose folder exists; a training resumes from its checkpoint if there is one.

    Args:
        folder: the job.
        background: run the worker at a lower priority, so that interactive applications stay responsive.

    Raises:
        UserError: the job is done, another worker is running it, or its folder cannot be written.
    """
    folder.prepare_restart()
    reader = EventReader(folder.events_file)
    reader.read()  # skip the events of an earlier worker
    arguments = [str(folder.path), "--quiet"] + (["--background"] if background else [])
    try:
        log = folder.log_file.open("ab")
    except OSError as error:
        raise folder.not_writable(error) from None
    with log:
        program = _PROGRAMS.get(folder.job().action, WORKER)
        process = start_worker(arguments, folder.path, subprocess.DEVNULL, log, subprocess.STDOUT, program)
    return RunningJob(folder, process, reader)


def start_worker(
    arguments: list[str], folder: Path, stdin: Any, stdout: Any, stderr: Any, program: str = WORKER
) -> subprocess.Popen:
    """Start a worker process that exits when this one ends.

    Args:
        arguments: of the program.
        program: module of the worker process.
        folder: its working folder.
        stdin, stdout, stderr: as ``subprocess.Popen`` takes them.
    """
    command = [sys.executable, "-u", "-m", program, *arguments, "--parent", this_process()]
    environment = dict(os.environ, PYTHONIOENCODING="utf-8", PYTHONUNBUFFERED="1", PYTHONPATH=_python_path())
    # Threads that wait for work must not burn the core on which Slicer draws: measured with one other busy process,
    # spinning made interpolation three to fifteen times slower.
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Operations that torch lacks on Apple GPUs run on the CPU; otherwise the job would fail.
    environment.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
    detached: dict[str, Any] = {"start_new_session": True}
    if os.name == "nt":
        detached = {"creationflags": subprocess.CREATE_NO_WINDOW}
    return subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=stderr, cwd=folder, env=environment, **detached)


def kill_tree(worker: subprocess.Popen) -> None:
    """End a process and everything it has started, now."""
    end_tree(worker.pid)
    # A process blocked on a broken disk or network drive ends only when the drive responds; do not wait for it.
    with contextlib.suppress(subprocess.TimeoutExpired):
        worker.wait(timeout=_KILL_SECONDS)


def end_tree(pid: int) -> None:
    """End a process, also one started by another program, and everything it has started."""
    import psutil

    try:
        parent = psutil.Process(pid)
        family = [*parent.children(recursive=True), parent]
    except psutil.NoSuchProcess:
        return
    if os.name != "nt":
        # Also orphans whose parents have ended: a worker leads its own process group.
        with contextlib.suppress(OSError):
            if os.getpgid(pid) == pid:
                os.killpg(pid, signal.SIGKILL)
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def _gone(folder: JobFolder) -> str:
    return (
        f"The job folder {folder.path} was deleted or moved while the job ran, so the job has ended: keep the folder "
        "of a running job in place."
    )


def _silent(folder: JobFolder, seconds: float) -> str:
    hope = "its last checkpoint is kept" if folder.has_checkpoint() else "start the job again"
    return f"The worker sent no heartbeat for {in_words(seconds)} and was ended; {hope}."


def this_process() -> str:
    """The identity of this process, so that a worker cannot confuse it with a later one with the same id."""
    try:
        identity = own_identity()
    except ImportError:
        return str(os.getpid())  # psutil comes with the packages of the extension; the worker reports what is missing
    return ":".join(str(identity[key]) for key in ("pid", "started", "after_boot"))


def _python_path() -> str:
    library = str(Path(__file__).resolve().parents[2])
    inherited = os.environ.get("PYTHONPATH")
    return os.pathsep.join([library, inherited] if inherited else [library])
