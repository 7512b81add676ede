"""Settings that are left to the data and the device: voxel size and patch size.

The same choice is shown to the user, recorded with the run, and taken again when the run is resumed.
"""

from __future__ import annotations

import numpy as np
from MedDeepLib.data import geometry
from MedDeepLib.data.dataset import Dataset
from MedDeepLib.data.images import read_image_info

# Edge of a patch in voxels that trains at a bearable speed on two processor cores, and on a common graphics card.
_EDGE = {("cpu", 3): 64, ("cpu", 2): 192}
_EDGE_ON_CARDS = {3: 96, 2: 256}


def median_grid(dataset: Dataset) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Median voxel size (mm) and median extent (mm) of the training images along right, anterior, superior.

    Reads headers only.
    """
    spacings, extents = [], []
    for case in dataset.training:
        info = read_image_info(case.images[0])
        order = list(geometry.canonical_axes(info.affine)[0])
        spacings.append(info.spacing[order])
        extents.append(info.spacing[order] * np.array(info.shape)[order])
    medians = np.median(spacings, axis=0), np.median(extents, axis=0)
    return tuple(tuple(round(float(value), 4) for value in median) for median in medians)


def chosen_spacing(wanted: tuple[float, ...], median: tuple[float, ...]) -> tuple[float, ...]:
    """The wanted voxel size, with the median of the training images wherever it is 0."""
    return tuple(float(w or m) for w, m in zip(wanted, median, strict=True))


def chosen_patch_size(
    wanted: tuple[int, ...], voxels: tuple[float, ...], step: int, dimensions: int, device: str
) -> tuple[int, ...]:
    """The wanted patch, with a size that fits image and device wherever it is 0.

    Args:
        wanted: size per axis, one for each dimension.
        voxels: extent of a typical image on the network's grid.
        step: sizes are multiples of it.
        device: type of device, e.g. "cpu" or "cuda".
    """
    edge = _EDGE.get((device, dimensions), _EDGE_ON_CARDS[dimensions])
    fitting = [min(max(edge // step, 1), max(1, -(-int(n) // step))) * step for n in voxels[:dimensions]]
    if max(fitting) == step:
        fitting = [2 * step] * dimensions  # one voxel at the coarsest resolution cannot be normalised
    return tuple(int(w or f) for w, f in zip(wanted, fitting, strict=True))
