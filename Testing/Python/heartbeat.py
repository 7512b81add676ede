"""Measures whether Qt's event loop keeps running and which workers are alive, for tests of panels."""

from __future__ import annotations

import time
from pathlib import Path

import psutil

LONGEST_GAP = 0.05
_SCHEDULE = Path("/proc/thread-self/schedstat")  # Linux: nanoseconds at work, and ready but waiting for a processor


class Heartbeat:
    """Measures for how long Qt's event loop stands still, whatever else the computer is doing.

    Between two turns of the loop this thread works, waits for a processor that others use, or is blocked: it sleeps, or
    waits for a file or a lock. Only the first and the last are its own doing.

    Attributes:
        busiest: the most CPU time that this thread has used between two turns.
        blocked: the longest time that it was blocked between two turns; 0 where the system does not tell.
    """

    def __init__(self):
        import qt

        self.busiest = self.blocked = 0.0
        self._timer = qt.QTimer()
        self._timer.setInterval(5)
        self._timer.connect("timeout()", self._beat)

    def start(self) -> None:
        self._last = _times()
        self._timer.start()

    def stop(self) -> float:
        """The longest time in s that the loop stood still by its own doing."""
        self._timer.stop()
        return max(self.busiest, self.blocked)

    def _beat(self) -> None:
        now = _times()
        elapsed, worked, waited = (after - before for after, before in zip(now, self._last, strict=True))
        self.busiest = max(self.busiest, worked)
        if _SCHEDULE.exists():
            self.blocked = max(self.blocked, elapsed - worked - waited)
        self._last = now


def _times() -> tuple[float, float, float]:
    """Now, the CPU time of this thread, and how long it has waited for a processor, in s."""
    waited = int(_SCHEDULE.read_text().split()[1]) / 1e9 if _SCHEDULE.exists() else 0.0
    return time.perf_counter(), time.thread_time(), waited


def worker_processes(folder: Path) -> list[psutil.Process]:
    """The workers of this job that are alive."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        alive = process.info["status"] != psutil.STATUS_ZOMBIE
        if alive and str(folder) in (process.info["cmdline"] or []):
            found.append(process)
    return found
