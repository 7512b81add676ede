"""Figures as people say them."""

from __future__ import annotations

from typing import Any


def in_words(seconds: float) -> str:
    """A duration as people say it: 40 s, 5 min, 2 h 10 min."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def registration_in_words(figures: dict[str, Any]) -> str:
    """What a registration has achieved, in a sentence or two; folding is always told."""
    words = f"Similarity {figures['similarity_before']:.3f} before, {figures['similarity_after']:.3f} after"
    words += f"; points move by {figures['displacement_mean_mm']:.1f} mm in the mean"
    folded = figures["folded_percent"]
    words += f"; {folded:.3g} % of the voxels fold." if folded else "; nothing folds."
    if figures.get("stopped_early"):
        words += f" Stopped after {figures['steps']} steps."
    return words
