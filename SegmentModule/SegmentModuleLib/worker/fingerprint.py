"""The fingerprint of a dataset: the grids of its images, numbers of channels, classes and cases; from headers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from MedDeepLib.data import geometry
from MedDeepLib.data.dataset import Dataset
from MedDeepLib.data.sources.image import read_image_info

# From this ratio of coarsest to finest voxel edge, axes are treated differently.
ANISOTROPIC = 3.0

Vector = tuple[float, ...]


@dataclass(frozen=True)
class Fingerprint:
    """The training images, their axes turned to right, anterior, superior.

    Attributes:
        spacings: voxel size of every case in mm.
        shapes: voxels of every case.
        channels, classes: of the dataset; classes without the background.
    """

    spacings: tuple[Vector, ...]
    shapes: tuple[tuple[int, ...], ...]
    channels: int
    classes: int

    @property
    def cases(self) -> int:
        return len(self.shapes)

    @property
    def median_spacing(self) -> Vector:
        return _rounded(np.median(self.spacings, axis=0))

    @property
    def median_shape(self) -> tuple[int, ...]:
        return tuple(round(float(n)) for n in np.median(self.shapes, axis=0))

    @property
    def anisotropy(self) -> float:
        """How many times coarser the median voxel is along its coarsest axis than along its finest."""
        return max(self.median_spacing) / min(self.median_spacing)

    @property
    def thinnest(self) -> int:
        """The smallest number of voxels along any axis of any image."""
        return int(np.min(self.shapes))

    def target_spacing(self) -> Vector:
        """The voxel size to train at: the median, so that half of the images lose nothing.

        Where voxels are anisotropic, the median of the slice thickness would merge slices of the better images, and
        slices are few; there the coarsest axis takes the 10th percentile, but is never made finer than the other axes.
        """
        target = np.array(self.median_spacing)
        if self.anisotropy > ANISOTROPIC:
            coarsest = int(target.argmax())
            thickness = np.percentile(np.array(self.spacings)[:, coarsest], 10)
            target[coarsest] = max(float(thickness), float(np.delete(target, coarsest).max()))
        return _rounded(target)

    def shape_at(self, spacing: Vector) -> tuple[int, ...]:
        """Voxels of a typical image on a grid of ``spacing``; 0: the image's own along that axis."""
        own = np.array(self.spacings)
        factor = own / np.where(np.array(spacing) > 0, spacing, own)
        return tuple(max(1, round(float(n))) for n in np.median(np.array(self.shapes) * factor, axis=0))

    def as_dict(self) -> dict[str, Any]:
        """JSON values, including derived ones; cases are in the order of the dataset."""
        derived = {"cases": self.cases, "median_spacing": list(self.median_spacing)}
        derived |= {"median_shape": list(self.median_shape), "anisotropy": round(self.anisotropy, 2)}
        lists = {name: [list(v) for v in values] for name, values in asdict(self).items() if isinstance(values, tuple)}
        return derived | {"channels": self.channels, "classes": self.classes} | lists


def fingerprint(dataset: Dataset) -> Fingerprint:
    """The fingerprint of the training cases; the first channel of a case stands for all, as they share a grid."""
    spacings, shapes = [], []
    for case in dataset.training:
        info = read_image_info(case.files("image")[0])
        order = list(geometry.canonical_axes(info.affine)[0])
        spacings.append(_rounded(info.spacing[order]))
        shapes.append(tuple(int(n) for n in np.array(info.shape)[order]))
    return Fingerprint(tuple(spacings), tuple(shapes), len(dataset.channels), len(dataset.classes))


def _rounded(values: np.ndarray) -> Vector:
    return tuple(round(float(value), 4) for value in values)
