"""Where the time of a job goes: wall seconds by phase."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator


class Phases:
    """Sums the wall time of named phases::

        with context.phases("network"):
            scores = network(image)

    A phase within another one is subtracted from it, so that all of them add up to no more than the whole.
    """

    def __init__(self):
        self._seconds: dict[str, float] = {}
        self._within: list[float] = []  # seconds of the phases inside each open one

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        self._within.append(0.0)
        try:
            yield
        finally:
            seconds = time.perf_counter() - began
            self.add(name, seconds - self._within.pop())
            if self._within:
                self._within[-1] += seconds

    def add(self, name: str, seconds: float) -> None:
        """Count time that was measured elsewhere."""
        self._seconds[name] = self._seconds.get(name, 0.0) + seconds

    def seconds(self) -> dict[str, float]:
        """Seconds by phase, in the order in which they were first entered."""
        return {name: round(value, 4) for name, value in self._seconds.items()}
