"""Points in RAS millimetres with their names, from the files in which 3D Slicer keeps them."""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from MedDeepLib.data.delimited import decoded, read_lines
from MedDeepLib.data.sources import markups
from MedDeepLib.errors import UserError

_LPS, _RAS = ("LPS", "1"), ("RAS", "0")
_DIAMETERS = ("diameter", "diameter_mm")
_MILLIMETRES = re.compile(r"(\d+(?:[.,]\d+)?)\s*mm\b")
_NO_POINTS = ("ROI",)  # its control points are those of a box


@dataclass(frozen=True, eq=False)
class Points:
    """Named points.

    Attributes:
        names: of the points in the order of the file; two points may have one name.
        positions: (N, 3) float64, RAS mm.
        descriptions: what the file says of each point beside its name; empty where it says nothing.
        diameters: (N,) mm, of what a point marks the centre of; NaN where the file does not say.
    """

    names: tuple[str, ...]
    positions: np.ndarray
    descriptions: tuple[str, ...] = ()
    diameters: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self):
        if not self.descriptions:
            object.__setattr__(self, "descriptions", ("",) * len(self.names))
        if not len(self.diameters):
            object.__setattr__(self, "diameters", np.full(len(self.names), np.nan))

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


def read_points(path: str | Path, may_be_empty: bool = False) -> Points:
    """The points of a ``.mrk.json`` (of all its markups but ROIs), a ``.fcsv`` or a ``.csv`` with columns r, a, s.

    A CSV may also have the columns name, class (the description) and diameter, and is in mm, RAS. Other files tell a
    diameter in the description of a point: "6.5 mm". Points without a name are numbered from 1; points of a
    ``.mrk.json`` that were never placed are skipped.

    Raises a UserError that names the file, and the line of a table, when it cannot be read or has no points (unless it
    ``may_be_empty``).
    """
    path = Path(path)
    readers = {".json": _from_markups, ".fcsv": _from_fcsv, ".csv": _from_csv, ".tsv": _from_csv}
    if path.suffix.lower() not in readers:
        raise UserError(f"{path.name} cannot be read as points: use .mrk.json, .fcsv or .csv.")
    found = readers[path.suffix.lower()](path)
    if not found and not may_be_empty:
        raise UserError(f"The file {path} contains no points: place some, or do not use it.")
    positions = np.array([one.position for one in found], np.float64).reshape(-1, 3)
    if not np.isfinite(positions).all():
        raise UserError(f"The points in {path} have invalid positions: save them again from Slicer's Markups.")
    diameters = np.array([one.diameter for one in found])
    if (diameters <= 0).any():
        raise UserError(f"A point in {path} has a diameter of {diameters[diameters <= 0][0]:g} mm: it must be above 0.")
    return Points(tuple(one.name for one in found), positions, tuple(one.description for one in found), diameters)


@dataclass(frozen=True)
class _Point:
    name: str
    position: tuple[float, ...]
    description: str = ""
    diameter: float = math.nan


def _described(name: str, position: tuple[float, ...], description: str) -> _Point:
    """A point whose description may tell its diameter, which is taken out of it."""
    said = _MILLIMETRES.search(description)
    if said is None:
        return _Point(name, position, description.strip())
    rest = (description[: said.start()] + description[said.end() :]).strip(" ,;:")
    return _Point(name, position, rest, float(said.group(1).replace(",", ".")))


def _from_markups(path: Path) -> list[_Point]:
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
                    name, description = str(point.get("label") or number), str(point.get("description") or "")
                    named.append(_described(name, tuple(position), description))
    if not named and any(markup.get("type") in _NO_POINTS for markup in found):
        raise UserError(f"The file {path} contains a box (ROI) but no points: place points in a separate list.")
    return named


def _from_fcsv(path: Path) -> list[_Point]:
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
        named.append(_described(name, (sign * r, sign * a, s), row[12] if len(row) > 12 else ""))
    return named


def _from_csv(path: Path) -> list[_Point]:
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
        diameter = next((row[name] for name in _DIAMETERS if row.get(name)), "nan")
        try:
            in_mm = float(diameter)
        except ValueError:
            raise UserError(f"{path}, line {line.number}: the diameter '{diameter}' is not a number.") from None
        named.append(_Point(row.get("name") or str(number), position, row.get("class", ""), in_mm))
    return named


def _no_place(path: Path, line: int) -> UserError:
    return UserError(f"{path}, line {line}: a point needs three coordinates in mm.")
