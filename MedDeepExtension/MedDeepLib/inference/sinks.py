"""Sinks process a network's output, tile by tile: label maps or scores here, peaks in
:mod:`~MedDeepLib.inference.peaks`. A method chooses its sink.

    labels = apply_network(network, prepared, options, device, Labels())
    heatmap = apply_network(network, prepared, options, device, Scores([1], "sigmoid"))
    found = apply_network(network, prepared, options, device, Peaks([1], "sigmoid", threshold=0.5))

Arrays have the native grid of the case with its axes in the network's order;
:meth:`~MedDeepLib.data.preparation.Prepared.to_native` brings them into the case's own order.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, Literal, TypeVar

import numpy as np
import torch

from MedDeepLib.data.preparation import Prepared
from MedDeepLib.devices import preflight
from MedDeepLib.errors import NotEnoughMemory, UserError
from MedDeepLib.inference.native import at_native_voxels, box, interpolated, native_voxels
from MedDeepLib.inference.tiles import Tile

Result = TypeVar("Result")
Activation = Literal["softmax", "sigmoid", "none"]

_LARGEST_FLOAT16 = 65504.0
# Of a tile's Gaussian weights, as in nnU-Net; and the least weight, so that corners count where nothing else does.
_SIGMA, _LEAST_WEIGHT = 1 / 8, 1e-3


class Sink(ABC, Generic[Result]):
    """Collects the network's outputs for one case and makes the result from them.

    Attributes:
        margin: voxels around its own ones that a tile should see, as far as its size allows.
        smallest_tile: the fewest voxels along an axis of a tile, apart from the single slice of a network in 2D.
    """

    margin: int = 0
    smallest_tile: int = 1

    @abstractmethod
    def begin(self, prepared: Prepared) -> None:
        """Start a case, or restart the same one; earlier values are discarded."""

    @abstractmethod
    def activated(self, output: torch.Tensor) -> torch.Tensor:
        """The values to average over mirrored copies, from a network's output (B, C, I, J, K)."""

    def mean(self, total: torch.Tensor, copies: int) -> torch.Tensor:
        """What :meth:`add` gets, from the sum of :meth:`activated` over mirrored copies; ``total`` may be changed."""
        return total.div_(copies)

    def single(self, output: torch.Tensor) -> torch.Tensor:
        """What :meth:`add` gets where nothing is mirrored."""
        return self.activated(output)

    @abstractmethod
    def add(self, tile: Tile, values: torch.Tensor) -> None:
        """Take the values (C, I, J, K) of one tile; tiles come sorted by their first voxels."""

    @abstractmethod
    def result(self) -> Result:
        """The result when all tiles have been added."""

    def remarks(self) -> list[str]:
        """Sentences on what the result leaves out, to be reported once."""
        return []


class Labels(Sink[np.ndarray]):
    """The most probable class of every voxel: (I, J, K), uint8, or uint16 for more than 256 classes.

    Each tile becomes labels at once, so memory does not grow with the number of classes. Probabilities are interpolated
    from the network's grid to the native one, so borders are smooth even if the network's grid is coarse. Voxels that
    no tile covers (air) are background, 0.
    """

    def begin(self, prepared: Prepared) -> None:
        self._prepared = prepared
        self._labels = np.zeros(prepared.native_shape, np.uint8)

    def activated(self, output: torch.Tensor) -> torch.Tensor:
        return output.softmax(1)

    def mean(self, total: torch.Tensor, copies: int) -> torch.Tensor:
        return total.log_()  # scores again, of which add takes the softmax

    def single(self, output: torch.Tensor) -> torch.Tensor:
        return output

    def add(self, tile: Tile, values: torch.Tensor) -> None:
        if len(values) > 256 and self._labels.dtype == np.uint8:
            self._labels = self._labels.astype(np.uint16)
        classes = values.max(0).indices  # several times faster than argmax on a CPU
        axes = native_voxels(tile.start, tile.own, values.shape[1:], self._prepared)
        if all(axis.exact for axis in axes):
            part = classes[tuple(slice(int(axis.lower[0]), int(axis.lower[-1]) + 1) for axis in axes)]
            self._write(axes, part)
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
            if not len(axes[number]):
                return
        probabilities = values[(slice(None), *(slice(axis.low, axis.high + 1) for axis in axes))].float().softmax(0)
        present = torch.cat([present.new_zeros(1), present])
        winners = interpolated(probabilities[present], axes).max(0).indices
        self._write(axes, present[winners])

    def result(self) -> np.ndarray:
        return self._labels

    def _write(self, axes, classes: torch.Tensor) -> None:
        dtype = torch.uint8 if self._labels.dtype == np.uint8 else torch.int32
        self._labels[box(axes)] = classes.to(dtype).cpu().numpy()


class ActivatedSink(Sink[Result]):
    """A sink of chosen channels after an activation; mirrored copies are averaged after the activation.

    Channels must keep their meaning when the image is mirrored; components of vectors do not.
    """

    def __init__(self, channels: Sequence[int], activation: Activation = "softmax"):
        """
        Args:
            channels: of the network's output, in the order of the result.
            activation: "softmax" over all channels, "sigmoid" of each, or "none" (regression).
        """
        self.channels, self.activation = tuple(channels), activation

    def activated(self, output: torch.Tensor) -> torch.Tensor:
        output, wanted = output.float(), list(self.channels)
        if self.activation == "softmax":
            return output.softmax(1)[:, wanted]
        return output[:, wanted].sigmoid() if self.activation == "sigmoid" else output[:, wanted]


class Scores(ActivatedSink[np.ndarray]):
    """Probabilities or regression values of chosen channels: (channels, I, J, K), float32 or float16.

    They are interpolated linearly from the network's grid to the native one. Takes as much memory as the result,
    and one float32 channel more where tiles are blended (:meth:`bytes`).
    """

    def __init__(
        self,
        channels: Sequence[int],
        activation: Activation = "softmax",
        blend: bool = True,
        dtype: type[np.floating] = np.float32,
        outside: float | Sequence[float] | None = None,
    ):
        """
        Args:
            blend: where tiles overlap, the mean weighted by a Gaussian about each tile's centre; otherwise the value
                of the tile in which a voxel lies most centrally.
            dtype: np.float32 or np.float16.
            outside: value, or one a channel, of voxels that no tile covers (air); None: 1 for channel 0 of a softmax,
                which is background, and 0 otherwise.
        """
        super().__init__(channels, activation)
        self.blend, self.dtype = blend, np.dtype(dtype)
        if outside is None:
            outside = [float(activation == "softmax" and channel == 0) for channel in self.channels]
        self.outside = np.broadcast_to(np.asarray(outside, np.float32), (len(self.channels),))

    def bytes(self, prepared: Prepared) -> int:
        """The memory that the result of a case takes while it is made."""
        voxels = int(np.prod(prepared.native_shape, dtype=np.int64))
        return voxels * (len(self.channels) * self.dtype.itemsize + 4 * self.blend)

    def begin(self, prepared: Prepared) -> None:
        """Raises NotEnoughMemory when this computer cannot hold the result."""
        self._scores: Any = None  # of an earlier attempt
        self._weights: Any = None
        needed, free = self.bytes(prepared), preflight.free_bytes(torch.device("cpu"))
        if needed > free:
            size = preflight.size_in_words(prepared.native_shape)
            raise NotEnoughMemory(
                f"The scores of {len(self.channels)} channels on {size} voxels take {preflight.gigabytes(needed)} of "
                f"memory, and {preflight.gigabytes(free)} are free: close other programs, or ask for fewer channels or "
                "float16."
            )
        self._prepared = prepared
        self._scores = np.empty((len(self.channels), *prepared.native_shape), self.dtype)
        self._scores[:] = self.outside[:, None, None, None]
        self._weights = np.zeros(prepared.native_shape, np.float32) if self.blend else None

    def add(self, tile: Tile, values: torch.Tensor) -> None:
        size, shape = values.shape[1:], self._prepared.image.shape[1:]
        extent = tile.own
        if self.blend:
            extent = [_seen(s, n, m, own) for s, n, m, own in zip(tile.start, size, shape, tile.own, strict=True)]
        axes = native_voxels(tile.start, extent, size, self._prepared)
        if not all(map(len, axes)):
            return
        where = box(axes)
        share = self._share(where, axes, size)
        for number in range(len(values)):  # one by one: a fine native grid takes memory
            part = at_native_voxels(values[number : number + 1], axes)[0].cpu().numpy()
            self._check_range(part)
            scores = self._scores[number][where]
            if share is None:
                scores[:] = part
            else:
                scores *= 1 - share
                scores += share * part

    def result(self) -> np.ndarray:
        self._weights = None
        return self._scores

    def _share(self, where, axes, size) -> np.ndarray | None:
        """The weight of the tile against all tiles before it: a running mean, which needs no separate sum."""
        if not self.blend:
            return None
        i, j, k = (_weights(axis.lower + axis.upper_weight, n) for axis, n in zip(axes, size, strict=True))
        weights = i[:, None, None] * j[:, None] * k
        total = self._weights[where]
        total += weights
        return weights / total

    def _check_range(self, part: np.ndarray) -> None:
        if self.dtype == np.float16 and part.size and not np.abs(part).max() <= _LARGEST_FLOAT16:
            raise UserError(f"The network's values exceed {_LARGEST_FLOAT16:g}, the range of float16: ask for float32.")


def _seen(start: int, size: int, length: int, own: tuple[int, int]) -> tuple[int, int]:
    """First and last+1 voxel along an axis that a tile has values for, between voxels of its own."""
    low, high = max(start, 0), min(start + size, length)
    # Beyond a tile's outermost voxel nothing can be interpolated; the neighbouring tile covers that part.
    return min(own[0], low + (low > 0)), max(own[1], high - (high < length))


def _weights(position: torch.Tensor, size: int) -> np.ndarray:
    """Gaussian weights of positions in voxels along one axis of a tile."""
    distance = (position.numpy() - (size - 1) / 2) / (size * _SIGMA)
    return np.maximum(np.exp(-0.5 * distance**2), _LEAST_WEIGHT).astype(np.float32)
