"""Stops a running or waiting job by its folder, whichever Slicer or script started it."""

from __future__ import annotations

import time

from MedDeepLib.errors import UserError
from MedDeepLib.jobs.folder import JobFolder
from MedDeepLib.jobs.launcher import GRACE_SECONDS, end_tree


class Stopping:
    """A job that was asked to save its work and exit; poll it until it has.

    Attributes:
        folder: the job.
        forced: whether it had to be ended because it did not exit in time.
    """

    def __init__(self, folder: JobFolder, grace_seconds: float = GRACE_SECONDS):
        """Request the stop. Raises UserError when the job is not running, or the request cannot be written."""
        self.folder = folder
        self.forced = False
        self._pid = folder.active_pid()
        if self._pid is None and not folder.is_starting():
            raise UserError(f"The job in {folder.path} is not running: there is nothing to stop.")
        folder.request_stop()
        self._deadline = time.monotonic() + grace_seconds

    def ended(self) -> bool:
        """Whether it has exited; once the grace period is over, ends it and everything it has started."""
        pid = self.folder.active_pid()
        if pid is None:
            # A worker that is just starting may not have registered yet.
            return self._pid is not None or not self.folder.is_starting()
        self._pid = pid
        if time.monotonic() > self._deadline:
            self.forced = True
            end_tree(pid)
        return False
