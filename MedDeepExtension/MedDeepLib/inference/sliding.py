"""Label maps of whole images, tile by tile, with memory that does not grow with the number of classes.

Each tile's answer is turned into labels at once, on the case's own grid: probabilities are interpolated from the
network's grid to the image's, so that a coarse network still draws smooth borders, and only labels are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from MedDeepLib.data.preparation import Prepared
from MedDeepLib.errors import Stopped
from MedDeepLib.inference.tiles import Tile, foreground_hull, tiles


@dataclass(frozen=True)
class TilingOptions:
    """How an image is cut into tiles.

    Attributes:
        size: voxels (I, J, K) of a tile.
        overlap: share by which neighbouring tiles overlap.
        batch_size: tiles that go through the network together.
        whole_image: send air through the network too.
        flip_axes: axes to average over mirrored copies of each tile.
        autocast: number type of the forward pass, None for float32.
    """

    size: tuple[int, int, int]
    overlap: float = 0.25
    batch_size: int = 1
    whole_image: bool = False
    flip_axes: tuple[int, ...] = ()
    autocast: torch.dtype | None = None


def predict_labels(
    network: torch.nn.Module,
    prepared: Prepared,
    options: TilingOptions,
    device: torch.device,
    progress: Callable[[int, int], None] = lambda done, total: None,
    stop_requested: Callable[[], bool] = lambda: False,
) -> np.ndarray:
    """The most probable class of every voxel, uint8 (I, J, K), on the case's own grid in the network's axis order.

    Args:
        network: takes (B, C, I, J, K) and returns (B, classes, I, J, K); in evaluation mode.
        prepared: the case on the network's grid.
        progress: called with the number of tiles done and their total number.

    Raises:
        Stopped: between two batches, when ``stop_requested`` says so.
    """
    labels = np.zeros(prepared.native_shape, np.uint8)
    hull = None if options.whole_image else foreground_hull(prepared.image)
    waiting = tiles(tuple(prepared.image.shape[1:]), options.size, options.overlap, hull)
    with torch.inference_mode():
        for first in range(0, len(waiting), options.batch_size):
            if stop_requested():
                raise Stopped
            group = waiting[first : first + options.batch_size]
            batch = torch.stack([cut_tile(prepared.image, tile.start, options.size) for tile in group])
            scores = _scores(network, batch.to(device), options)
            for tile, score in zip(group, scores, strict=True):
                _write(labels, tile, score, prepared)
            progress(min(first + options.batch_size, len(waiting)), len(waiting))
    return labels


def cut_tile(image: torch.Tensor, start: tuple[int, int, int], size: tuple[int, int, int]) -> torch.Tensor:
    """A tile (C, I, J, K) of an image; where it reaches beyond the image, the image is mirrored."""
    inside = all(s >= 0 and s + n <= length for s, n, length in zip(start, size, image.shape[1:], strict=True))
    if inside:
        i, j, k = start
        return image[:, i : i + size[0], j : j + size[1], k : k + size[2]]
    for axis in range(3):
        index = _mirrored(start[axis], size[axis], image.shape[axis + 1])
        image = image.index_select(axis + 1, index)
    return image


def _mirrored(start: int, size: int, length: int) -> torch.Tensor:
    index = torch.arange(start, start + size)
    if length == 1:
        return torch.zeros_like(index)
    index = index.remainder(2 * (length - 1))
    return torch.minimum(index, 2 * (length - 1) - index)


def _scores(network: torch.nn.Module, batch: torch.Tensor, options: TilingOptions) -> torch.Tensor:
    """Class scores (B, classes, I, J, K); their softmax is the mean over mirrored copies if such are asked for."""
    if not options.flip_axes:
        return _forward(network, batch, options)
    total = None
    for mask in range(2 ** len(options.flip_axes)):
        axes = [axis + 2 for n, axis in enumerate(options.flip_axes) if mask >> n & 1]
        answer = _forward(network, batch.flip(axes) if axes else batch, options).softmax(1)
        answer = answer.flip(axes) if axes else answer
        total = answer if total is None else total.add_(answer)
    return total.log_()


def _forward(network: torch.nn.Module, batch: torch.Tensor, options: TilingOptions) -> torch.Tensor:
    flat = batch.shape[-1] == 1  # a 2D network sees slices
    batch = batch[..., 0] if flat else batch
    with torch.autocast(batch.device.type, options.autocast, enabled=options.autocast is not None):
        output = network(batch)
    output = output[0] if isinstance(output, (list, tuple)) else output
    return output[..., None] if flat else output


def _write(labels: np.ndarray, tile: Tile, scores: torch.Tensor, prepared: Prepared) -> None:
    """Put the classes of a tile's own voxels into ``labels``."""
    classes = scores.max(0).indices  # several times faster than argmax on a CPU
    axes = [_native_voxels(tile, axis, prepared, scores.shape[axis + 1]) for axis in range(3)]
    if all(axis.exact for axis in axes):
        part = classes[tuple(slice(int(axis.lower[0]), int(axis.lower[-1]) + 1) for axis in axes)]
        labels[_box(axes)] = part.to(torch.uint8).cpu().numpy()
        return
    # Where all network voxels around a native voxel are background, so is their interpolation: only the box that
    # holds something else is interpolated, and only the classes that are the strongest somewhere in it.
    occupied = classes > 0
    present = classes[occupied].unique()
    if not len(present):
        return
    for number in range(3):
        others = tuple(axis for axis in range(3) if axis != number)
        axes[number] = axes[number].near(torch.nonzero(occupied.any(others)).ravel().cpu())
        if not len(axes[number].lower):
            return
    probabilities = scores[(slice(None), *(slice(axis.low, axis.high + 1) for axis in axes))].float().softmax(0)
    present = torch.cat([present.new_zeros(1), present])
    winners = _interpolated(probabilities[present], axes).max(0).indices
    labels[_box(axes)] = present[winners].to(torch.uint8).cpu().numpy()


def _box(axes: Sequence[_NativeVoxels]) -> tuple[slice, ...]:
    return tuple(slice(axis.first, axis.first + len(axis.lower)) for axis in axes)


@dataclass(frozen=True)
class _NativeVoxels:
    """The native voxels along one axis that a tile answers for, each between two voxels of the tile."""

    first: int
    lower: torch.Tensor
    upper: torch.Tensor
    upper_weight: torch.Tensor
    exact: bool

    @property
    def low(self) -> int:
        """The first voxel of the tile that is needed."""
        return int(self.lower[0])

    @property
    def high(self) -> int:
        """The last voxel of the tile that is needed."""
        return int(self.upper[-1])

    def near(self, occupied: torch.Tensor) -> _NativeVoxels:
        """Those from the first to the last that has one of the ``occupied`` voxels of the tile beside it."""
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


def _native_voxels(tile: Tile, axis: int, prepared: Prepared, size: int) -> _NativeVoxels:
    scale, offset = float(prepared.scale[axis]), float(prepared.offset[axis])
    length, network_length = prepared.native_shape[axis], prepared.image.shape[axis + 1]
    low, high = tile.own[axis]
    # A native voxel belongs to the network voxel nearest to its centre; those beyond the last one to the last one.
    first = 0 if low == 0 else max(0, int(np.ceil((low - 0.5 - offset) / scale)))
    last = length if high == network_length else min(length, int(np.ceil((high - 0.5 - offset) / scale)))
    native = torch.arange(first, max(first, last), dtype=torch.float64)
    position = (native * scale + offset).clamp_(0, network_length - 1) - tile.start[axis]
    position = position.clamp_(0, size - 1)
    lower = position.floor().long()
    upper = (lower + 1).clamp_(max=size - 1)
    return _NativeVoxels(first, lower, upper, (position - lower).float(), scale == 1 and length == network_length)


def _interpolated(values: torch.Tensor, axes: Sequence[_NativeVoxels]) -> torch.Tensor:
    """Trilinear interpolation of (C, I, J, K) at the native voxels: matrix products, as fast as the hardware can."""
    i, j, k = (axis.matrix().to(values.device) for axis in axes)
    values = torch.matmul(j, torch.matmul(values, k.T))
    return torch.matmul(i, values.flatten(2)).unflatten(2, values.shape[2:])
