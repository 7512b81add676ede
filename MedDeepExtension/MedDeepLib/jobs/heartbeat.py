"""The heartbeat of a worker: shows that it is working, so that a hanging worker is noticed.

A worker continually checks whether it should stop: at every step, tile, case and file, and while it waits for its
device. Each check, at most once a second, touches the event file. So a heartbeat costs next to nothing, comes from the
loop that does the work, and cannot come from a process that is stuck.
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
    """The result of checking a worker; everything but ALIVE is returned only once."""

    ALIVE = "it works, or has not been silent for long"
    SILENT = "it has been silent for the limit"
    BACK = "it was silent and has a heartbeat again"
    DEAD = "it has been silent for twice the limit"


def beat(events_file: Path) -> None:
    """Called by the loops that do the worker's work."""
    try:
        os.utime(events_file)
    except OSError:
        return  # a missing folder is noticed elsewhere


def limit_seconds() -> float:
    """How long a worker may be silent, in seconds: ten minutes, or set by the environment; 0: no limit."""
    try:
        return max(0.0, float(os.environ[ENVIRONMENT_VARIABLE]))
    except (KeyError, ValueError):
        return LIMIT_SECONDS


class HeartbeatMonitor:
    """Checks the event file of one job for heartbeats.

    File times are compared only with each other, never with the clock, so setting the clock changes nothing. Time in
    which nobody checks does not count, as while the computer sleeps.

    Attributes:
        limit: seconds of silence before a warning; the worker is ended after twice as many. 0: never.
    """

    def __init__(self, events_file: Path, clock: Callable[[], float] = time.monotonic):
        self.limit = limit_seconds()
        self._file, self._clock = events_file, clock
        self._seen: tuple[int, int] | None = None
        self._silent = 0.0
        self._looked = clock()
        self._told = Pulse.ALIVE

    def look(self) -> Pulse:
        """Check now."""
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
        """Ignore the last change of the file, which the worker did not make."""
        self._seen = self._state()

    def _state(self) -> tuple[int, int] | None:
        try:
            found = self._file.stat()
        except OSError:
            return None
        return found.st_size, found.st_mtime_ns
