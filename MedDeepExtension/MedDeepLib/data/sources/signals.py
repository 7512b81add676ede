"""Signals over time, e.g. the mean of each brain region in every volume of a functional MRI."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from MedDeepLib.data.delimited import read_lines
from MedDeepLib.data.sources.numbers import check_widths, number, numbers, what_is_missing
from MedDeepLib.errors import UserError

_TIME = ("time", "t", "seconds", "time_s")
_UNEVEN = 0.01


@dataclass(frozen=True, eq=False)
class Signals:
    """Signals of several regions, sampled at the same times.

    Attributes:
        values: (times, regions) float64, NaN where a value is missing.
        regions: their names; "1", "2", ... where the file has none.
        interval: seconds from one sample to the next, None where the file has no column of times.
        missing: what is missing, in a sentence for the user; empty when nothing is.
    """

    values: np.ndarray
    regions: tuple[str, ...]
    interval: float | None = None
    missing: str = ""


def read_signals(path: str | Path) -> Signals:
    """Signals from a ``.csv`` or ``.tsv`` file with a line for each time and a column for each region.

    The first line may name the regions; a column called time (or t, seconds) is that of the times in seconds.

    Raises a UserError that names the file and the faulty line when it cannot be read.
    """
    path = Path(path)
    if path.suffix.lower() not in (".csv", ".tsv"):
        raise UserError(f"{path.name} cannot be read as signals: use .csv or .tsv.")
    lines = read_lines(path, f"The signals {path}")
    header: tuple[str, ...] = ()
    if lines and any(number(cell, True) is None for cell in lines[0].cells):
        header, lines = lines[0].cells, lines[1:]
    if len(lines) < 2:
        raise UserError(f"The signals {path} need at least two lines of numbers, one for each time.")
    width = len(header or lines[0].cells)
    check_widths(path, lines, width)
    names = header or tuple(str(place + 1) for place in range(width))
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"The signals {path} have the column '{name}' twice: give each column its own name.")
    values = numbers(path, lines, range(width), names)
    times = [place for place, name in enumerate(names) if name.lower() in _TIME] if header else []
    regions = [place for place in range(width) if place not in times[:1]]
    if not regions:
        raise UserError(f"The signals {path} have only a column of times.")
    kept = tuple(names[place] for place in regions)
    interval = _interval(path, values[:, times[0]]) if times else None
    return Signals(values[:, regions], kept, interval, what_is_missing(path, values[:, regions], kept))


def _interval(path: Path, times: np.ndarray) -> float:
    steps = np.diff(times)
    mean = float(steps.mean())
    if not np.isfinite(steps).all() or mean <= 0 or np.abs(steps - mean).max() > _UNEVEN * mean:
        raise UserError(f"The times in {path} are not evenly spaced: resample the signals first.")
    return mean
