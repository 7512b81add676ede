"""Reads a pair of images, and rejects an impossible pair before anything is computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from MedDeepLib.data.geometry import affines_match
from MedDeepLib.data.padding import padding_in_words, without_padding
from MedDeepLib.data.preparation import stack_channels
from MedDeepLib.data.sources.image import Image, read_image
from MedDeepLib.data.sources.labels import Segment, read_segmentation
from MedDeepLib.errors import UserError

from RegisterModuleLib.worker.grids import Box, Grid, box_of, inside, is_flat, matrix_coordinates
from RegisterModuleLib.worker.transforms import SpatialTransform, read_transform

if TYPE_CHECKING:
    from MedDeepLib.core import TrainedModel
    from MedDeepLib.data.slots import Source

_LEAST_OVERLAP = 0.02
_SINGULAR = 1e6  # ratio of largest to smallest scaling of a matrix that must be a mistake
_SMALLER, _LARGER = 0.6, 2.2  # how much smaller or larger than in training a body part may be without a warning
_OTHER_BRIGHTNESS = 4.0  # standard deviations


@dataclass(frozen=True, eq=False)
class Labels:
    """A label map (I, J, K) of the moving image, with its own grid."""

    array: np.ndarray
    affine: np.ndarray
    segments: list[Segment]


@dataclass(frozen=True, eq=False)
class Pair:
    """The images to register; ``initial`` takes the fixed image's space to the moving image's, before anything else.

    Padding of a CT is replaced by air, which ``padding`` says in a sentence.
    """

    fixed: Image
    moving: Image
    initial: SpatialTransform
    labels: Labels | None = None
    padding: str = field(init=False, default="")

    def __post_init__(self):
        object.__setattr__(self, "padding", padding_in_words([self.fixed, self.moving]))
        if self.padding:
            object.__setattr__(self, "fixed", without_padding(self.fixed))
            object.__setattr__(self, "moving", without_padding(self.moving))

    @property
    def grid(self) -> Grid:
        """The grid of the fixed image."""
        return Grid(self.fixed.affine, self.fixed.shape)


def read_pair(inputs: Mapping[str, Source], check: Callable[[Image, Image], None]) -> Pair:
    """The pair of a job's item or of a dataset's case: the inputs "fixed", "moving", "initial", "labels".

    ``check`` raises UserError for two images that a method cannot align, see ``RegistrationMethod.check_pair``. Raises
    UserError for whatever else makes it impossible to register.
    """
    for side, other in (("fixed", "moving"), ("moving", "fixed")):
        if side not in inputs or not inputs[side].files:
            raise UserError(f"Registration needs a {side} image beside the {other} one: name it.")
    files = {name: source.files for name, source in inputs.items()}
    labels = next(iter(files.get("labels", ())), None)
    return _read(files["fixed"], files["moving"], files.get("initial", ()), labels, check)


def _read(fixed: Sequence, moving: Sequence, initial: Sequence, labels, check: Callable[[Image, Image], None]) -> Pair:
    if [Path(path).resolve() for path in fixed] == [Path(path).resolve() for path in moving]:
        raise UserError(f"Fixed and moving image are the same ({Path(fixed[0]).name}): choose another moving image.")
    images = [stack_channels([read_image(path) for path in paths]) for paths in (fixed, moving)]
    check(images[0], images[1])
    _check_different(images[0], images[1])
    transform = SpatialTransform()
    for path in initial:
        transform = transform.then(read_transform(path, Grid(images[0].affine, images[0].shape)))
        if any(isinstance(step, np.ndarray) and np.linalg.cond(step[:3, :3]) > _SINGULAR for step in transform.steps):
            raise UserError(f"The transform {path} flattens space and cannot be undone: choose another initial one.")
    return Pair(images[0], images[1], transform, _read_labels(labels, images[1]) if labels else None)


def check_alike(fixed: Image, moving: Image) -> None:
    """Raise UserError for a slice with a volume, and for images with different numbers of channels."""
    names = _names(fixed, moving)
    if not same_dimensions(fixed, moving):
        flat, volume = names if is_flat(fixed.shape) else names[::-1]
        raise UserError(f"{flat} is a single slice and {volume} is a volume: choose two of one kind.")
    if len(fixed.array) != len(moving.array):
        raise UserError(
            f"{names[0]} has {_channels(fixed)} and {names[1]} has {_channels(moving)}: choose images with "
            "the same channels, or extract one channel of each."
        )


def same_dimensions(fixed: Image, moving: Image) -> bool:
    """Whether two images are both single slices or both volumes."""
    return is_flat(fixed.shape) == is_flat(moving.shape)


def _check_different(fixed: Image, moving: Image) -> None:
    """Raise UserError when two images are one and the same."""
    names = _names(fixed, moving)
    same_grid = fixed.shape == moving.shape and affines_match(fixed.affine, moving.affine, fixed.shape)
    if same_grid and np.array_equal(fixed.array, moving.array):
        raise UserError(f"{names[0]} and {names[1]} are identical: choose another moving image.")


def check_overlap(pair: Pair, box: Box, matrix: np.ndarray) -> None:
    """Raise UserError when the images hardly overlap.

    Args:
        box: around the foreground of the fixed image.
        matrix: fixed RAS to moving RAS.
    """
    whole = box_of(Grid(pair.moving.affine, pair.moving.shape))
    shares = []
    for one, to_other, other in ((box, matrix, pair.moving), (whole, np.linalg.inv(matrix), pair.fixed)):
        grid = one.grid(max(float(one.extent.max()) / 32, 1e-6))
        to_index = np.linalg.inv(other.affine) @ to_other @ grid.affine
        shares.append(float(inside(matrix_coordinates(to_index, grid.indices()), other.shape).mean()))
    if max(shares) < _LEAST_OVERLAP:
        raise UserError(
            "The two images do not overlap in space: switch on the option center to align their centres first, "
            "or give an initial transform."
        )


def anatomy_warnings(model: TrainedModel, extents: dict[str, np.ndarray], brightness: dict[str, float]) -> list[str]:
    """Warnings about images unlike those that the model was trained on, in sentences."""
    plan = model.metadata.get("plan", {})
    sentences = []
    for which, extent in extents.items() if "smallest_extent" in plan else ():
        smallest, largest = np.array(plan["smallest_extent"]), np.array(plan["largest_extent"])
        known = (smallest > 0) & (extent > 0)
        if (extent < _SMALLER * smallest)[known].any() or (extent > _LARGER * largest)[known].any():
            sentences.append(
                f"The {which} image shows a body part of {_size(extent)} mm, but the model was trained on sizes from "
                f"{_size(smallest)} to {_size(largest)} mm: it may be a model for another part of the body."
            )
    if plan.get("brightness"):
        mean, deviation = plan["brightness"]
        for which, value in brightness.items():
            if abs(value - mean) > _OTHER_BRIGHTNESS * max(deviation, 0.03):
                sentences.append(
                    f"The {which} image has another intensity distribution than the training images: it may come from "
                    "another kind of scanner or sequence than the model knows."
                )
    return sentences


def _read_labels(path: Path, moving: Image) -> Labels:
    array, affine, segments = read_segmentation(path)
    name = Path(path).name
    if not array.any():
        raise UserError(f"The label map {name} is empty: choose another one.")
    to_moving = np.linalg.inv(moving.affine) @ affine
    places = np.argwhere(array)[:: max(1, np.count_nonzero(array) // 5000)]
    index = places @ to_moving[:3, :3].T + to_moving[:3, 3]
    within = ((index > -0.5 - 1e-3) & (index < np.array(moving.shape) - 0.5 + 1e-3)).all(1).mean()
    if within < 0.5:
        raise UserError(
            f"The label map {name} is on another grid than the moving image: choose the labels that belong to it, "
            "or resample them to its grid."
        )
    return Labels(array, affine, segments)


def _channels(image: Image) -> str:
    count = len(image.array)
    return f"{count} channel{'s' if count > 1 else ''}"


def _names(fixed: Image, moving: Image) -> tuple[str, str]:
    images = ((fixed, "the fixed image"), (moving, "the moving image"))
    fixed_name, moving_name = (image.path.name if image.path else otherwise for image, otherwise in images)
    return fixed_name, moving_name


def _size(extent: np.ndarray) -> str:
    return " x ".join(f"{value:.0f}" for value in extent)
