"""The heartbeat of a worker: how it shows that it works, and how one that hangs is noticed.

Whatever a worker does, it asks again and again whether it should stop: at every step, tile, case and file, and while
it waits for its device. Each time, but once a second at most, it touches its event file. So a heartbeat costs next to
nothing, comes from the very loop that does the work, and cannot come from a process that is stuck.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from enum import Enum
from pathlib import Path

LIMIT_SECONDS = 600.0
ENVIRONMENT_VARIABLE = "MEDDEEP_SILENCE_SECONDS"
HEARTBEAT_SECONDS = 1.0
_LONGEST_INTERVAL = 5.0


class Pulse(Enum):
    """What a look at a worker has shown; everything but ALIVE is returned once only."""

    ALIVE = "it works, or has not been silent for long"
    SILENT = "it has been silent for the limit"
    BACK = "it was silent and has a heartbeat again"
    DEAD = "it has been silent for twice the limit"


def beat(events_file: Path) -> None:
    """Called by the loops that do the worker's work."""
    try:
        os.utime(events_file)
    except OSError:
        return  # a folder that is gone is noticed elsewhere


def limit_seconds() -> float:
    """How long a worker may be silent: ten minutes, or what the environment says; 0: for ever."""
    try:
        return max(0.0, float(os.environ[ENVIRONMENT_VARIABLE]))
    except (KeyError, ValueError):
        return LIMIT_SECONDS


class HeartbeatMonitor:
    """Looks at the event file of one job whenever it is asked to.

    Dates are compared with each other only, never with the clock, so setting the clock changes nothing. The time in
    which nobody looks does not count, as while the computer sleeps.

    Attributes:
        limit: seconds of silence that are worth a warning; the job is given up after twice as many. 0: never.
    """

    def __init__(self, events_file: Path, clock: Callable[[], float] = time.monotonic):
        self.limit = limit_seconds()
        self._file, self._clock = events_file, clock
        self._seen: tuple[int, int] | None = None
        self._silent = 0.0
        self._looked = clock()
        self._told = Pulse.ALIVE

    def look(self) -> Pulse:
        """How it is now."""
        now = self._clock()
        interval, self._looked = min(now - self._looked, _LONGEST_INTERVAL), now
        state = self._state()
        if state != self._seen or not self.limit:
            self._seen, self._silent = state, 0.0
            back = self._told is Pulse.SILENT
            self._told = Pulse.ALIVE
            return Pulse.BACK if back else Pulse.ALIVE
        self._silent += interval
        if self._silent >= 2 * self.limit and self._told is Pulse.SILENT:
            self._told = Pulse.DEAD
            return Pulse.DEAD
        if self._silent >= self.limit and self._told is Pulse.ALIVE:
            self._told = Pulse.SILENT
            return Pulse.SILENT
        return Pulse.ALIVE

    def ignore_changes(self) -> None:
        """What has been written just now was not written by the worker."""
        self._seen = self._state()

    def _state(self) -> tuple[int, int] | None:
        try:
            found = self._file.stat()
        except OSError:
            return None
        return found.st_size, found.st_mtime_ns
