"""Matrices, e.g. the connectivity of a brain's regions, from a table or a NumPy file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from MedDeepLib.data.delimited import Line, read_lines
from MedDeepLib.data.sources.numbers import check_widths, is_missing, number, numbers, what_is_missing
from MedDeepLib.errors import UserError


@dataclass(frozen=True, eq=False)
class Matrix:
    """Numbers by row and column, square or not.

    Attributes:
        values: (rows, columns) float64, NaN where a value is missing.
        rows, columns: their names; empty where the file has none.
        missing: what is missing, in a sentence for the user; empty when nothing is.
    """

    values: np.ndarray
    rows: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    missing: str = ""


def read_matrix(path: str | Path) -> Matrix:
    """A matrix from ``.csv``, ``.tsv`` or ``.npy``; a first line and a first column of names are recognised.

    Raises a UserError that names the file and the faulty line when it cannot be read or is not two-dimensional.
    """
    path = Path(path)
    if path.suffix.lower() == ".npy":
        return _from_numpy(path)
    if path.suffix.lower() not in (".csv", ".tsv"):
        raise UserError(f"{path.name} cannot be read as a matrix: use .csv, .tsv or .npy.")
    lines = read_lines(path, f"The matrix {path}")
    columns: tuple[str, ...] = ()
    if lines and (_is_text(lines[0].cells[1:] or lines[0].cells) or _is_count(lines[0].cells)):
        columns, lines = lines[0].cells, lines[1:]
    rows = tuple(line.cells[0] for line in lines) if _has_row_names(lines, columns) else ()
    if not lines:
        raise UserError(f"The matrix {path} contains no numbers.")
    check_widths(path, lines, len(lines[0].cells))
    places = range(1 if rows else 0, len(lines[0].cells))
    # A header may leave out the corner above the names of the rows.
    columns = columns[1:] if rows and len(columns) == len(lines[0].cells) else columns
    if columns and len(columns) != len(places):
        raise UserError(
            f"The matrix {path} names {len(columns)} columns, but line {lines[0].number} has {len(places)}."
        )
    names = columns or [str(place + 1) for place in range(len(places))]
    values = numbers(path, lines, places, names)
    return Matrix(values, rows, columns, what_is_missing(path, values, names))


def _from_numpy(path: Path) -> Matrix:
    try:
        values = np.load(path, allow_pickle=False)
        values = np.asarray(values, np.float64)
    except (OSError, ValueError, TypeError, EOFError):
        raise UserError(f"The matrix {path} cannot be read: save it again as a plain array with numpy.save.") from None
    if values.ndim != 2 or not values.size:
        raise UserError(f"The matrix {path} has the shape {values.shape}, but a matrix has rows and columns.")
    if np.isinf(values).any():
        raise UserError(f"The matrix {path} has infinite values: correct the program that wrote it.")
    return Matrix(values, missing=what_is_missing(path, values, [str(n + 1) for n in range(values.shape[1])]))


def _is_text(cells: Sequence[str]) -> bool:
    """Whether all cells are names, not numbers."""
    said = [cell for cell in cells if not is_missing(cell)]
    return bool(said) and all(number(cell, True) is None for cell in said)


def _is_count(cells: Sequence[str]) -> bool:
    """Whether a line numbers the columns after an empty corner cell, as pandas writes it: ,0,1,2."""
    corner, *others = cells
    numbered = [int(cell) for cell in others if cell.isdecimal()]
    counted = numbered == list(range(numbered[0], numbered[0] + len(others))) if numbered else False
    return corner == "" and len(others) > 1 and counted


def _has_row_names(lines: list[Line], columns: tuple[str, ...]) -> bool:
    """Whether the first column names the rows: it holds text, or is below an empty corner cell."""
    first = [line.cells[0] for line in lines]
    wider = bool(columns) and bool(lines) and len(lines[0].cells) == len(columns) + 1
    counted = _is_count(["", *first]) and len(columns) == len(lines) + 1
    return _is_text(first) or wider or counted or bool(columns) and columns[0] == "" and len(columns) > 1
