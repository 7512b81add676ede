"""How many CPU threads a job computes with, so that Slicer stays responsive.

The CPU is never leased to one job alone: a training must not keep every application of a model waiting for hours. Jobs
share it. The budget is all cores but one (all of them where there are no more than two). A training always computes
with the whole budget, whatever else runs: the number of threads changes the last bit of a sum, and the same settings
have to give the same weights to the last bit. Any other job that starts beside others gets the remaining threads, but
at least its fair share.
"""

from __future__ import annotations

import os
from collections.abc import Sequence


def available_cores() -> int:
    """CPU cores that this process may use; two threads of one core count once."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        import psutil

        cores = psutil.cpu_count(logical=False) or allowed
    except ImportError:
        cores = allowed
    return max(1, min(cores, allowed))


def budget(cores: int) -> int:
    """Threads for all jobs together."""
    return cores - 1 if cores > 2 else cores


def share(cores: int, others: Sequence[int]) -> int:
    """Threads for one more job beside jobs that compute with ``others`` threads each; at least 1."""
    left = budget(cores) - sum(others)
    fair = budget(cores) // (len(others) + 1)
    return max(1, left, fair)


def training_threads() -> int:
    """Threads for a training without a chosen number: what the user has set for all programs, or the budget."""
    return threads_from_environment() or budget(available_cores())


def threads_from_environment() -> int:
    """What the user has set for all programs in OMP_NUM_THREADS; 0: nothing."""
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(first) if first.isdecimal() else 0
