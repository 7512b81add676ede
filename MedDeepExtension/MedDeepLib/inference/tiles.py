"""Positions of the tiles of an image, and the tiles that contain only air."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from MedDeepLib.data.preparation import background_threshold, sample_voxels

_COARSE_VOXELS = 4


@dataclass(frozen=True)
class Tile:
    """One piece of an image.

    Attributes:
        start: first voxel (i, j, k) that goes into the network; may be negative where the image is smaller.
        own: per axis, first and last+1 voxel whose result comes from this tile. The tiles' own boxes share no voxel.
    """

    start: tuple[int, int, int]
    own: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


def foreground_hull(image: torch.Tensor) -> torch.Tensor:
    """Which voxels belong to the body: a coarse boolean tensor, one entry per block of up to 4x4x4 voxels.

    A block belongs to it if, along two of the three axes, bright blocks lie on both sides of it, so that air within the
    body (lungs, bowel, sinuses) counts as body and only the air around it does not. Two axes are enough because the
    body may be cut open along the third: lungs in a few slices of a chest have no tissue above and below them.

    Args:
        image: (C, I, J, K), normalised or not.
    """
    bright = [_pooled(channel) > background_threshold(sample_voxels(channel)) for channel in image]
    mask = torch.stack(bright).any(0)
    if not mask.any():
        return torch.ones_like(mask)
    enclosed = torch.zeros(mask.shape, dtype=torch.uint8)
    for axis in range(3):
        forward = mask.cumsum(axis) > 0
        backward = mask.flip(axis).cumsum(axis).flip(axis) > 0
        enclosed += forward & backward
    return (enclosed >= 2) | mask


def hull_blocks(shape: Sequence[int]) -> list[int]:
    """Voxels per block of :func:`foreground_hull` along each axis of an image of ``shape``."""
    return [min(_COARSE_VOXELS, n) for n in shape]


def tiles(
    shape: Sequence[int],
    size: tuple[int, int, int],
    overlap: float,
    hull: torch.Tensor | None = None,
    margin: int = 0,
) -> list[Tile]:
    """Tiles of ``size`` voxels that cover an image, or only what is body if ``hull`` is given.

    Every voxel belongs to the tile in which it lies most centrally. Tiles whose own voxels are only air are left out.

    Args:
        overlap: share of its size by which a tile overlaps the next one, at least.
        margin: the fewest voxels by which a tile reaches beyond its own voxels towards the next tile; as many as fit
            into a short tile.

    Tiles are sorted by their first voxels along I, then J, then K.
    """
    lowest, highest = _bounding_box(shape, hull)
    axes = [_starts(lowest[a], highest[a], shape[a], size[a], overlap, margin) for a in range(3)]
    found = []
    for i, own_i in axes[0]:
        for j, own_j in axes[1]:
            for k, own_k in axes[2]:
                tile = Tile((i, j, k), (own_i, own_j, own_k))
                if hull is None or _holds_body(tile, hull, shape):
                    found.append(tile)
    return found


def _pooled(channel: torch.Tensor) -> torch.Tensor:
    # ceil_mode averages over the voxels that exist where a block reaches beyond the image.
    return F.avg_pool3d(channel[None, None], hull_blocks(channel.shape), ceil_mode=True)[0, 0]


def _bounding_box(shape, hull) -> tuple[list[int], list[int]]:
    if hull is None:
        return [0, 0, 0], list(shape)
    lowest, highest = [], []
    for axis, block in enumerate(hull_blocks(shape)):
        others = tuple(a for a in range(3) if a != axis)
        present = np.flatnonzero(hull.numpy().any(axis=others))
        # One block more on each side: the darkest voxels of the body lie at its border.
        lowest.append(max(0, (int(present[0]) - 1) * block))
        highest.append(min(shape[axis], (int(present[-1]) + 2) * block))
    return lowest, highest


def _starts(
    low: int, high: int, length: int, size: int, overlap: float, margin: int
) -> list[tuple[int, tuple[int, int]]]:
    """First voxels of the tiles along one axis, each with the tile's own voxels."""
    if length <= size:
        return [(-((size - length) // 2), (0, length))]
    extent = high - low
    if extent <= size:
        start = min(max(0, (low + high - size) // 2), length - size)
        return [(start, (low, high))]
    step = max(1, min(int(size * (1 - overlap)), size - 2 * margin))
    count = -(-(extent - size) // step) + 1
    starts = [low + round(n * (extent - size) / (count - 1)) for n in range(count)]
    borders = [low, *[(a + size + b) // 2 for a, b in zip(starts, starts[1:], strict=False)], high]
    return [(start, (borders[n], borders[n + 1])) for n, start in enumerate(starts)]


def _holds_body(tile: Tile, hull: torch.Tensor, shape) -> bool:
    blocks = hull_blocks(shape)
    box = [slice(low // b, -(-high // b)) for (low, high), b in zip(tile.own, blocks, strict=True)]
    return bool(hull[box[0], box[1], box[2]].any())
