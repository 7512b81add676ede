"""Applies a network to a whole image tile by tile; a sink receives the outputs.

The sink (:mod:`~MedDeepLib.inference.sinks`) reduces each tile's output at once to what the method needs, so nothing
else is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch

from MedDeepLib.data.preparation import Prepared
from MedDeepLib.errors import Stopped
from MedDeepLib.inference.sinks import Sink
from MedDeepLib.inference.tiles import foreground_hull, tiles

Result = TypeVar("Result")


@dataclass(frozen=True)
class TilingOptions:
    """How an image is cut into tiles.

    Attributes:
        size: voxels (I, J, K) of a tile.
        overlap: share by which neighbouring tiles overlap.
        batch_size: tiles that go through the network together.
        whole_image: send air through the network too.
        flip_axes: axes to average over mirrored copies of each tile.
        autocast: dtype of the forward pass, None for float32.
        window: of a classifier that is evaluated densely (:mod:`~MedDeepLib.inference.dense`), in voxels: it gets so
            many more voxels that it answers for all of the tile, and is right up to the border of the image, which is
            mirrored there. None: the network answers for the voxels that it gets.
        stride: voxels from one window to the next; the sink then gets a coarser grid, and ``size`` counts its voxels.
    """

    size: tuple[int, int, int]
    overlap: float = 0.25
    batch_size: int = 1
    whole_image: bool = False
    flip_axes: tuple[int, ...] = ()
    autocast: torch.dtype | None = None
    window: tuple[int, int, int] | None = None
    stride: tuple[int, int, int] = (1, 1, 1)

    def seen(self, start: tuple[int, int, int]) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
        """First voxel and size of what goes into the network for the tile that begins at ``start``."""
        if self.window is None:
            return start, self.size
        axes = zip(start, self.size, self.window, self.stride, strict=True)
        (i, n), (j, m), (k, o) = ((s * step - w // 2, (n - 1) * step + w) for s, n, w, step in axes)
        return (i, j, k), (n, m, o)


def apply_network(
    network: torch.nn.Module,
    prepared: Prepared,
    options: TilingOptions,
    device: torch.device,
    sink: Sink[Result],
    progress: Callable[[int, int], None] = lambda done, total: None,
    stop_requested: Callable[[], bool] = lambda: False,
) -> Result:
    """Apply a network to a whole case and return the sink's result.

    Args:
        network: takes (B, C, I, J, K) and returns (B, channels, I, J, K), or a list whose first entry is that; in
            evaluation mode. For tiles of a single slice it is a 2D network: neither has a K axis.
        prepared: the case on the network's grid.
        sink: reduces the output to the result.
        progress: called with the number of tiles done and their total number.

    Raises:
        Stopped: ``stop_requested`` returned True between two batches.
    """
    grid = _every(prepared, options.stride)
    sink.begin(grid)
    hull = None if options.whole_image else foreground_hull(grid.image)
    shape = tuple(grid.image.shape[1:])
    queue = tiles(shape, options.size, options.overlap, hull, sink.margin)
    with torch.inference_mode():
        for first in range(0, len(queue), options.batch_size):
            if stop_requested():
                raise Stopped
            group = queue[first : first + options.batch_size]
            batch = torch.stack([cut_tile(prepared.image, *options.seen(tile.start)) for tile in group])
            for tile, values in zip(group, _values(network, batch.to(device), options, sink), strict=True):
                sink.add(tile, values)
            progress(min(first + options.batch_size, len(queue)), len(queue))
        return sink.result()


def _every(prepared: Prepared, stride: tuple[int, int, int]) -> Prepared:
    """The case on the grid of every ``stride``-th voxel; its image is a view."""
    if stride == (1, 1, 1):
        return prepared
    i, j, k = stride
    return replace(
        prepared,
        image=prepared.image[:, ::i, ::j, ::k],
        affine=prepared.affine @ np.diag([i, j, k, 1.0]),
        scale=prepared.scale / stride,
        offset=prepared.offset / stride,
    )


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


def _values(network: torch.nn.Module, batch: torch.Tensor, options: TilingOptions, sink: Sink) -> torch.Tensor:
    """The sink's values for a batch of tiles, averaged over mirrored copies if there are any."""
    if not options.flip_axes:
        return sink.single(_forward(network, batch, options))
    total: Any = None
    for mask in range(2 ** len(options.flip_axes)):
        axes = [axis + 2 for n, axis in enumerate(options.flip_axes) if mask >> n & 1]
        answer = sink.activated(_forward(network, batch.flip(axes) if axes else batch, options))
        answer = answer.flip(axes) if axes else answer
        total = answer if total is None else total.add_(answer)
    return sink.mean(total, 2 ** len(options.flip_axes))


def _forward(network: torch.nn.Module, batch: torch.Tensor, options: TilingOptions) -> torch.Tensor:
    flat = batch.shape[-1] == 1  # a 2D network sees slices
    batch = batch[..., 0] if flat else batch
    with torch.autocast(batch.device.type, options.autocast, enabled=options.autocast is not None):
        output = network(batch)
    output = output[0] if isinstance(output, (list, tuple)) else output
    return output[..., None] if flat else output
