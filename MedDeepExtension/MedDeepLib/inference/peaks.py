"""Peaks of heatmaps: landmarks, or the centres of objects, found tile by tile, as if in the whole image at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

from MedDeepLib.data.preparation import Prepared
from MedDeepLib.inference.sinks import ActivatedSink, Activation
from MedDeepLib.inference.tiles import Tile

# Of a candidate's 3 x 3 x 3 neighbourhood in C order: itself, and the steps to its neighbours along each axis.
_CENTER, _STRIDES = 13, (9, 3, 1)
# Columns of a candidate: channel, value, how many of its voxels are a tile's own, mean sub-voxel position, first and
# last voxel of its box; the carried values follow.
_CHANNEL, _VALUE, _COUNT, _POSITION, _LOW, _HIGH, _CARRIED = 0, 1, 2, slice(3, 6), slice(6, 9), slice(9, 12), 12


@dataclass(frozen=True, eq=False)
class FoundPeaks:
    """Local maxima, the highest first.

    Attributes:
        channels: (N,) channel of the network's output.
        values: (N,) float32, at the highest voxel.
        points: (N, 3) float64, RAS in mm.
        carried: (N, M) float32, the values of the ``carried`` channels at the same voxel.
        truncated: channels that have more peaks than were kept.
    """

    channels: np.ndarray
    values: np.ndarray
    points: np.ndarray
    carried: np.ndarray
    truncated: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.values)


class Peaks(ActivatedSink[FoundPeaks]):
    """Local maxima above a threshold, on the network's grid: higher than all 26 neighbours.

    Positions are refined by a parabola through the neighbours along each axis. Connected voxels of equal value are one
    peak, at their mean position. A peak is found once, whichever tiles see it: tiles overlap by a few voxels, and of
    two adjacent candidates the higher one stays. Slices of a network in 2D are searched as a volume. Voxels that no
    tile covers (air) count as lower than any. Memory does not grow with the image.
    """

    margin = 2
    smallest_tile = 3

    def __init__(
        self,
        channels: Sequence[int],
        activation: Activation = "softmax",
        threshold: float = 0.5,
        distance: float = 0.0,
        most: int = 100,
        carried: Sequence[int] = (),
    ):
        """
        Args:
            threshold: on values after the activation; a peak is above it.
            distance: in mm; of peaks of one channel that are closer, only the highest stays.
            most: peaks of each channel, at most.
            carried: further channels whose values at the peak are returned, without activation (the size of an object).
        """
        super().__init__(channels, activation)
        self.threshold, self.distance, self.most, self.carried = threshold, distance, most, tuple(carried)

    def begin(self, prepared: Prepared) -> None:
        self._prepared = prepared
        self._found = np.zeros((0, _CARRIED + len(self.carried)))
        self._truncated: set[int] = set()
        self._before: tuple[Tile, torch.Tensor] | None = None  # of a network in 2D, the last slice but one
        self._waiting: tuple[Tile, torch.Tensor] | None = None  # and the last one, which waits for the next

    def activated(self, output: torch.Tensor) -> torch.Tensor:
        values = super().activated(output)
        return torch.cat([values, output[:, list(self.carried)].float()], 1) if self.carried else values

    def add(self, tile: Tile, values: torch.Tensor) -> None:
        """Raises ValueError for tiles of two voxels, or of one along another axis than K."""
        if values.shape[3] == 1:
            self._add_slice(tile, values)
            return
        self._search(values, tile.start, tile.own)

    def result(self) -> FoundPeaks:
        self._finish_slice(None)
        self._before = self._waiting = None
        self._thin_out(self.most, self.distance)
        found = self._found[np.argsort(-self._found[:, _VALUE], kind="stable")]
        affine = self._prepared.affine
        return FoundPeaks(
            channels=np.array(self.channels)[found[:, _CHANNEL].astype(int)],
            values=found[:, _VALUE].astype(np.float32),
            points=found[:, _POSITION] @ affine[:3, :3].T + affine[:3, 3],
            carried=found[:, _CARRIED:].astype(np.float32),
            truncated=tuple(sorted(self.channels[number] for number in self._truncated)),
        )

    def remarks(self) -> list[str]:
        if not self._truncated:
            return []
        names = ", ".join(str(channel) for channel in sorted(self.channels[number] for number in self._truncated))
        return [
            f"More than {self.most} peaks were found in channel {names}: only the {self.most} highest are kept. A "
            "higher threshold leaves fewer."
        ]

    def _add_slice(self, tile: Tile, values: torch.Tensor) -> None:
        """Keep a slice until its neighbours are known; slices of one column come one after the other."""
        follows = self._waiting is not None and _is_next(self._waiting[0], tile)
        self._finish_slice((tile, values) if follows else None)
        self._before = self._waiting if follows else None
        self._waiting = (tile, values)

    def _finish_slice(self, after: tuple[Tile, torch.Tensor] | None) -> None:
        if self._waiting is None:
            return
        slab = [slice_ for slice_ in (self._before, self._waiting, after) if slice_ is not None]
        tile = self._waiting[0]
        values = torch.cat([values for _, values in slab], 3)
        self._search(values, (*tile.start[:2], slab[0][0].start[2]), tile.own, in_2d=True)

    def _search(self, values: torch.Tensor, start, own, in_2d: bool = False) -> None:
        """Find the candidates of ``own`` voxels, and of those next to them, in values (C, I, J, K) from ``start``."""
        shape = self._prepared.image.shape[1:]
        seen = [(max(s, 0), min(s + n, m)) for s, n, m in zip(start, values.shape[1:], shape, strict=True)]
        values = values[(slice(None), *(slice(a - s, b - s) for s, (a, b) in zip(start, seen, strict=True)))]
        for axis, (length, whole) in enumerate(zip(values.shape[1:], shape, strict=True)):
            if length < min(3, whole) and not (axis == 2 and in_2d):
                raise ValueError(f"Peaks need tiles of three voxels at least along each axis, not {length}.")
        region = [
            own[axis] if in_2d and axis == 2 else _searched(own[axis], seen[axis], shape[axis]) for axis in range(3)
        ]
        origin = np.array([low for low, _ in seen])
        for channel in range(len(self.channels)):
            voxels = _local_maxima(values[channel], self.threshold)
            voxels = voxels[_inside(voxels + origin, region)]
            if len(voxels):
                rows = self._candidates(channel, values, voxels, origin, own)
                self._found = np.concatenate([self._found, rows])
        spare = 4 * self.most  # more than are wanted, as some may be too close to a higher one that is yet to come
        if len(self._found) > 4 * spare * len(self.channels):
            self._thin_out(spare, 0.0)

    def _candidates(self, channel: int, values: torch.Tensor, voxels: np.ndarray, origin, own) -> np.ndarray:
        """One row for each connected part of ``voxels`` (N, 3), the local maxima of a channel of a tile."""
        around = _neighbourhoods(values[channel], torch.from_numpy(voxels).to(values.device))
        position = voxels + origin + _sub_voxel(around).cpu().numpy()
        is_own = _inside(voxels + origin, own)
        part = _connected(voxels)
        order = np.argsort(part, kind="stable")
        rows = []
        for members in np.split(order, np.flatnonzero(np.diff(part[order])) + 1):
            counted = members[is_own[members]]
            i, j, k = voxels[members[0]]
            carried = values[len(self.channels) :, i, j, k].tolist()
            rows.append(
                [
                    channel,
                    float(around[members[0], _CENTER]),
                    len(counted),
                    *position[counted if len(counted) else members].mean(0),
                    *(voxels[members].min(0) + origin),
                    *(voxels[members].max(0) + origin),
                    *carried,
                ]
            )
        return np.array(rows)

    def _thin_out(self, most: int, distance: float) -> None:
        """Keep up to ``most`` candidates of each channel, the highest first, and none beside a higher one."""
        kept = []
        spacing = self._prepared.affine[:3, :3]
        for channel in range(len(self.channels)):
            rows = self._found[self._found[:, _CHANNEL] == channel]
            i, j, k = rows[:, _LOW].T
            rows = rows[np.lexsort((k, j, i, -rows[:, _VALUE]))]
            count = 0
            while len(rows):
                if count == most:
                    self._truncated.add(channel)
                    break
                peak, rows = _joined(rows)
                kept.append(peak)
                count += 1
                apart = np.linalg.norm((rows[:, _POSITION] - peak[_POSITION]) @ spacing.T, axis=1)
                rows = rows[apart >= distance]
        self._found = np.array(kept).reshape(-1, self._found.shape[1])


def _joined(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first candidate merged with its parts from other tiles, and the remaining candidates."""
    peak, rows = rows[0].copy(), rows[1:]
    beside = np.abs(rows[:, _LOW] - peak[_LOW]).max(1, initial=0) <= 1
    beside &= np.abs(rows[:, _HIGH] - peak[_HIGH]).max(1, initial=0) <= 1
    lower = beside & (rows[:, _VALUE] < peak[_VALUE])
    rows = rows[~lower]  # seen by a tile that disagrees
    while True:
        touches = (rows[:, _LOW] <= peak[_HIGH] + 1).all(1) & (rows[:, _HIGH] >= peak[_LOW] - 1).all(1)
        touches &= rows[:, _VALUE] == peak[_VALUE]
        if not touches.any():
            return peak, rows
        parts = np.vstack([peak[None], rows[touches]])
        if parts[:, _COUNT].any():
            peak[_POSITION] = np.average(parts[:, _POSITION], axis=0, weights=parts[:, _COUNT])
        peak[_COUNT] = parts[:, _COUNT].sum()
        peak[_LOW], peak[_HIGH] = parts[:, _LOW].min(0), parts[:, _HIGH].max(0)
        rows = rows[~touches]


def _is_next(one: Tile, other: Tile) -> bool:
    """Whether a slice lies directly above another one of the same column."""
    return one.start[:2] == other.start[:2] and one.start[2] + 1 == other.start[2]


def _searched(own: tuple[int, int], seen: tuple[int, int], length: int) -> tuple[int, int]:
    """First and last+1 voxel that is searched: one more on each side than the tile's own where it sees beyond that.

    Two tiles may see a peak at their border one voxel apart, so both search there.
    """
    low = max(own[0] - 1, seen[0] + (seen[0] > 0))
    high = min(own[1] + 1, seen[1] - (seen[1] < length))
    return min(low, own[0]), max(high, own[1])


def _inside(voxels: np.ndarray, box) -> np.ndarray:
    low, high = np.array(box).T
    return ((voxels >= low) & (voxels < high)).all(1)


def _local_maxima(values: torch.Tensor, threshold: float) -> np.ndarray:
    """Voxels (N, 3) of (I, J, K) above the threshold of which no connected voxel of the same value has a higher one."""
    from skimage.morphology import local_maxima

    above = (values > threshold).nonzero()
    if not len(above):
        return np.zeros((0, 3), int)
    low, high = above.min(0).values.tolist(), (above.max(0).values + 1).tolist()
    block = values[tuple(slice(a, b) for a, b in zip(low, high, strict=True))].cpu().numpy()
    # Whatever lies around the block is lower.
    block = np.pad(np.where(block > threshold, block, -np.inf), 1, constant_values=-np.inf)
    return np.argwhere(local_maxima(block, connectivity=3) & np.isfinite(block)) - 1 + low


def _connected(voxels: np.ndarray) -> np.ndarray:
    """The number (N,) of the connected part that each voxel (N, 3) belongs to."""
    low = voxels.min(0)
    mask = np.zeros(voxels.max(0) - low + 1, bool)
    mask[tuple((voxels - low).T)] = True
    labelled: Any = ndimage.label(mask, np.ones((3, 3, 3)))
    return labelled[0][tuple((voxels - low).T)]


def _neighbourhoods(values: torch.Tensor, voxels: torch.Tensor) -> torch.Tensor:
    """The 3 x 3 x 3 values around voxels (N, 3) of (I, J, K): (N, 27), -inf outside."""
    padded = F.pad(values, (1, 1, 1, 1, 1, 1), value=-torch.inf)
    step = torch.arange(3, device=values.device)
    around = (grid.ravel() for grid in torch.meshgrid(step, step, step, indexing="ij"))
    return padded[tuple(column[:, None] + offset for column, offset in zip(voxels.T, around, strict=True))]


def _sub_voxel(around: torch.Tensor) -> torch.Tensor:
    """Where the parabola through a peak and its two neighbours along each axis is highest: (N, 3) in -0.5 to 0.5."""
    offsets = []
    center = around[:, _CENTER]
    for stride in _STRIDES:
        below, above = around[:, _CENTER - stride], around[:, _CENTER + stride]
        offset = 0.5 * (below - above) / (below - 2 * center + above)
        offsets.append(torch.where(offset.isfinite(), offset, 0.0).clamp(-0.5, 0.5))
    return torch.stack(offsets, 1)
