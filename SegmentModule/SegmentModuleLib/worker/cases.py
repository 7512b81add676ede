"""Reads training cases: image and label on one grid, classes as indices, on the network's grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from MedDeepLib.data.padding import find_padding
from MedDeepLib.data.preparation import Plan, prepare, prepare_labels, resample_array, stack_channels
from MedDeepLib.data.slots import Case
from MedDeepLib.data.sources.image import Image, read_image
from MedDeepLib.data.sources.labels import OtherGridError, Segment, place_on_grid, read_segmentation
from MedDeepLib.errors import UserError
from MedDeepLib.inference.tiles import foreground_hull, hull_blocks
from MedDeepLib.training.dense.patches import CachedCase, Volume, class_voxels
from MedDeepLib.training.randomness import random_state

from SegmentModuleLib.worker.postprocessing import count_pieces


def read_reference(case: Case, image: Image, classes: Sequence[Segment], resample: bool = False) -> np.ndarray:
    """The reference labels (I, J, K) of a case on the image's grid, as class indices: 0 background, 1 the first class.

    Segments of a .seg.nrrd are matched by name if one of the names is known, otherwise by value. Labels may cover only
    a part of the image, or have flipped axes, as Slicer saves them.

    Raises UserError when there is no label, it is on another grid, or it has values that no class declares.
    """
    if not case.files("label"):
        raise UserError(f"The case {case.name} has no label: add it, or remove the case from the dataset.")
    (file,) = case.files("label")
    labels, affine, segments = read_segmentation(file)
    labels = _as_indices(file, labels, segments, classes)
    try:
        return place_on_grid(labels, affine, image.affine, image.shape, file.name)
    except OtherGridError as error:
        if resample:
            return resample_array(labels, affine, image.shape, image.affine, 0)
        raise UserError(f"{error} The parameter resample_labels does so while reading.") from None


def load_case(
    case: Case,
    plan: Plan,
    classes: Sequence[Segment],
    seed: int,
    resample: bool,
    weights: Callable[[np.ndarray, Plan], np.ndarray | None],
) -> CachedCase:
    """Read a training case once and keep the data for patches, on the network's grid.

    Args:
        weights: loss weights (I, J, K) of a label map of class indices, or None where all voxels count the same.

    A label may be empty: a healthy case. Raises UserError when its structures are lost between the network's voxels.
    """
    image = stack_channels([read_image(path) for path in case.files("image")], resample)
    labels = read_reference(case, image, classes, resample)
    pieces = torch.from_numpy(count_pieces(labels, len(classes)))
    padding = [torch.nan if value is None else value for value in map(find_padding, image.array)]
    prepared = prepare(image, plan)
    label = prepare_labels(labels, prepared)
    hull = foreground_hull(prepared.image)
    for axis, block in enumerate(hull_blocks(tuple(prepared.image.shape[1:]))):
        hull = hull.repeat_interleave(block, axis).narrow(axis, 0, prepared.image.shape[axis + 1])
    random = random_state(seed, 1)
    voxels = class_voxels(label, hull[None], random)
    if pieces.any() and not any(voxels):
        raise UserError(
            f"The structures of the label {case.files('label')[0].name} are smaller than the network's voxels: choose "
            "a smaller spacing, or remove the case."
        )
    weight = weights(label[0].numpy(), plan)
    volumes = {
        "image": Volume(prepared.image, linear=True, intensity=True),
        "label": Volume(label, dtype=torch.long),
    }
    if weight is not None:
        volumes["weight"] = Volume(torch.from_numpy(weight)[None])
    return CachedCase(volumes, voxels, {"pieces": pieces, "padding": torch.tensor(padding)})


def _as_indices(file: Path, labels: np.ndarray, segments, classes: Sequence[Segment]) -> np.ndarray:
    index_of_value = {segment.value: index for index, segment in enumerate(classes, start=1)}
    index_of_name = {segment.name: index for index, segment in enumerate(classes, start=1)}
    known = [segment for segment in segments if segment.name in index_of_name]
    if known:  # the value may mean something else here than in the dataset
        index_of_value = {segment.value: index_of_name[segment.name] for segment in known}
    present = [int(value) for value in np.unique(labels)]
    unknown = [value for value in present if value and value not in index_of_value]
    if unknown:
        names = {segment.value: f" ({segment.name})" for segment in segments}
        values = ", ".join(f"{value}{names.get(value, '')}" for value in unknown[:5])
        raise UserError(
            f"{file.name} has the label value{'s' if len(unknown) > 1 else ''} {values}, which the dataset does "
            'not declare: add them to "labels", or correct the file.'
        )
    table = np.zeros(max([*present, 0]) + 1, np.uint8)
    for value in present:
        table[value] = index_of_value.get(value, 0)
    return table[labels]
