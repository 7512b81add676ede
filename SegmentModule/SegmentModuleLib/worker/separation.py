"""The separating weight map of the U-Net paper (Ronneberger et al. 2015, equation 2)."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import ndimage


def separation_weights(labels: np.ndarray, strength: float, sigma: float, dimensions: int) -> np.ndarray:
    """Loss weights that make a network learn the thin background between touching objects.

    Every connected piece of every class is an object. With the distances d1 and d2 (voxels) of a background voxel to
    the nearest and the second nearest object, its weight is 1 + strength * exp(-(d1 + d2)^2 / (2 sigma^2)). The
    paper's class weights are left to the sampling of patches, which shows all classes equally often.

    Args:
        labels: class indices (I, J, K), 0 background.
        strength, sigma: w0 (10 in the paper) and sigma (5 voxels there).
        dimensions: 2 treats every slice K by itself.

    Returns:
        float32 (I, J, K), at least 1.
    """
    if dimensions == 2:
        slices = [_weights(labels[..., k], strength, sigma) for k in range(labels.shape[2])]
        return np.stack(slices, axis=-1)
    return _weights(labels, strength, sigma)


def _weights(labels: np.ndarray, strength: float, sigma: float) -> np.ndarray:
    nearest = np.full(labels.shape, np.inf, np.float32)
    second = nearest.copy()
    reach = int(np.ceil(4 * sigma))  # beyond it the weight is below 4e-4 of its height
    for value in np.unique(labels[labels > 0]):
        labelled: Any = ndimage.label(labels == value)
        objects, _ = labelled
        for number, box in enumerate(ndimage.find_objects(objects), start=1):
            window = tuple(slice(max(0, s.start - reach), s.stop + reach) for s in box)
            distance: Any = ndimage.distance_transform_edt(objects[window] != number)
            distance = distance.astype(np.float32)
            first = nearest[window]
            second[window] = np.minimum(second[window], np.maximum(first, distance))
            nearest[window] = np.minimum(first, distance)
    weights = np.ones(labels.shape, np.float32)
    between = (labels == 0) & np.isfinite(second)
    weights[between] += strength * np.exp(-((nearest[between] + second[between]) ** 2) / (2 * sigma**2))
    return weights
