"""Numbers in text files: decimal commas, and the markers of missing values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from MedDeepLib.data.delimited import Line
from MedDeepLib.errors import UserError

_MISSING = {"", "na", "n/a", "nan", "null", "none", "-", "?", "."}
_MOST_NAMED = 5


def is_missing(cell: str) -> bool:
    """Whether a cell marks a missing value."""
    return cell.strip().lower() in _MISSING


def number(cell: str, decimal_comma: bool = False) -> float | None:
    """The number in a cell, NaN where it is missing, None where the cell holds something else."""
    if is_missing(cell):
        return math.nan
    text = cell.replace(",", ".") if decimal_comma else cell
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in text else None  # Python takes 1_000 for a number


def numbers(path: Path, lines: Sequence[Line], columns: Sequence[int], names: Sequence[str]) -> np.ndarray:
    """The values (lines, columns) float64, NaN where they are missing.

    Raises a UserError that names file, line and column for a cell that is not a number.
    """
    values = np.full((len(lines), len(columns)), np.nan)
    for row, line in enumerate(lines):
        for place, (column, name) in enumerate(zip(columns, names, strict=True)):
            cell = line.cells[column] if column < len(line.cells) else ""
            value = number(cell, line.decimal_comma)
            if value is None:
                raise UserError(f"{path}, line {line.number}: '{cell}' in the column '{name}' is not a number.")
            values[row, place] = value
    return values


def check_widths(path: Path, lines: Sequence[Line], width: int) -> None:
    """Raise a UserError that names the first line with a different number of cells."""
    for line in lines:
        if len(line.cells) != width:
            raise UserError(
                f"{path}, line {line.number}: there are {len(line.cells)} cells, but {width} in the first line."
            )


def what_is_missing(path: Path, values: np.ndarray, names: Sequence[str]) -> str:
    """One sentence on the missing values of each column; empty when there are none."""
    counts = np.isnan(values).sum(0)
    lacking = [f"{name} ({count})" for name, count in zip(names, counts, strict=True) if count]
    more = f" and {len(lacking) - _MOST_NAMED} more columns" if len(lacking) > _MOST_NAMED else ""
    return f"{path.name} lacks values in {', '.join(lacking[:_MOST_NAMED])}{more}." if lacking else ""
