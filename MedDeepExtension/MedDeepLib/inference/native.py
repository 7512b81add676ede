"""From the voxels of a tile to those of the image: which of them belong to a tile, and linear interpolation at them.

The native grid is the image's own grid; the network's grid has the same axes and another spacing
(:class:`~MedDeepLib.data.preparation.Prepared`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from MedDeepLib.data.preparation import Prepared


@dataclass(frozen=True)
class NativeVoxels:
    """Native voxels along one axis, each between two voxels of a tile.

    Attributes:
        first: index of the first one.
        lower, upper: indices (N,) of the voxels of the tile on either side.
        upper_weight: (N,) share of ``upper`` in the interpolated value.
        exact: whether the two grids are the same along this axis.
    """

    first: int
    lower: torch.Tensor
    upper: torch.Tensor
    upper_weight: torch.Tensor
    exact: bool

    def __len__(self) -> int:
        return len(self.lower)

    @property
    def low(self) -> int:
        """The first voxel of the tile that is needed."""
        return int(self.lower[0])

    @property
    def high(self) -> int:
        """The last voxel of the tile that is needed."""
        return int(self.upper[-1])

    def near(self, occupied: torch.Tensor) -> NativeVoxels:
        """Those from the first to the last that lies next to one of the ``occupied`` voxels of the tile."""
        near = torch.nonzero((self.upper >= occupied[0]) & (self.lower <= occupied[-1])).ravel()
        kept = slice(int(near[0]), int(near[-1]) + 1) if len(near) else slice(0, 0)
        return replace(
            self,
            first=self.first + kept.start,
            lower=self.lower[kept],
            upper=self.upper[kept],
            upper_weight=self.upper_weight[kept],
        )

    def matrix(self) -> torch.Tensor:
        """Linear interpolation as a matrix (native voxels, voxels of the tile from ``low`` to ``high``)."""
        matrix = torch.zeros(len(self.lower), self.high - self.low + 1)
        rows = torch.arange(len(self.lower))
        matrix[rows, self.lower - self.low] = 1 - self.upper_weight
        matrix[rows, self.upper - self.low] += self.upper_weight
        return matrix


def native_voxels(
    start: Sequence[int], extent: Sequence[tuple[int, int]], size: Sequence[int], prepared: Prepared
) -> list[NativeVoxels]:
    """The native voxels along each axis that lie within ``extent``.

    Args:
        start: first voxel of the tile on the network's grid.
        extent: per axis, first and last+1 voxel on the network's grid.
        size: voxels of the tile.
    """
    return [_along(axis, start[axis], extent[axis], size[axis], prepared) for axis in range(3)]


def box(axes: Sequence[NativeVoxels]) -> tuple[slice, ...]:
    """Where the native voxels lie in the image."""
    return tuple(slice(axis.first, axis.first + len(axis)) for axis in axes)


def at_native_voxels(values: torch.Tensor, axes: Sequence[NativeVoxels]) -> torch.Tensor:
    """The values (C, I, J, K) of a tile at the native voxels: unchanged if the grids agree, else interpolated."""
    if all(axis.exact for axis in axes):
        return values[(slice(None), *(slice(int(axis.lower[0]), int(axis.lower[-1]) + 1) for axis in axes))]
    return interpolated(values[(slice(None), *(slice(axis.low, axis.high + 1) for axis in axes))], axes)


def interpolated(values: torch.Tensor, axes: Sequence[NativeVoxels]) -> torch.Tensor:
    """Trilinear interpolation of (C, I, J, K), cut out from ``low`` to ``high``, at the native voxels.

    Computed as matrix products, for which hardware is fastest.
    """
    i, j, k = (axis.matrix().to(values.device) for axis in axes)
    values = torch.matmul(j, torch.matmul(values, k.T))
    return torch.matmul(i, values.flatten(2)).unflatten(2, values.shape[2:])


def _along(axis: int, start: int, extent: tuple[int, int], size: int, prepared: Prepared) -> NativeVoxels:
    scale, offset = float(prepared.scale[axis]), float(prepared.offset[axis])
    length, network_length = prepared.native_shape[axis], prepared.image.shape[axis + 1]
    low, high = extent
    # A native voxel belongs to the network voxel nearest to its centre; those beyond the last one to the last one.
    first = 0 if low == 0 else max(0, int(np.ceil((low - 0.5 - offset) / scale)))
    last = length if high == network_length else min(length, int(np.ceil((high - 0.5 - offset) / scale)))
    native = torch.arange(first, max(first, last), dtype=torch.float64)
    position = (native * scale + offset).clamp_(0, network_length - 1) - start
    position = position.clamp_(0, size - 1)
    lower = position.floor().long()
    upper = (lower + 1).clamp_(max=size - 1)
    return NativeVoxels(first, lower, upper, (position - lower).float(), scale == 1 and length == network_length)
