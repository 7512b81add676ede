"""Tables of features: one or more rows for a case, with named columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from MedDeepLib.data.delimited import read_lines
from MedDeepLib.data.sources.numbers import check_widths, is_missing, number, numbers, what_is_missing
from MedDeepLib.errors import UserError


@dataclass(frozen=True, eq=False)
class Table:
    """Numbers by row and column.

    Attributes:
        columns: names of the columns that hold numbers, in the order of the file.
        values: (rows, columns) float64, NaN where a value is missing.
        texts: columns that hold text (a name, a sex), by their names, one entry a row.
        missing: what is missing, in a sentence for the user; empty when nothing is.
    """

    columns: tuple[str, ...]
    values: np.ndarray
    texts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    missing: str = ""

    def column(self, name: str) -> np.ndarray:
        """The values (rows,) of a column. Raises KeyError when there is none of that name."""
        if name not in self.columns:
            raise KeyError(name)
        return self.values[:, self.columns.index(name)]


@dataclass(frozen=True)
class TableRow:
    """The value of a source whose table holds a row for each of many cases.

    Attributes:
        row: from 0, without the header.
        columns: the features: what is left without the columns that say class, patient and the like.
    """

    row: int
    columns: tuple[str, ...]


def read_table(path: str | Path) -> Table:
    """A table from a ``.csv`` or ``.tsv`` file, whose first line names the columns.

    A column is numeric when more than half of its non-empty cells are numbers; then all must be.

    Raises a UserError that names the file and the faulty line when it cannot be read.
    """
    path = Path(path)
    if path.suffix.lower() not in (".csv", ".tsv"):
        raise UserError(f"{path.name} cannot be read as a table: use .csv or .tsv.")
    lines = read_lines(path, f"The table {path}")
    if len(lines) < 2:
        raise UserError(f"The table {path} has no rows: there must be at least one below the header.")
    header = lines[0].cells
    _check_header(path, header)
    rows = lines[1:]
    check_widths(path, rows, len(header))
    comma = lines[0].decimal_comma
    numeric = [place for place in range(len(header)) if _is_numeric([line.cells[place] for line in rows], comma)]
    names = tuple(header[place] for place in numeric)
    values = numbers(path, rows, numeric, names)
    texts = {
        name: tuple(line.cells[place] for line in rows) for place, name in enumerate(header) if place not in numeric
    }
    return Table(names, values, texts, what_is_missing(path, values, names))


def _check_header(path: Path, header: tuple[str, ...]) -> None:
    for place, name in enumerate(header, start=1):
        if not name:
            raise UserError(f"The table {path} has no name for column {place}: add one to the first line.")
        if header.count(name) > 1:
            raise UserError(f"The table {path} has the column '{name}' twice: give each column its own name.")
    if all(number(name, True) is not None and not is_missing(name) for name in header):
        raise UserError(f"The table {path} begins with numbers: its first line must name the columns.")


def _is_numeric(cells: list[str], decimal_comma: bool) -> bool:
    said = [cell for cell in cells if not is_missing(cell)]
    return not said or 2 * sum(number(cell, decimal_comma) is not None for cell in said) > len(said)
