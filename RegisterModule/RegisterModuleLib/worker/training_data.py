"""From a dataset to training pairs: which images belong together, the common grid, and resampling them onto it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from MedDeepLib.core import Context
from MedDeepLib.data.dataset import Dataset
from MedDeepLib.data.slots import Case
from MedDeepLib.errors import Stopped, UserError

from RegisterModuleLib.parameters import TrainingParameters
from RegisterModuleLib.worker.cases import Raw, alignment, foreground_box, placed, read_raw, structures_box
from RegisterModuleLib.worker.grids import Box, is_flat
from RegisterModuleLib.worker.painting import twin_values
from RegisterModuleLib.worker.sides import Side, fixed_side, is_pair, paired, sides
from RegisterModuleLib.worker.training import TrainingSet

if TYPE_CHECKING:
    from RegisterModuleLib.worker.cases import TrainingImage

GRID_STEPS = 8  # all resolutions of the networks have the same corners on a multiple of this many steps
_MOST_VALUES = 255


def reference_side(dataset: Dataset) -> Side:
    """The image whose space is that of all training pairs: the atlas, or the first training case."""
    return fixed_side(dataset.shared.get("atlas") or dataset.training[0])


def common_box(reference: Raw, dataset: Dataset) -> Box:
    """The box that training pairs show."""
    values = [segment.value for segment in dataset.segments]
    if reference.labels is not None:
        return structures_box(reference, values)
    assert reference.scan is not None  # without labels there is an image
    return foreground_box(reference.scan)


def load_training(
    settings: TrainingParameters, dataset: Dataset, context: Context
) -> tuple[TrainingSet, TrainingSet | None, dict[str, Any]]:
    """Read all cases onto one grid: training pairs, validation pairs, and the plan to keep with the model.

    Raises UserError when images have to be painted and there are no labels, or 2D is mixed with 3D.
    """
    context.report("phase", phase="Reading the training images")
    reference = read_raw(reference_side(dataset))
    box = common_box(reference, dataset).grown(GRID_STEPS * settings.spacing)
    grid = box.grid(settings.spacing)
    structures = [segment.value for segment in dataset.segments]
    images = _images(dataset)
    paint = _paints(settings, images)
    values = np.array([0, *(_all_values(images, context) if paint else structures)])
    # The fixed image of the first pair is aligned with the reference, its own copy, like every other image.
    own = reference.side if "atlas" in dataset.shared or not is_pair(dataset.training[0]) else None
    loaded: dict[tuple, TrainingImage] = {}
    extents = []
    for number, side in enumerate(images, start=1):
        if context.stop_requested():
            raise Stopped
        raw = reference if side == own else read_raw(side)
        if is_flat(raw.shape) != is_flat(reference.shape):
            raise UserError(
                f"{side.name} and {reference.side.name} are a single slice and a volume: use one kind only."
            )
        if paint and raw.labels is None:
            raise UserError(f"The case {side.name} has no label map to paint from: add it, or set painting to never.")
        matrix = alignment(raw, reference, box, structures, context.stop_requested)
        loaded[side.files] = placed(raw, grid, matrix, values)
        extents.append((foreground_box(raw.scan, 0) if raw.scan else structures_box(raw, structures, 0)).extent)
        context.report("progress", step=number, total=len(images), remaining=None)
    indices = np.flatnonzero(np.isin(values, structures))
    twins = twin_values({segment.value: segment.name for segment in dataset.segments}, values)
    make_set = partial(_set, dataset=dataset, loaded=loaded, grid=grid, structures=indices, paint=paint, twins=twins)
    training = make_set(dataset.training)
    validation = make_set(dataset.validation) if dataset.validation else None
    plan = {
        "spacing": settings.spacing,
        "shape": list(grid.shape),
        "painted": paint,
        "structures": len(indices),
        "flat": is_flat(grid.shape),
        "smallest_extent": np.min(extents, axis=0).round(1).tolist(),
        "largest_extent": np.max(extents, axis=0).round(1).tolist(),
        "brightness": [] if paint else _intensities([loaded[side.files] for side in images]),
    }
    return training, validation, plan


def test_pairs(dataset: Dataset) -> list[Case]:
    """The test pairs as they are listed; single images with the atlas, or each with the one after it."""
    pairs = [case for case in dataset.test if is_pair(case)]
    single = [case for case in dataset.test if "image" in case.inputs and not is_pair(case)]
    atlas = dataset.shared.get("atlas")
    if atlas:
        return pairs + [paired(atlas, case) for case in single]
    if len(single) > 1:
        pairs += [paired(case, single[(n + 1) % len(single)]) for n, case in enumerate(single)]
    return pairs


def _images(dataset: Dataset) -> list[Side]:
    """Every image of the training and validation pairs, the atlas included, once."""
    cases = [*dataset.training, *dataset.validation, *dataset.shared.values()]
    return list({side.files: side for case in cases for side in sides(case)}.values())


def _paints(settings: TrainingParameters, images: list[Side]) -> bool:
    if settings.painting == "automatic":
        return all(not side.images for side in images)
    return settings.painting == "always"


def _all_values(images: list[Side], context: Context) -> list[int]:
    """Every label value that occurs, except 0."""
    from MedDeepLib.data.sources.labels import read_segmentation

    found: set[int] = set()
    for side in images:
        if context.stop_requested():
            raise Stopped
        if side.label:
            counts = np.bincount(read_segmentation(side.label)[0].ravel())
            found |= {int(value) for value in np.flatnonzero(counts) if value}
    if len(found) > _MOST_VALUES:
        raise UserError(f"The label maps have {len(found)} values, but at most {_MOST_VALUES} can be painted.")
    return sorted(found)


def _set(
    cases: tuple[Case, ...],
    dataset: Dataset,
    loaded: dict[tuple, TrainingImage],
    grid,
    structures: np.ndarray,
    paint: bool,
    twins: np.ndarray,
) -> TrainingSet:
    images: list[TrainingImage] = []
    place: dict[tuple, int] = {}
    pairs: list[tuple[int, int]] = []

    def index(side: Side) -> int:
        if side.files not in place:
            place[side.files] = len(images)
            images.append(loaded[side.files])
        return place[side.files]

    atlas = dataset.shared.get("atlas")
    for case in cases:
        parts = [index(side) for side in sides(case)]
        if len(parts) == 2:
            pairs.append((parts[0], parts[1]))
        elif atlas:
            pairs.append((index(fixed_side(atlas)), parts[0]))
    return TrainingSet(images, pairs, grid, structures, paint, twins)


def _intensities(images: list[TrainingImage]) -> list[float]:
    """Mean and standard deviation over the images of their mean foreground intensity."""
    shown = [one.image for one in images if one.image is not None]
    means = [float(image[image > 0.05].mean()) for image in shown]
    return [round(float(np.mean(means)), 4), round(float(np.std(means)), 4)]
