"""Durations in words."""

from __future__ import annotations


def in_words(seconds: float) -> str:
    """A duration in words: 40 s, 5 min, 2 h 10 min."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
