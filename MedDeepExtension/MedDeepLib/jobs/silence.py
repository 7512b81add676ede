"""Notices a worker that hangs: it lives, but neither says anything nor asks whether to go on.

Whatever a worker does, it asks again and again whether it should stop: at every step, tile, case and file, and while
it waits for its device. Each time it leaves a new date on its event file, once a second at most. So a sign of life
costs next to nothing, comes from the very loop that does the work, and cannot come from a process that is stuck.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from enum import Enum
from pathlib import Path

LIMIT_SECONDS = 600.0
ENVIRONMENT_VARIABLE = "MEDDEEP_SILENCE_SECONDS"
SIGN_SECONDS = 1.0
_LONGEST_INTERVAL = 5.0


class Finding(Enum):
    """What a look at a worker has shown; everything but ALIVE is found once only."""

    ALIVE = "it works, or has not been silent for long"
    SILENT = "it has been silent for the limit"
    BACK = "it was found silent and has given a sign of life since"
    DEAD = "it has been silent for twice the limit"


def give_sign(events_file: Path) -> None:
    """Called by the worker's work: show that it is alive."""
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


class SilenceWatch:
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
        self._told = Finding.ALIVE

    def look(self) -> Finding:
        """What is found now."""
        now = self._clock()
        interval, self._looked = min(now - self._looked, _LONGEST_INTERVAL), now
        signs = self._signs()
        if signs != self._seen or not self.limit:
            self._seen, self._silent = signs, 0.0
            back = self._told is Finding.SILENT
            self._told = Finding.ALIVE
            return Finding.BACK if back else Finding.ALIVE
        self._silent += interval
        if self._silent >= 2 * self.limit and self._told is Finding.SILENT:
            self._told = Finding.DEAD
            return Finding.DEAD
        if self._silent >= self.limit and self._told is Finding.ALIVE:
            self._told = Finding.SILENT
            return Finding.SILENT
        return Finding.ALIVE

    def ignore_changes(self) -> None:
        """What has been written just now was not written by the worker."""
        self._seen = self._signs()

    def _signs(self) -> tuple[int, int] | None:
        try:
            state = self._file.stat()
        except OSError:
            return None
        return state.st_size, state.st_mtime_ns
