"""Runs long work in slices of a few milliseconds, so that the event loop keeps running."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator
from typing import Any

import qt
from slicer.i18n import tr as _

from MedDeepLib.errors import UserError

_SLICE_SECONDS = 0.008
_PAUSE_MILLISECONDS = 8


class Slices:
    """Runs one generator at a time; everything that it does between two of its steps must be short."""

    def __init__(self):
        self._work: Generator[Any] | None = None
        self._done: Callable[[], None] = lambda: None
        self._failed: Callable[[str], None] = lambda sentence: None
        self._timer = qt.QTimer()
        self._timer.setInterval(_PAUSE_MILLISECONDS)
        self._timer.connect("timeout()", self._do_a_slice)

    def is_busy(self) -> bool:
        return self._work is not None

    def start(
        self,
        work: Generator[Any],
        done: Callable[[], None] = lambda: None,
        failed: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        """Start; unfinished earlier work is dropped.

        Args:
            work: does one step for each value that it yields.
            done: called at the end.
            failed: called instead when the work fails, with the reason as a sentence.
        """
        self.cancel()
        self._work, self._done, self._failed = work, done, failed
        self._timer.start()

    def cancel(self) -> None:
        """Drop the work."""
        self._timer.stop()
        work, self._work = self._work, None
        if work is not None:
            work.close()

    def finish(self, deadline: float) -> None:
        """Do the remaining work, but not beyond ``deadline`` (``time.monotonic()``)."""
        while self._work is not None and time.monotonic() < deadline:
            self._do_a_slice()
        self.cancel()

    def _do_a_slice(self) -> None:
        end = time.perf_counter() + _SLICE_SECONDS
        try:
            while self._work is not None and time.perf_counter() < end:
                next(self._work)
        except StopIteration:
            self._end(self._done)
        except UserError as error:
            self._end(self._failed, str(error))
        except Exception as error:
            logging.exception("Work in the background has failed")
            self._end(self._failed, _("This failed unexpectedly ({error}).").format(error=error))

    def _end(self, tell: Callable[..., None], *arguments: str) -> None:
        self._timer.stop()
        self._work = None
        tell(*arguments)
