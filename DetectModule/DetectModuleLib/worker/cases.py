"""Reads training cases: the image on the network's grid, and the boxes of its findings there."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

import numpy as np
import torch
from MedDeepLib.core import Context
from MedDeepLib.data.fingerprints import value_fingerprint
from MedDeepLib.data.preparation import Plan, Prepared, prepare, stack_channels
from MedDeepLib.data.slots import Case
from MedDeepLib.data.sources.image import read_image
from MedDeepLib.errors import Stopped, UserError
from MedDeepLib.inference.tiles import foreground_hull, hull_blocks
from MedDeepLib.training.dense.cache import CaseCache, cache_key
from MedDeepLib.training.dense.patches import CachedCase, Volume
from MedDeepLib.training.randomness import random_state

from DetectModuleLib.worker.boxes import to_voxels, turned
from DetectModuleLib.worker.references import Reading, mirrored, reference_boxes

_MOST_BACKGROUND = 4000  # places of each case where a patch without a finding may be cut
_FEWEST_TO_JUDGE = 3
IMAGE, BOXES, CLASSES = "image", "boxes", "classes"
_PLACES = "places"  # how many findings there are, how many lie in the body, how many would do so mirrored, are turned


@dataclass(eq=False)
class DetectionData:
    """The cases of a training on the network's grid, and the files of those that do not fit into memory.

    A case has the volume "image" and the extras "boxes", (N, 6) float32, centre and size in voxels of the network's
    grid, and "classes", (N,) int64, indices into the classes of the dataset. Its ``voxels`` are the centres of the
    findings for each class, counted from 1, and places in the body without a finding for 0.
    """

    training: list[CachedCase]
    validation: list[CachedCase]
    cache: CaseCache

    def remove(self) -> None:
        """Drop the cases and delete the files; they cannot be used for training any more."""
        self.training.clear()
        self.validation.clear()
        self.cache.remove()


def load_cases(
    cases: Sequence[Case], plan: Plan, reading: Reading, context: Context, cache: CaseCache
) -> list[CachedCase]:
    """Read cases, or find them in the cache.

    Raises:
        UserError: a case cannot be used, or the findings of most lie outside the body.
        Stopped: the user asked to stop.
    """

    def load(number_and_case: tuple[int, Case]) -> CachedCase:
        if context.stop_requested():
            raise Stopped
        number, case = number_and_case
        key = cache_key(
            *case.all_files,
            settings=[plan.as_dict(), asdict(reading), context.seed + number],
            listed={name: value_fingerprint(source.value) for name, source in case.targets.items()},
        )
        kept = cache.find(key)
        return kept or cache.keep(
            key, load_case(case, plan, reading, len(context.dataset.channels), context.seed + number)
        )

    loaded = []
    with ThreadPoolExecutor(2) as pool:
        for case in pool.map(load, enumerate(cases)):
            loaded.append(case)
            context.report("progress", step=len(loaded), total=len(cases), remaining=None)
    _check_side(loaded)
    return loaded


def load_case(case: Case, plan: Plan, reading: Reading, channels: int, seed: int) -> CachedCase:
    """Read one case; see :class:`DetectionData`. Raises UserError when its image or its findings cannot be used."""
    image = stack_channels([read_image(path) for path in case.files(IMAGE)])
    if len(image.array) != channels:
        raise UserError(f"The case {case.name} has {len(image.array)} channels, but the dataset has {channels}.")
    boxes = reference_boxes(case, image.shape, image.affine, reading)
    prepared = prepare(image, plan)
    rows = to_voxels(boxes, prepared.affine)
    classes = np.array([reading.classes.index(box.class_name) for box in boxes], np.int64)
    body = _body(prepared)
    places = [len(boxes), _count_in(rows, body), _count_in(to_voxels(mirrored(boxes), prepared.affine), body)]
    extras = {
        BOXES: torch.from_numpy(rows.astype(np.float32)),
        CLASSES: torch.from_numpy(classes),
        _PLACES: torch.tensor([*places, turned(boxes, prepared.affine)], dtype=torch.int64),
    }
    volumes = {IMAGE: Volume(prepared.image, linear=True, intensity=True)}
    return CachedCase(volumes, _places(rows, classes, body, random_state(seed, 1)), extras)


def boxes_of(case: CachedCase) -> tuple[np.ndarray, np.ndarray]:
    """The boxes (N, 6) float32 and the class indices (N,) of a case."""
    return case.extras[BOXES].numpy(), case.extras[CLASSES].numpy()


def turned_boxes(cases: Sequence[CachedCase]) -> int:
    """How many boxes of the cases have grown because their axes are not the image's."""
    return sum(int(case.extras[_PLACES][3]) for case in cases)


def _body(prepared: Prepared) -> np.ndarray:
    """Which voxels (I, J, K) of the network's grid belong to the body; all of them in a picture."""
    shape = tuple(prepared.image.shape[1:])
    if shape[2] == 1:
        return np.ones(shape, bool)
    hull = foreground_hull(prepared.image)
    for axis, block in enumerate(hull_blocks(shape)):
        hull = hull.repeat_interleave(block, axis).narrow(axis, 0, shape[axis])
    return hull.numpy()


def _count_in(rows: np.ndarray, body: np.ndarray) -> int:
    index = np.rint(rows[:, :3]).astype(int)
    within = ((index >= 0) & (index < body.shape)).all(1)
    return int(body[tuple(index[within].T)].sum())


def _places(rows: np.ndarray, classes: np.ndarray, body: np.ndarray, random: np.random.RandomState):
    """Centres of patches: indices (N, 3) by class, counted from 1, and under 0 some of the body outside all boxes."""
    last = np.array(body.shape) - 1
    centers = np.clip(np.rint(rows[:, :3]).astype(int), 0, last)
    places = {int(index) + 1: centers[classes == index] for index in np.unique(classes)}
    flat = np.flatnonzero(body)
    chosen = random.choice(flat, min(_MOST_BACKGROUND, len(flat)), replace=False)
    background = np.stack(np.unravel_index(chosen, body.shape), 1)
    for row in rows:
        background = background[(np.abs(background - row[:3]) > row[3:] / 2).any(1)]
    return places | {0: background} if len(background) else places


def _check_side(cases: Sequence[CachedCase]) -> None:
    """Raise UserError if the findings make sense only with left and right, and front and back, exchanged."""
    total, inside, other_side, _ = np.sum([case.extras[_PLACES].numpy() for case in cases] or [[0] * 4], axis=0)
    if total >= _FEWEST_TO_JUDGE and inside < 0.5 * total and other_side > 0.9 * total:
        raise UserError(
            f"Only {inside} of {total} findings lie inside the body, but {other_side} would if their coordinates were "
            "taken as LPS: convert them to RAS (the signs of the first two), or say LPS in the file."
        )
