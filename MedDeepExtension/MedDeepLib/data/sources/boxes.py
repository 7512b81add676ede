"""Boxes in RAS millimetres, oriented or not, from Slicer's ROI markups or from a table."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from MedDeepLib.data.delimited import Line, read_lines
from MedDeepLib.data.sources import markups
from MedDeepLib.errors import UserError

_PLACE = (("r", "a", "s"), ("center_r", "center_a", "center_s"))
_SIZE = ("size_r", "size_a", "size_s")
_NUMBERED = re.compile(r"(.+?)-\d+")  # Slicer calls the points of a markup "nodule-1", "nodule-2"
_SQUARENESS = 1e-3


@dataclass(frozen=True, eq=False)
class Box:
    """A box, e.g. around a lesion.

    Attributes:
        center: (3,) RAS mm.
        size: (3,) edge lengths in mm along its own axes.
        axes: (3, 3), orthonormal; the columns are its own axes in RAS.
        name: of the box; may be empty.
        class_name: class of its content; may be empty.
        score: from 0 to 1 if a model found it, None if it was drawn by hand.
    """

    center: np.ndarray
    size: np.ndarray
    axes: np.ndarray
    name: str = ""
    class_name: str = ""
    score: float | None = None

    def corners(self) -> np.ndarray:
        """The eight corners (8, 3) in RAS mm."""
        signs = np.stack(np.meshgrid(*[(-0.5, 0.5)] * 3, indexing="ij"), -1).reshape(-1, 3)
        return self.center + (signs * self.size) @ self.axes.T


def read_boxes(path: str | Path) -> list[Box]:
    """The ROIs of a ``.mrk.json``, or the lines of a ``.csv``; there may be none.

    In a ``.mrk.json`` the class is the description of the ROI's first control point, or else its label without the
    number that Slicer adds, and the score is a measurement called "score". A CSV has the columns r, a, s (the centre)
    and size_r, size_a, size_s in RAS mm, along the axes of the patient, and may have class, name and score.

    Raises UserError that names the file, and the line of a table, when it cannot be read.
    """
    path = Path(path)
    if path.suffix.lower() == ".json":
        return [_of_markup(one, path) for one in markups.read_markups(path) if one.get("type") == "ROI"]
    if path.suffix.lower() in (".csv", ".tsv"):
        return _of_table(path)
    raise UserError(f"{path.name} cannot be read as boxes: use .mrk.json or .csv.")


def _of_markup(markup: dict, path: Path) -> Box:
    with markups.readable(path):
        to_ras = markups.to_ras(markup, path)
        center = to_ras @ _numbers(markup["center"], 3)
        size = _numbers(markup["size"], 3)
        axes = to_ras @ _numbers(markup.get("orientation", to_ras.ravel()), 9).reshape(3, 3)
        point = next(iter(markup.get("controlPoints", [])), {})
        label = str(point.get("label", ""))
        numbered = _NUMBERED.fullmatch(label)
        scores = [one.get("value") for one in markup.get("measurements", []) if one.get("name") == "score"]
        score = None if not scores or scores[0] is None else float(scores[0])
        name = str(markup.get("name") or label)
        class_name = str(point.get("description") or (numbered.group(1) if numbered else label))
    if np.abs(axes.T @ axes - np.eye(3)).max() > _SQUARENESS:
        raise UserError(f"A box in {path} has edges that are not at right angles: draw it again in Slicer.")
    return _checked(Box(center, size, axes, name, class_name, score), str(path))


def _of_table(path: Path) -> list[Box]:
    lines = read_lines(path, f"The file {path}")
    if not lines:
        raise UserError(f"The file {path} is empty: its first line must name the columns r, a, s, size_r, ...")
    header = [cell.lower() for cell in lines[0].cells]
    place = next((names for names in _PLACE if all(name in header for name in names)), None)
    if place is None:
        raise UserError(f"The boxes in {path} lack the columns of the centre: {', '.join(_PLACE[0])} in RAS mm.")
    missing = [name for name in _SIZE if name not in header]
    if missing:
        raise UserError(f"The boxes in {path} lack the column '{missing[0]}', an edge's length in mm.")
    return [_of_line(path, header, place, line) for line in lines[1:]]


def _of_line(path: Path, header: list[str], place: tuple[str, ...], line: Line) -> Box:
    row = dict(zip(header, line.cells, strict=False))
    where = f"{path}, line {line.number}"

    def number(name: str) -> float:
        try:
            return float(row.get(name, ""))
        except ValueError:
            raise UserError(f"{where}: '{row.get(name, '')}' in the column '{name}' is not a number.") from None

    center, size = ([number(name) for name in names] for names in (place, _SIZE))
    score = number("score") if row.get("score") else None
    box = Box(np.array(center), np.array(size), np.eye(3), row.get("name", ""), row.get("class", ""), score)
    return _checked(box, where)


def _checked(box: Box, where: str) -> Box:
    if not (np.isfinite(box.center).all() and np.isfinite(box.size).all() and (box.size > 0).all()):
        raise UserError(f"{where}: a box needs a position and three edges longer than 0 mm.")
    if box.score is not None and not (math.isfinite(box.score) and 0 <= box.score <= 1):
        raise UserError(f"{where}: the score {box.score} of a box must be from 0 to 1.")
    return box


def _numbers(listed, count: int) -> np.ndarray:
    numbers = np.array([float(value) for value in listed])
    if len(numbers) != count:
        raise ValueError
    return numbers
