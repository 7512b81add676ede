"""Measures whether Qt's event loop keeps running and which workers are alive, for tests of panels."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil

LONGEST_GAP = 0.05


# A process that only sleeps and wakes, for comparison: on a busy computer, no process is woken in time.
MEASURE_THE_COMPUTER = """
import time
longest, last = 0.0, time.perf_counter()
while True:
    time.sleep(0.005)
    now = time.perf_counter()
    if now - last > longest:
        longest = now - last
        print(longest, flush=True)
    last = now
"""


class Heartbeat:
    """Measures the longest gap of the event loop that is not explained by the load of the computer.

    Attributes:
        busiest: the most CPU time that this thread has used between two turns, independent of the computer's load.
    """

    def __init__(self):
        import qt

        self.longest = self.busiest = 0.0
        self._worked = time.thread_time()
        self._last = time.perf_counter()
        self._timer = qt.QTimer()
        self._timer.setInterval(5)
        self._timer.connect("timeout()", self._beat)

    def start(self) -> None:
        self._computer = subprocess.Popen(
            [sys.executable, "-c", MEASURE_THE_COMPUTER], stdout=subprocess.PIPE, text=True
        )
        self._last, self._worked = time.perf_counter(), time.thread_time()
        self._timer.start()

    def stop(self) -> float:
        """The longest gap that the computer's load does not explain."""
        self._timer.stop()
        self._computer.terminate()
        computer = float(self._computer.communicate()[0].splitlines()[-1])
        return self.longest if self.longest < LONGEST_GAP else self.longest - computer

    def _beat(self) -> None:
        now, worked = time.perf_counter(), time.thread_time()
        self.longest = max(self.longest, now - self._last)
        self.busiest = max(self.busiest, worked - self._worked)
        self._last, self._worked = now, worked


def worker_processes(folder: Path) -> list[psutil.Process]:
    """The workers of this job that are alive."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        alive = process.info["status"] != psutil.STATUS_ZOMBIE
        if alive and str(folder) in (process.info["cmdline"] or []):
            found.append(process)
    return found
