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
_AXES = tuple(f"axis{number}_{letter}" for number in (1, 2, 3) for letter in "ras")
_DIAMETERS = ("diameter", "diameter_mm")
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


@dataclass(frozen=True, eq=False)
class IndexBox:
    """A box in voxels of its case's image, as lists of 2D boxes give them; the image says where it lies in space.

    Attributes:
        low, high: (3,) its faces in voxel indices along i, j, k; a voxel's centre is a whole number, so the box of the
            single voxel 0 goes from -0.5 to 0.5.
        class_name: class of its content; may be empty.
    """

    low: np.ndarray
    high: np.ndarray
    class_name: str = ""

    def placed(self, affine: np.ndarray) -> Box:
        """The same box in space; ``affine`` is 4x4, IJK to RAS mm, of the image."""
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        center = affine[:3, :3] @ ((self.low + self.high) / 2) + affine[:3, 3]
        axes = right_handed(affine[:3, :3] / spacing)
        return Box(center, (self.high - self.low) * spacing, axes, class_name=self.class_name)


def right_handed(axes: np.ndarray) -> np.ndarray:
    """The axes (3, 3) of a box with the third one reversed where they are left-handed: the same box, as a rotation."""
    return axes if np.linalg.det(axes) > 0 else axes * np.array([1.0, 1.0, -1.0])


def read_boxes(path: str | Path) -> list[Box]:
    """The ROIs of a ``.mrk.json``, or the lines of a ``.csv``; there may be none.

    In a ``.mrk.json`` the class is the description of the ROI's first control point, or else its label without the
    number that Slicer adds, and the score is a measurement called "score". A CSV has the columns r, a, s (the centre)
    and size_r, size_a, size_s in RAS mm, or one diameter, and may have class, name and score. The sizes are along the
    axes of the patient, unless the columns axis1_r, axis1_a, axis1_s, axis2_r ... axis3_s turn the box.

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
    diameter = next((name for name in _DIAMETERS if name in header), None)
    missing = [name for name in _SIZE if name not in header]
    if missing and diameter is None:
        raise UserError(f"The boxes in {path} lack the column '{missing[0]}', an edge's length in mm.")
    size = _SIZE if diameter is None or not missing else (diameter,) * 3
    turned = [name for name in _AXES if name in header]
    if turned and len(turned) < len(_AXES):
        raise UserError(f"The boxes in {path} lack a column of their axes: {', '.join(_AXES)}.")
    return [_of_line(path, header, (place, size, tuple(turned)), line) for line in lines[1:]]


def _of_line(path: Path, header: list[str], columns: tuple[tuple[str, ...], ...], line: Line) -> Box:
    row = dict(zip(header, line.cells, strict=False))
    where = f"{path}, line {line.number}"

    def number(name: str) -> float:
        try:
            return float(row.get(name, ""))
        except ValueError:
            raise UserError(f"{where}: '{row.get(name, '')}' in the column '{name}' is not a number.") from None

    center, size, turned = (np.array([number(name) for name in names]) for names in columns)
    axes = turned.reshape(3, 3).T if len(turned) else np.eye(3)
    if np.abs(axes.T @ axes - np.eye(3)).max() > _SQUARENESS:
        raise UserError(f"{where}: the axes of a box must be of length 1 and at right angles.")
    score = number("score") if row.get("score") else None
    return _checked(Box(center, size, axes, row.get("name", ""), row.get("class", ""), score), where)


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
