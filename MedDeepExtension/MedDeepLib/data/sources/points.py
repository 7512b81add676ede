"""Points in RAS millimetres with their names, from the files in which 3D Slicer keeps them."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from MedDeepLib.data.delimited import decoded, read_lines
from MedDeepLib.data.sources import markups
from MedDeepLib.errors import UserError

_LPS, _RAS = ("LPS", "1"), ("RAS", "0")
_NO_POINTS = ("ROI",)  # its control points are those of a box


@dataclass(frozen=True, eq=False)
class Points:
    """Named points.

    Attributes:
        names: of the points in the order of the file; two points may have one name.
        positions: (N, 3) float64, RAS mm.
    """

    names: tuple[str, ...]
    positions: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    def keys(self) -> list[tuple[str, int]]:
        """A unique (name, number) for each point: the second point with a name has the number 1."""
        counts: Counter[str] = Counter()
        keys = []
        for name in self.names:
            keys.append((name, counts[name]))
            counts[name] += 1
        return keys


def read_points(path: str | Path) -> Points:
    """The points of a ``.mrk.json`` (of all its markups but ROIs), a ``.fcsv`` or a ``.csv`` with columns r, a, s.

    A CSV may also have the column name, and is in RAS mm. Points without a name are numbered from 1;
    points of a ``.mrk.json`` that were never placed are skipped.

    Raises a UserError that names the file, and the line of a table, when it cannot be read or has no points.
    """
    path = Path(path)
    readers = {".json": _from_markups, ".fcsv": _from_fcsv, ".csv": _from_csv, ".tsv": _from_csv}
    if path.suffix.lower() not in readers:
        raise UserError(f"{path.name} cannot be read as points: use .mrk.json, .fcsv or .csv.")
    named = readers[path.suffix.lower()](path)
    if not named:
        raise UserError(f"The file {path} contains no points: place some, or do not use it.")
    positions = np.array([position for _, position in named], np.float64)
    if not np.isfinite(positions).all():
        raise UserError(f"The points in {path} have invalid positions: save them again from Slicer's Markups.")
    return Points(tuple(name for name, _ in named), positions)


def _from_markups(path: Path) -> list[tuple[str, tuple[float, ...]]]:
    found = markups.read_markups(path)
    named = []
    for markup in found:
        if markup.get("type") in _NO_POINTS:
            continue
        with markups.readable(path):
            to_ras = markups.to_ras(markup, path)
            for number, point in enumerate(markup.get("controlPoints", []), start=1):
                if point.get("positionStatus", "defined") == "defined":
                    position = to_ras @ np.array([float(value) for value in point["position"]])
                    named.append((str(point.get("label") or number), tuple(position)))
    if not named and any(markup.get("type") in _NO_POINTS for markup in found):
        raise UserError(f"The file {path} contains a box (ROI) but no points: place points in a separate list.")
    return named


def _from_fcsv(path: Path) -> list[tuple[str, tuple[float, ...]]]:
    try:
        lines = list(enumerate(decoded(path.read_bytes()).splitlines(), start=1))
    except OSError as error:
        raise UserError(f"The points in {path} cannot be read: {error.strerror}.") from None
    said = [line.split("=")[1].strip() for _, line in lines if line.startswith("# CoordinateSystem") and "=" in line]
    system = said[0] if said else "LPS"
    if system not in _LPS + _RAS:
        raise UserError(f"The points in {path} are in the coordinate system '{system}': save them in LPS or RAS.")
    sign = -1 if system in _LPS else 1
    named = []
    for number, line in lines:
        if not line.strip() or line.startswith("#"):
            continue
        row = next(csv.reader([line]))
        try:
            r, a, s = map(float, row[1:4])
        except ValueError:
            raise _no_place(path, number) from None
        name = row[11] if len(row) > 11 and row[11] else str(len(named) + 1)
        named.append((name, (sign * r, sign * a, s)))
    return named


def _from_csv(path: Path) -> list[tuple[str, tuple[float, ...]]]:
    lines = read_lines(path, f"The file {path}")
    header = [cell.lower() for cell in lines[0].cells] if lines else []
    missing = [name for name in ("r", "a", "s") if name not in header]
    if missing:
        raise UserError(f"The points in {path} lack the column '{missing[0]}': the columns are name, r, a, s in mm.")
    named = []
    for number, line in enumerate(lines[1:], start=1):
        row = dict(zip(header, line.cells, strict=False))
        try:
            position = tuple(float(row.get(name, "")) for name in ("r", "a", "s"))
        except ValueError:
            raise _no_place(path, line.number) from None
        named.append((row.get("name") or str(number), position))
    return named


def _no_place(path: Path, line: int) -> UserError:
    return UserError(f"{path}, line {line}: a point needs three coordinates in mm.")
