"""Training images on one common grid, aligned with each other by a matrix, so that any two of them make a pair."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from MedDeepLib.data.padding import fill_padding
from MedDeepLib.data.preparation import background_threshold, sample_voxels
from MedDeepLib.data.sources.image import check_finite, check_not_constant, read_image
from MedDeepLib.data.sources.labels import read_segmentation
from MedDeepLib.errors import UserError

from RegisterModuleLib.worker.grids import Box, Grid, box_around, is_flat, to_grid
from RegisterModuleLib.worker.painting import rescaled
from RegisterModuleLib.worker.refinement import MatrixRefinement, Scan, level
from RegisterModuleLib.worker.sides import Side
from RegisterModuleLib.worker.similarity import MutualInformation

_FINER = 3  # a voxel's shares are counted from this many voxels along each axis
_FEWEST_STRUCTURES = 4
_MARGIN = 12.0


@dataclass(frozen=True, eq=False)
class TrainingImage:
    """A training case on the common grid.

    Attributes:
        name: of its case.
        image: (C, I, J, K) float32 from 0 to 1, or None where there are only labels to paint from.
        shares: (V, I, J, K) uint8, how much of each voxel has each label value, 255 all of it; or None.
        values: the label values, 0 (background) first.
    """

    name: str
    image: torch.Tensor | None
    shares: torch.Tensor | None
    values: np.ndarray


@dataclass(eq=False)
class Raw:
    """One image of a case as it was read."""

    side: Side
    scan: Scan | None
    channels: int
    labels: np.ndarray | None
    label_affine: np.ndarray | None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.scan.shape if self.scan else self.drawn[0].shape

    @property
    def affine(self) -> np.ndarray:
        return self.scan.affine if self.scan else self.drawn[1]

    @property
    def drawn(self) -> tuple[np.ndarray, np.ndarray]:
        """The labels of a case that has some, and their affine."""
        assert self.labels is not None and self.label_affine is not None
        return self.labels, self.label_affine


def read_scan(paths: Sequence, where: str = "") -> Scan:
    """The channels of an image, values from 0 to 1.

    Raises UserError when a channel is constant, has voxels that are not finite, or lies on another grid.
    """
    from MedDeepLib.data.preparation import stack_channels

    image = stack_channels([read_image(path) for path in paths])
    return as_scan(image)


def as_scan(image) -> Scan:
    """An image with its values from 0 to 1, padding as air; raises UserError when it is constant or not finite."""
    check_finite(image)
    check_not_constant(image)
    values = torch.from_numpy(np.array(image.array, dtype=np.float32, order="C"))
    fill_padding(values.numpy())
    return Scan(rescaled(values), image.affine)


def read_raw(side: Side) -> Raw:
    """Read a training image, its labels, or both."""
    scan = read_scan(side.images) if side.images else None
    labels = affine = None
    if side.label:
        labels, affine, _ = read_segmentation(side.label)
        if scan is None and not labels.any():
            raise UserError(f"The label map {side.label.name} is empty: take it out of the dataset.")
    if scan is None and labels is None:
        raise UserError(f"The case {side.name} has neither an image nor a label map.")
    return Raw(side, scan, len(scan.values) if scan else 0, labels, affine)


def foreground_box(scan: Scan, margin: float = _MARGIN) -> Box:
    """The box around everything but air."""
    values = scan.values.amax(0)
    threshold = max(background_threshold(sample_voxels(values)), 0.02)
    return _box_of_mask((values > threshold).cpu().numpy(), scan.affine, margin)


def structures_box(raw: Raw, values: Sequence[int], margin: float = _MARGIN) -> Box:
    """The box around the structures with these label values, or around all labels where there is none."""
    labels, affine = raw.drawn
    mask = np.isin(labels, values) if len(values) else labels > 0
    return _box_of_mask(mask if mask.any() else labels > 0, affine, margin)


def alignment(raw: Raw, reference: Raw, box: Box, values: Sequence[int], stop: Callable[[], bool]) -> np.ndarray:
    """The matrix (4x4) from RAS of the reference to RAS of a case.

    From the centres of their structures if both have enough of them, else from the images' mutual information.
    """
    if raw is reference:
        return np.eye(4)
    if raw.labels is not None and reference.labels is not None:
        here, there = _middles(reference, values), _middles(raw, values)
        common = sorted(here.keys() & there.keys())
        if len(common) >= _FEWEST_STRUCTURES:
            return least_squares(np.array([here[v] for v in common]), np.array([there[v] for v in common]))
    if raw.scan is None or reference.scan is None:
        return np.eye(4)
    start = np.eye(4)
    start[:3, 3] = foreground_box(raw.scan).center - box.center
    unit = box.unit
    spacing = 4.0 * unit if not is_flat(raw.shape) else float(np.median(raw.scan.affine[:3, :3].__abs__().max(0))) * 2
    # Not prepared for the fixed image, which rounds otherwise: the same cases are placed alike to the bit.
    metric = MutualInformation(most_samples=30_000).__call__
    refinement = MatrixRefinement(box, "affine", metric, start)
    for size, steps, rate in ((2 * spacing, 60, 2.0), (spacing, 40, 0.5)):
        refinement.run(level(reference.scan, raw.scan, box, size), steps, rate * unit, lambda done, total: not stop())
    return refinement.best


def least_squares(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The matrix (4x4) that takes points (N, 3) closest to others (N, 3)."""
    from RegisterModuleLib.worker.networks import fitted_matrix

    points = [torch.from_numpy(np.asarray(p, np.float64)) for p in (first, second)]
    torch_matrix = fitted_matrix(points[0].float(), points[1].float(), slack=1e-4)
    return torch_matrix.double().numpy()


def placed(raw: Raw, grid: Grid, matrix: np.ndarray, values: np.ndarray) -> TrainingImage:
    """A case on the common grid, ``matrix`` from RAS of the grid to its own RAS."""
    image = to_grid(raw.scan.values, raw.scan.affine, grid, matrix)[0] if raw.scan else None
    shares = _shares(raw, grid, matrix, values) if raw.labels is not None else None
    return TrainingImage(raw.side.name, image, shares, values)


def _shares(raw: Raw, grid: Grid, matrix: np.ndarray, values: np.ndarray) -> torch.Tensor:
    labels, label_affine = raw.drawn
    finer = [_FINER if n > 1 else 1 for n in grid.shape]
    to_finer = np.diag([*(1 / np.array(finer)), 1.0])
    to_finer[:3, 3] = (1 / np.array(finer) - 1) / 2
    fine = Grid(grid.affine @ to_finer, tuple(n * f for n, f in zip(grid.shape, finer, strict=True)))
    table = np.zeros(int(max(values.max(), labels.max())) + 1, np.float32)
    table[values] = np.arange(len(values))
    order = torch.from_numpy(table[labels])[None]
    # Sampling repeats the border's values outside the label map.
    index, within = to_grid(order, label_affine, fine, matrix, "nearest")
    index = (index * within)[0].long()
    i, j, k = (torch.arange(n) // f for n, f in zip(fine.shape, finer, strict=True))
    voxel = (i[:, None, None] * grid.shape[1] + j[:, None]) * grid.shape[2] + k
    size = int(np.prod(grid.shape))
    counts = torch.bincount((index * size + voxel).reshape(-1), minlength=size * len(values))
    shares = counts.float() * (255 / np.prod(finer))
    return shares.round().to(torch.uint8).reshape(len(values), *grid.shape)


def _middles(raw: Raw, values: Sequence[int]) -> dict[int, np.ndarray]:
    from scipy import ndimage

    labels, affine = raw.drawn
    wanted = list(values) or [int(v) for v in np.unique(labels) if v]
    boxes = ndimage.find_objects(labels)
    middles = {}
    for value in wanted:
        box = boxes[value - 1] if value <= len(boxes) else None
        if box is not None:
            middle = ndimage.center_of_mass(labels[box] == value)
            index = np.array(middle) + [part.start for part in box]
            middles[value] = affine[:3, :3] @ index + affine[:3, 3]
    return middles


def _box_of_mask(mask: np.ndarray, affine: np.ndarray, margin: float) -> Box:
    first, last = [], []
    for axis in range(3):
        present = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        present = present if present.size else np.array([0, mask.shape[axis] - 1])
        first.append(present[0])
        last.append(present[-1])
    return box_around(affine, first, last, margin)
