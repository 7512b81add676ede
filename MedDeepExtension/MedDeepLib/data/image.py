"""A 3D image in memory, and the header of an image file.

Arrays are channel first, (C, I, J, K), in the order in which the file stores its axes; the affine takes voxel indices
to RAS millimetres.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from MedDeepLib.data import geometry


@dataclass(frozen=True, eq=False)
class Image:
    """A 3D image in memory.

    Attributes:
        array: (C, I, J, K); often a view in Fortran order of the reader's own memory.
        affine: 4x4 float64, IJK to RAS, millimetres.
        path: the file or folder it came from, if any.
        metadata: further metadata, for instance ``Modality`` of a DICOM series.
    """

    array: np.ndarray
    affine: np.ndarray
    path: Path | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels (I, J, K)."""
        return self.array.shape[1:]

    @property
    def spacing(self) -> np.ndarray:
        """Voxel size (3,) in mm."""
        return geometry.spacing_of(self.affine)


@dataclass(frozen=True, eq=False)
class ImageInfo:
    """The header of an image; the voxels have not been read.

    Attributes:
        shape: number of voxels (I, J, K).
        affine: 4x4 float64, IJK to RAS, millimetres.
        dtype: type the voxels will have when read.
        channels: number of values per voxel.
    """

    path: Path
    shape: tuple[int, ...]
    affine: np.ndarray
    dtype: np.dtype
    channels: int

    @property
    def spacing(self) -> np.ndarray:
        """Voxel size (3,) in mm."""
        return geometry.spacing_of(self.affine)
