"""How far a network has come with an image, as events."""

from __future__ import annotations

import time

from MedDeepLib.core import Context


class TileProgress:
    """Reports tiles done and the time left, at most twice a second."""

    def __init__(self, context: Context):
        self._context = context
        self._began = time.monotonic()
        self._reported = 0.0

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._reported < 0.5 and done < total:
            return
        self._reported = now
        remaining = (now - self._began) / done * (total - done)
        self._context.report("progress", step=done, total=total, remaining=round(remaining, 1))
