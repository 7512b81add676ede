"""The grid of a network that sees whole images: its dimensions, size and voxel size, from the training images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from MedDeepLib.data import geometry
from MedDeepLib.data.files import PICTURE_ENDINGS
from MedDeepLib.data.slots import Case
from MedDeepLib.data.sources.image import read_image_info
from MedDeepLib.data.sources.labels import read_segmentation
from MedDeepLib.errors import UserError

_VOXELS = {"cpu": {2: 96**2, 3: 48**3}, "gpu": {2: 224**2, 3: 96**3}}
_STEP = 8  # sizes are multiples of it
_SLICES = 16  # of a 2.5-dimensional input
_FEWEST_FOR_VOLUMES = 16  # slices
_LARGEST = 1.5  # times the median extent: what is larger is cut


@dataclass(frozen=True)
class Extent:
    """The field of view of a case along right, anterior, superior, in mm, and its voxels.

    Attributes:
        center: of the region in RAS mm, None where the whole image is meant.
        is_picture: whether it has no voxel size, like a PNG file.
    """

    millimetres: np.ndarray
    spacing: np.ndarray
    shape: np.ndarray
    is_picture: bool
    center: np.ndarray | None = None


def extent_of(case: Case, margin: float) -> Extent:
    """Of the case's first image, or of its region with a margin in mm on each side. Reads header and region."""
    file = case.files("image")[0]
    info = read_image_info(file)
    order, _ = geometry.canonical_axes(info.affine)
    shape, spacing = (np.array(values)[list(order)] for values in (info.shape, info.spacing))
    is_picture = str(file).lower().endswith(PICTURE_ENDINGS)
    if not case.files("region"):
        return Extent(shape * spacing, spacing, shape, is_picture)
    center, size = region_box(case.files("region")[0], info.affine)
    return Extent(np.minimum(size + 2 * margin, shape * spacing), spacing, shape, is_picture, center)


def region_box(file: Any, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centre (3,) in RAS mm and size (3,) in mm of what a segmentation or label map holds.

    The size is along the axes of the image with this ``affine`` that are nearest to right, anterior, superior. Raises
    UserError when it is empty.
    """
    labels, own_affine, _ = read_segmentation(file)
    found = np.argwhere(labels > 0)
    if not len(found):
        raise UserError(f"The region {file.name} is empty: draw it, or leave it out.")
    order, _ = geometry.canonical_axes(affine)
    axes = np.asarray(affine, float)[:3, :3] / geometry.spacing_of(affine)
    lowest, highest = found.min(0) - 0.5, found.max(0) + 0.5
    ends = np.stack([lowest, highest])
    corners = np.array([[ends[i, 0], ends[j, 1], ends[k, 2], 1.0] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    places = (corners @ np.asarray(own_affine, float).T)[:, :3]
    along = places @ axes
    middle = axes @ ((along.min(0) + along.max(0)) / 2)
    return middle, np.ptp(along, axis=0)[list(order)]


def dimensions_of(extents: Sequence[Extent], wanted: str) -> str:
    """2, 2.5 or 3 as text. Raises UserError when the images are not of the dimensions that the user wants."""
    slices = [int(extent.shape.min()) for extent in extents]
    flat = [count == 1 for count in slices]
    if any(flat) and not all(flat):
        raise UserError("Some training images are single slices and others are volumes: use images of one kind.")
    if wanted == "slices":
        return "2" if all(flat) else "2.5"
    if wanted == "automatic":
        few = float(np.median(slices)) < _FEWEST_FOR_VOLUMES
        return "2" if all(flat) else "2.5" if few else "3"
    if (wanted == "2") != all(flat):
        raise UserError(
            "The training images are single slices: set dimensions to 2."
            if all(flat)
            else "The training images have several slices: set dimensions to 2.5 or 3."
        )
    return wanted


def grid_of(
    extents: Sequence[Extent],
    dimensions: str,
    size: Sequence[int],
    spacing: Sequence[float],
    device_type: str,
    least: int,
) -> dict[str, Any]:
    """Size (3,) in voxels and spacing (3,) in mm of the network's input, and whether each image is fitted into it.

    Pictures without a voxel size are fitted, each by its own factor; other images keep their millimetres.

    Args:
        size, spacing: as the user wants them; 0: to be chosen.
        least: voxels along each axis that the network needs.
    """
    flat = dimensions == "2"
    found = np.array([extent.millimetres for extent in extents])
    if flat:  # the axis of the single slice comes last
        found = np.array([np.delete(extent.millimetres, int(extent.shape.argmin())) for extent in extents])
    largest = np.minimum(found.max(0), _LARGEST * np.median(found, axis=0))
    fit = all(extent.is_picture for extent in extents)
    finest = np.median([np.sort(extent.spacing)[0] for extent in extents])
    kind = "cpu" if device_type == "cpu" else "gpu"
    in_plane = flat or dimensions == "2.5"
    planes = largest[:2] if in_plane else largest
    budget = _VOXELS[kind][2 if in_plane else 3]
    common = max(float(finest), float((np.prod(planes) / budget) ** (1 / len(planes))))
    chosen_spacing = np.minimum(common, planes / least)
    voxels = np.maximum(least, np.ceil(np.ceil(planes / chosen_spacing - 1e-6) / _STEP) * _STEP).astype(int).tolist()
    steps = chosen_spacing.tolist()
    if flat:
        voxels, steps = [*voxels, 1], [*steps, 0.0]
    elif in_plane:
        count = min(_SLICES, max(3, round(float(np.median([extent.shape.min() for extent in extents])))))
        voxels, steps = [*voxels, count], [*steps, float(largest[2] / count)]
    for axis in range(2 if flat else 3):
        if axis < len(size) and size[axis]:
            steps[axis], voxels[axis] = steps[axis] * voxels[axis] / size[axis], int(size[axis])
        if axis < len(spacing) and spacing[axis]:
            steps[axis] = float(spacing[axis])
    return {"size": voxels, "spacing": [round(step, 5) for step in steps], "fit": fit}
