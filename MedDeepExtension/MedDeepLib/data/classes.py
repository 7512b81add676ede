"""The classes of a dataset: the structure that each label value stands for."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from MedDeepLib.data.slots import Source
from MedDeepLib.data.sources.boxes import read_boxes
from MedDeepLib.data.sources.labels import LARGEST_LABEL, Segment, read_segmentation
from MedDeepLib.data.sources.points import Points, read_points
from MedDeepLib.errors import UserError

MOST_CLASSES = 255
"""Predicted labels are stored as one byte per voxel, 0 being background."""

UNNAMED = "finding"
"""The class of boxes and points that name none."""

_SLICERS_OWN = ("", "F", "P", "R", "ROI")  # how it names points and ROIs whose name nobody has changed
_NUMBER = re.compile(r"(?:^|[-_ ])\d+$")
_PALETTE = (
    (0.90, 0.33, 0.25), (0.30, 0.60, 0.90), (0.35, 0.75, 0.40), (0.95, 0.75, 0.25), (0.60, 0.40, 0.80),
    (0.20, 0.75, 0.75), (0.95, 0.50, 0.70), (0.60, 0.45, 0.30), (0.70, 0.80, 0.30), (0.45, 0.50, 0.65),
)  # fmt: skip


def parse_classes(labels: Any, where: str) -> tuple[Segment, ...]:
    """Classes from the ``labels`` entry of a JSON file: {value: name or {"name", "color", "terminology"}}.

    Raises UserError, beginning with ``where``, for anything else.
    """
    if not isinstance(labels, dict) or not labels:
        raise UserError(f'{where} has no classes: add "labels": {{"1": "name of the structure", ...}}.')
    classes: dict[int, Segment] = {}
    for key, entry in labels.items():
        # nnU-Net's newer lists map names to values: {"liver": 1}.
        text, entry = (str(entry), str(key)) if isinstance(entry, int) else (str(key), entry)
        if not text.isdecimal() or int(text) > LARGEST_LABEL:
            raise UserError(f"{where}: the label value '{text}' must be a whole number from 0 to {LARGEST_LABEL}.")
        value = int(text)
        if value == 0:
            continue  # the remaining voxels are background
        if value in classes:
            raise UserError(f"{where}: the label value {value} is declared twice.")
        classes[value] = _class(value, entry, where)
    if not classes:
        raise UserError(f'{where} names only the background: add "labels": {{"1": "name of the structure", ...}}.')
    return checked_classes(classes.values(), where)


def classes_in_files(labels: Iterable[Path], where: str) -> tuple[Segment, ...]:
    """Classes named in the label files themselves, for lists that cannot name them; reads all files."""
    found: dict[int, Segment] = {}
    for file in labels:
        array, _, segments = read_segmentation(file)
        named = {segment.value: segment for segment in segments}
        for value in (int(v) for v in np.unique(array) if v):
            found.setdefault(value, named.get(value) or Segment(value, f"label {value}", _palette_color(value)))
    return checked_classes(found.values(), where)


def checked_classes(classes: Iterable[Segment], where: str) -> tuple[Segment, ...]:
    """The classes by ascending value; raises UserError when there are too many, or two share a name."""
    ordered = tuple(sorted(classes, key=lambda segment: segment.value))
    if len(ordered) > MOST_CLASSES:
        raise UserError(f"{where} has {len(ordered)} structures: a model can have at most {MOST_CLASSES}.")
    names = [segment.name for segment in ordered]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{where}: two labels are called '{name}': give each structure its own name.")
    return ordered


def numbered_classes(names: Iterable[str]) -> tuple[Segment, ...]:
    """Classes as the values 1, 2, ... of a label map, each with a colour of its own."""
    return tuple(Segment(value, name, _palette_color(value)) for value, name in enumerate(names, start=1))


def classes_of_places(sources: Iterable[Source]) -> tuple[str, ...]:
    """The classes that boxes and points name, in alphabetical order; reads their files.

    What has no class counts as a :data:`UNNAMED`.
    """
    names: set[str] = set()
    for source in sources:
        if source.kind == "boxes":
            boxes = source.value or [box for file in source.files for box in read_boxes(file)]
            names |= {given_class(box.class_name) or UNNAMED for box in boxes}
        elif source.kind == "points":
            for points in (read_points(file, may_be_empty=True) for file in source.files):
                names |= {class_of_point(points, number) or UNNAMED for number in range(len(points))}
    return tuple(sorted(names))


def given_class(name: str) -> str:
    """The class that a markup's name stands for; empty for the names that Slicer gives by itself."""
    return "" if name.strip() in _SLICERS_OWN else name.strip()


def class_of_point(points: Points, number: int) -> str:
    """The description of a point, or its name without Slicer's number; empty where neither is a class."""
    return given_class(points.descriptions[number] or _NUMBER.sub("", points.names[number]))


def _class(value: int, entry: Any, where: str) -> Segment:
    entry = {"name": entry} if isinstance(entry, str) else entry
    if not isinstance(entry, dict):
        raise UserError(f'{where}: label {value} needs a name, or {{"name": ..., "color": [red, green, blue]}}.')
    color = entry.get("color", _palette_color(value))
    try:
        color = tuple(float(part) for part in color)
    except (TypeError, ValueError):
        color = ()
    if len(color) != 3 or not all(0 <= part <= 1 for part in color):
        raise UserError(f"{where}: the colour of label {value} must be three numbers from 0 to 1.")
    return Segment(value, str(entry.get("name", f"label {value}")), color, str(entry.get("terminology", "")))


def _palette_color(value: int) -> tuple[float, float, float]:
    return _PALETTE[(value - 1) % len(_PALETTE)]
