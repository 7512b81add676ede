"""The findings that a case is known to have: from boxes, points or label maps, checked against its image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from MedDeepLib.data.classes import UNNAMED, class_of_point, classes_in_files, given_class
from MedDeepLib.data.files import IMAGE_ENDINGS
from MedDeepLib.data.geometry import voxel_volume
from MedDeepLib.data.slots import Case, Source
from MedDeepLib.data.sources.boxes import Box, IndexBox, read_boxes
from MedDeepLib.data.sources.labels import Segment, read_segmentation
from MedDeepLib.data.sources.markups import read_markups
from MedDeepLib.data.sources.points import read_points
from MedDeepLib.errors import UserError

from DetectModuleLib.targets import EXCLUDED
from DetectModuleLib.worker.boxes import faces, to_voxels

_TOLERANCE = 0.5  # voxels by which a box may lie beside the image
_MIRROR = np.array([-1.0, -1.0, 1.0])  # from RAS to LPS and back


@dataclass(frozen=True)
class Reading:
    """How targets are read; see the parameters of the same names.

    Attributes:
        classes: names of the classes that a finding may have.
        segments: meaning of the values of label maps that do not say it themselves.
    """

    classes: tuple[str, ...]
    segments: tuple[Segment, ...] = ()
    point_diameter: float = 0.0
    smallest_piece: float = 0.0


def reference_boxes(case: Case, shape: Sequence[int], affine: np.ndarray, reading: Reading) -> list[Box]:
    """The known findings of a case; none for a negative one.

    Args:
        shape, affine: of the case's image, (I, J, K) and IJK to RAS mm.

    Raises UserError when a target cannot be read, has a class that ``reading`` does not have, or lies outside the
    image.
    """
    boxes: list[Box] = []
    for name, source in case.targets.items():
        if name == EXCLUDED:
            continue
        if source.kind == "boxes":
            boxes += _boxes(source, case, name, affine)
        elif source.kind == "points":
            boxes += _around_points(source, case, reading)
        elif source.kind == "labels":
            boxes += _pieces(source, reading)
    boxes = [_classified(box, case, reading) for box in boxes]
    _check_places(boxes, case, shape, affine)
    return boxes


def excluded_boxes(case: Case, affine: np.ndarray) -> list[Box]:
    """Regions of a case whose findings are neither right nor wrong. Raises UserError when they cannot be read."""
    source = case.targets.get(EXCLUDED)
    return _boxes(source, case, EXCLUDED, affine) if source else []


def mirrored(boxes: Sequence[Box]) -> list[Box]:
    """The boxes as they would be if their coordinates were LPS instead of RAS, or the other way round."""
    return [replace(box, center=box.center * _MIRROR, axes=_MIRROR[:, None] * box.axes) for box in boxes]


def _boxes(source: Source, case: Case, slot: str, affine: np.ndarray) -> list[Box]:
    if not source.files:
        return [box.placed(affine) if isinstance(box, IndexBox) else box for box in source.value or ()]
    found = []
    for file in source.files:
        if file.name.lower().endswith(IMAGE_ENDINGS):
            raise UserError(
                f'The case {case.name} has the image {file.name} as "{slot}", which takes boxes: name a label map as '
                '"label".'
            )
        boxes = read_boxes(file)
        if not boxes and file.suffix.lower() == ".json" and any(one.get("controlPoints") for one in read_markups(file)):
            raise UserError(f'{file} has points but no boxes (ROIs): name it as "points", with a diameter for each.')
        found += boxes
    return found


def _around_points(source: Source, case: Case, reading: Reading) -> list[Box]:
    found = []
    for file in source.files:
        points = read_points(file, may_be_empty=True)
        diameters = np.where(np.isnan(points.diameters), reading.point_diameter, points.diameters)
        for number, (center, diameter) in enumerate(zip(points.positions, diameters, strict=True)):
            if diameter <= 0:
                raise UserError(
                    f"The point '{points.names[number]}' in {file} has no diameter: add it to the file (a column "
                    'diameter, or "6 mm" as description), or set the parameter point_diameter.'
                )
            class_name = class_of_point(points, number)
            found.append(Box(center, np.full(3, diameter), np.eye(3), points.names[number], class_name))
    return found


def _pieces(source: Source, reading: Reading) -> list[Box]:
    """A box around each 26-connected piece of a structure, along the axes of the label map."""
    from scipy import ndimage

    (file,) = source.files
    labels, affine, segments = read_segmentation(file)
    named = {segment.value: segment.name for segment in (*reading.segments, *segments)}
    if any(int(value) not in named for value in np.unique(labels) if value):
        named = {segment.value: segment.name for segment in classes_in_files([file], str(file))} | named
    fewest = reading.smallest_piece / voxel_volume(affine)
    found = []
    for value, region in enumerate(ndimage.find_objects(labels), start=1):
        if region is None:
            continue
        pieces: Any = ndimage.label(labels[region] == value, structure=np.ones((3, 3, 3)))
        sizes = np.bincount(pieces[0].ravel())[1:]
        first = np.array([part.start for part in region])
        for size, box in zip(sizes, ndimage.find_objects(pieces[0]), strict=True):
            if size >= fewest:
                low = first + [part.start - 0.5 for part in box]
                high = first + [part.stop - 0.5 for part in box]
                found.append(IndexBox(low, high, named[value]).placed(affine))
    return found


def _classified(box: Box, case: Case, reading: Reading) -> Box:
    """The box with one of the known classes; the only one if it names none."""
    name = given_class(box.class_name)
    if not name:
        name = UNNAMED if UNNAMED in reading.classes or len(reading.classes) != 1 else reading.classes[0]
    if name not in reading.classes:
        what = f"the class '{name}'" if given_class(box.class_name) else "no class"
        raise UserError(
            f"A finding of the case {case.name} has {what}, but the classes are {', '.join(reading.classes)}: correct "
            'it, or add it to "classes" and train again.'
        )
    return replace(box, class_name=name)


def _check_places(boxes: Sequence[Box], case: Case, shape: Sequence[int], affine: np.ndarray) -> None:
    """Raise UserError for boxes beside the image."""
    outside = ~_inside(boxes, shape, affine)
    if not outside.any():
        return
    count = f"{int(outside.sum())} of {len(boxes)} findings"
    if outside.sum() > len(boxes) / 2 and _inside(mirrored(boxes), shape, affine).all():
        raise UserError(
            f"{count} of the case {case.name} lie outside its image, but inside if their coordinates are taken as "
            "LPS: convert them to RAS (the signs of the first two), or say LPS in the file."
        )
    first = np.round(boxes[int(np.flatnonzero(outside)[0])].center, 1)
    raise UserError(
        f"{count} of the case {case.name} lie outside its image, the first one at {', '.join(f'{v:g}' for v in first)} "
        "mm (RAS): correct the coordinates, or check that they belong to this image."
    )


def _inside(boxes: Sequence[Box], shape: Sequence[int], affine: np.ndarray) -> np.ndarray:
    """Whether each box (N,) shares a part with the image."""
    low, high = faces(to_voxels(boxes, affine))
    within = (high > -0.5 - _TOLERANCE) & (low < np.array(shape) - 0.5 + _TOLERANCE)
    return within[:, 0] & within[:, 1] & within[:, 2]
