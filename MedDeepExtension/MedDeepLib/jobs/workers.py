"""The interface for applications: a launcher starts workers, each is watched until its job has ended.

Panels and scripts are given a launcher and know neither processes nor pipes, so a test can pass one that
replays recorded jobs:

    logic = SegmentModuleLogic()                      # with the launcher of this application
    logic = SegmentModuleLogic(ReplayLauncher(...))   # in a test
"""

from __future__ import annotations

from functools import cache
from typing import Any, Protocol

from MedDeepLib.jobs.folder import JobFolder, State
from MedDeepLib.jobs.launcher import GRACE_SECONDS, launch
from MedDeepLib.jobs.warm import WarmWorkers


class Worker(Protocol):
    """A job run by a worker; :class:`~MedDeepLib.jobs.launcher.RunningJob` is the one with a process.

    No method blocks.

    Attributes:
        folder: the job.
        state: of the job.
        exit_code: None while it runs.
    """

    folder: JobFolder

    @property
    def state(self) -> State: ...

    @property
    def exit_code(self) -> int | None: ...

    def is_running(self) -> bool: ...

    def poll(self) -> list[dict[str, Any]]:
        """The events since the last call."""
        ...

    def stop(self, grace_seconds: float = GRACE_SECONDS) -> None:
        """Ask the worker to save its work and exit; a poll after ``grace_seconds`` ends it."""

    def kill(self) -> None:
        """End the worker now."""


class Launcher(Protocol):
    """Starts workers. Starting raises UserError when the job is done, taken, or its folder not writable."""

    def launch(self, folder: JobFolder) -> Worker:
        """Start a job, or resume it from its last checkpoint."""
        ...

    def submit(self, folder: JobFolder) -> Worker:
        """Start an apply job: at once if a worker is warm."""
        ...

    def release(self) -> None:
        """Free the memory of warm workers: idle ones end now, busy ones after their job."""


class ProcessLauncher:
    """A process for each training, and warm workers for applications.

    All run at a lower priority, so that the scene stays responsive.
    """

    def __init__(self, warm: WarmWorkers | None = None):
        self._warm = warm or WarmWorkers()

    def launch(self, folder: JobFolder) -> Worker:
        return launch(folder, background=True)

    def submit(self, folder: JobFolder) -> Worker:
        return self._warm.submit(folder)

    def release(self) -> None:
        self._warm.retire()


@cache
def application_launcher() -> Launcher:
    """The launcher shared by all modules of this application: a model stays loaded, whichever module applied it."""
    return ProcessLauncher()
