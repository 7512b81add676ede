"""Starts a job's worker, watches it and stops it, without ever making the caller wait.

The worker's events are read from its event file, so a panel that polls twice a second costs next to nothing, a worker
can never block on a full pipe, and a job started before can be watched again after a restart.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from MedDeepLib.errors import EXIT_DONE, EXIT_STOPPED
from MedDeepLib.jobs.events import EventReader
from MedDeepLib.jobs.folder import JobFolder, State

GRACE_SECONDS = 20.0


class RunningJob:
    """A worker process and the folder it works in."""

    def __init__(self, folder: JobFolder, process: subprocess.Popen, reader: EventReader):
        self.folder = folder
        self._process = process
        self._reader = reader
        self._kill_at: float | None = None
        self._queued = False

    @property
    def pid(self) -> int:
        return self._process.pid

    def poll(self) -> list[dict[str, Any]]:
        """The events since the last call. Also ends a worker that was told to stop and has not done so in time."""
        if self._kill_at is not None and time.monotonic() > self._kill_at:
            self.kill()
        events = self._reader.read()
        for event in events:
            if event["event"] == "state":
                self._queued = event.get("state") == State.QUEUED
        return events

    def is_running(self) -> bool:
        return self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """The worker's exit code, None while it runs."""
        return self._process.poll()

    @property
    def state(self) -> State:
        """As the process says: the folder may still tell of an earlier worker if this one has died at once.

        Whether a running worker waits for its device is known from the events that :meth:`poll` has read.
        """
        if self.is_running():
            waiting_or_running = State.QUEUED if self._queued else State.RUNNING
            return State.STOPPING if self.folder.stop_requested() else waiting_or_running
        if self.exit_code == EXIT_STOPPED:
            return State.STOPPED
        return State.DONE if self.exit_code == EXIT_DONE and self.folder.result_file.exists() else State.FAILED

    def stop(self, grace_seconds: float = GRACE_SECONDS) -> None:
        """Ask the worker to save its work and leave; after ``grace_seconds`` the next poll() ends it."""
        self.folder.request_stop()
        if self._kill_at is None:
            self._kill_at = time.monotonic() + grace_seconds

    def kill(self) -> None:
        """End the worker and everything it has started, now."""
        kill_tree(self._process)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the worker to end and return its exit code (for scripts; a panel polls)."""
        return self._process.wait(timeout)


def launch(folder: JobFolder, background: bool = False) -> RunningJob:
    """Start the worker of a job whose folder exists; a training goes on from its checkpoint if there is one.

    Args:
        folder: the job.
        background: let the worker give way to the applications that people look at (lower priority).

    Raises:
        UserError: the job is done or another worker is at it.
    """
    folder.prepare_restart()
    reader = EventReader(folder.events_file)
    reader.read()  # what an earlier worker said is not news
    arguments = [str(folder.path), "--quiet"] + (["--background"] if background else [])
    with folder.log_file.open("ab") as log:
        process = start_worker(arguments, folder.path, subprocess.DEVNULL, log, subprocess.STDOUT)
    return RunningJob(folder, process, reader)


def start_worker(arguments: list[str], folder: Path, stdin: Any, stdout: Any, stderr: Any) -> subprocess.Popen:
    """Start a worker process that leaves when this one ends.

    Args:
        arguments: of ``python -m MedDeepLib.jobs.worker``.
        folder: its working folder.
        stdin, stdout, stderr: as ``subprocess.Popen`` takes them.
    """
    command = [sys.executable, "-u", "-m", "MedDeepLib.jobs.worker", *arguments, "--parent", str(os.getpid())]
    environment = dict(os.environ, PYTHONIOENCODING="utf-8", PYTHONUNBUFFERED="1", PYTHONPATH=_python_path())
    # Threads that wait for work must not burn the core on which Slicer draws: measured with one other busy process,
    # spinning made interpolation three to fifteen times slower.
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    detached = {"creationflags": subprocess.CREATE_NO_WINDOW} if os.name == "nt" else {"start_new_session": True}
    return subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=stderr, cwd=folder, env=environment, **detached)


def kill_tree(worker: subprocess.Popen) -> None:
    """End a process and everything it has started, now."""
    end_tree(worker.pid)
    worker.wait(timeout=10)


def end_tree(pid: int) -> None:
    """End a process, also one that another program has started, and everything it has started."""
    import psutil

    try:
        parent = psutil.Process(pid)
        family = [*parent.children(recursive=True), parent]
    except psutil.NoSuchProcess:
        family = []
    for process in family:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue


def _python_path() -> str:
    library = str(Path(__file__).resolve().parents[2])
    inherited = os.environ.get("PYTHONPATH")
    return os.pathsep.join([library, inherited] if inherited else [library])
