"""What parameters leave to the data and the device: dimensions, voxel size and patch."""

from __future__ import annotations

import math

import numpy as np
from MedDeepLib.data import geometry
from MedDeepLib.data.dataset import Dataset
from MedDeepLib.data.sources.image import read_image_info

Vector = tuple[float, float, float]
Size = tuple[int, int, int]

# Edge of a patch of cubic voxels, in 3D and 2D: on two CPU cores a step takes about a second.
_EDGES = {"cpu": {3: 64, 2: 192}, "cuda": {3: 128, 2: 512}, "mps": {3: 96, 2: 384}}
_SHORTEST = 16


def typical_grid(dataset: Dataset) -> tuple[Vector, Size]:
    """Median voxel size in mm and median shape of the training images, along right, anterior, superior."""
    spacings, shapes = [], []
    for case in dataset.training:
        info = read_image_info(case.files("image")[0])
        order = list(geometry.canonical_axes(info.affine)[0])
        spacings.append(info.spacing[order])
        shapes.append(np.array(info.shape)[order])
    i, j, k = (round(float(value), 4) for value in np.median(spacings, axis=0))
    a, b, c = (int(value) for value in np.median(shapes, axis=0))
    return (i, j, k), (a, b, c)


def patch_for(shape: Size, spacing: Vector, own_spacing: Vector, dimensions: int, device_type: str) -> Size:
    """Voxels of a patch: of a typical image as much as the device trains on quickly, the same length in mm if it can.

    Args:
        shape, own_spacing: of a typical image. spacing: of the network's grid.
    """
    length = np.array(shape) * np.array(own_spacing) / np.array(spacing)  # of the image, in the network's voxels
    edge = _EDGES.get(device_type, _EDGES["cuda"])[dimensions]
    axes = range(dimensions)
    budget, size = float(edge**dimensions), np.maximum(np.rint(length), 1)
    while math.prod(size[a] for a in axes) > budget:
        longest = max((a for a in axes if size[a] > _SHORTEST), key=lambda a: size[a] * spacing[a], default=None)
        if longest is None:
            break
        size[longest] = max(_SHORTEST, math.floor(size[longest] * 0.9))
    i, j, k = (int(n) for n in size)
    return i, j, k if dimensions == 3 else 1
