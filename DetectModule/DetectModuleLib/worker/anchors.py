"""Anchors of a RetinaNet: where its levels look, and for boxes of which shapes, as the findings of a dataset want it.

Boxes here are rows (2 D,) of corners in voxels, lowest first, as MONAI's functions take them; D is 2 or 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from MedDeepLib.errors import UserError

_VOXELS_PER_STRIDE = 2.0  # a typical small finding covers so many places of the finest level along each axis
_LARGEST_STRIDE = 8
_MOST_LEVELS = 3
_SPREAD = 1.25  # between anchors where the findings are all of one size
_ROUNDS = 25


@dataclass(frozen=True)
class Layout:
    """The levels of a network, the finest first.

    Attributes:
        strides: for each level, voxels between two places along each of the D axes.
        shapes: for each level the sizes of its anchors, (A, D) in voxels; every level has as many.
    """

    strides: tuple[tuple[int, ...], ...]
    shapes: tuple[tuple[tuple[float, ...], ...], ...]

    @property
    def dimensions(self) -> int:
        return len(self.strides[0])

    @property
    def anchors_per_place(self) -> int:
        return len(self.shapes[0])

    @property
    def largest(self) -> np.ndarray:
        """(D,) voxels of the largest anchor along each axis."""
        return np.max(np.concatenate([np.array(shapes) for shapes in self.shapes]), axis=0)

    def anchors(self, maps: Sequence[Sequence[int]], device: torch.device) -> torch.Tensor:
        """All anchors (N, 2 D) float32 for feature maps of these sizes: by level, place and shape."""
        found = []
        for size, stride, shapes in zip(maps, self.strides, self.shapes, strict=True):
            axes = [torch.arange(n, dtype=torch.float32, device=device) * s for n, s in zip(size, stride, strict=True)]
            places = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 1, len(stride))
            half = torch.tensor(shapes, dtype=torch.float32, device=device) / 2
            found.append(torch.cat([places - half, places + half], -1).flatten(0, 1))
        return torch.cat(found)

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "strides": [list(level) for level in self.strides],
            "shapes": [[list(shape) for shape in level] for level in self.shapes],
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Layout:
        """The layout from a model's metadata. Raises UserError when it is damaged."""
        try:
            strides = tuple(tuple(int(v) for v in level) for level in content["strides"])
            shapes = tuple(tuple(tuple(float(v) for v in shape) for shape in level) for level in content["shapes"])
        except (KeyError, TypeError, ValueError):
            raise UserError("The model's anchors are damaged: copy or train the model again.") from None
        return cls(strides, shapes)


def layout_for(sizes: np.ndarray, count: int, stride: int = 0) -> Layout:
    """The levels and anchors for findings of ``sizes`` (N, D) in voxels, N at least 1.

    The finest level has a place for about every half of a small finding (the 25th percentile), along each axis for
    itself, so that thick slices are not merged; there are more levels the more the sizes differ. Every level has
    ``count`` shapes, the means of the sizes of its findings (k-means of their logarithms).

    Args:
        stride: of the finest level along the axes where findings are largest; 0: by their sizes.
    """
    sizes = np.maximum(np.asarray(sizes, np.float64), 1.0)
    small, large = np.quantile(sizes, 0.25, axis=0), np.quantile(sizes, 0.95, axis=0)
    finest = np.array([min(_LARGEST_STRIDE, _power(length / _VOXELS_PER_STRIDE)) for length in small])
    if stride:
        finest = np.maximum(1, finest * stride // finest.max())
    ratio = float(np.exp(np.mean(np.log(large / small))))
    levels = 1 + int(np.clip(round(np.log2(ratio)), 0, _MOST_LEVELS - 1))
    coarsest = np.maximum(finest, [_power(length / _VOXELS_PER_STRIDE) for length in large])
    strides = list(
        dict.fromkeys(tuple(int(v) for v in np.minimum(finest * 2**level, coarsest)) for level in range(levels))
    )
    levels = len(strides)  # findings may be too small, along all axes, for a coarser one
    place = np.log2(np.exp(np.mean(np.log(sizes / small), axis=1)))
    level_of = np.clip(np.rint(place), 0, levels - 1).astype(int)
    shapes = []
    for level in range(levels):
        own = sizes[level_of == level]
        own = own if len(own) else small[None] * 2.0**level
        shapes.append(tuple(tuple(round(float(v), 2) for v in shape) for shape in _means(own, count)))
    return Layout(tuple(strides), tuple(shapes))


def _power(value: float) -> int:
    """The largest power of two that is not above ``value``; 1 at least."""
    return int(2 ** max(0, np.floor(np.log2(max(value, 1.0)))))


def _means(sizes: np.ndarray, count: int) -> np.ndarray:
    """``count`` typical sizes (count, D) by k-means of the logarithms, the smallest first."""
    values = np.log(sizes)
    order = np.argsort(values.sum(1), kind="stable")
    middles = values[order[((np.arange(count) + 0.5) / count * len(values)).astype(int)]]
    for _ in range(_ROUNDS):
        nearest = ((values[:, None] - middles) ** 2).sum(-1).argmin(1)
        middles = np.array([values[nearest == n].mean(0) if (nearest == n).any() else middles[n] for n in range(count)])
    middles = middles[np.argsort(middles.sum(1), kind="stable")]
    if count > 1 and np.ptp(middles, axis=0).max() < np.log(_SPREAD):  # findings of one size: anchors around it
        exponents = np.arange(count) - (count - 1) / 2
        middles = middles.mean(0) + exponents[:, None] * np.log(_SPREAD)
    return np.exp(middles)
