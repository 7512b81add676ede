"""The cost of a job: wall time, CPU time, device-seconds, peak memory."""

from __future__ import annotations

import sys
import time
from typing import Any


class Accounting:
    """Counts from its creation; only the peak of resident memory covers the whole process."""

    def __init__(self, device):
        self._device = device
        self._started = time.perf_counter()
        self._processor = time.process_time()
        if device.type == "cuda":
            import torch

            torch.cuda.reset_peak_memory_stats(device)

    def usage(self) -> dict[str, Any]:
        """Seconds and bytes so far; a device other than the CPU is counted as held from beginning to end."""
        import torch

        seconds = time.perf_counter() - self._started
        usage: dict[str, Any] = {
            "device": str(self._device),
            "seconds": round(seconds, 2),
            "processor_seconds": round(time.process_time() - self._processor, 2),
            "resident_bytes": peak_resident_bytes(),
        }
        if self._device.type == "cuda":
            usage["device_bytes"] = torch.cuda.max_memory_allocated(self._device)
        if self._device.type != "cpu":
            usage["device_seconds"] = usage["seconds"]
        return usage


def peak_resident_bytes() -> int:
    """The most memory this process has held so far."""
    if sys.platform == "win32":
        import psutil

        return psutil.Process().memory_info().peak_wset
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
