"""Searches a whole image with a RetinaNet, tile by tile; of each tile only its best boxes are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from MedDeepLib.data.geometry import spacing_of
from MedDeepLib.data.preparation import Prepared
from MedDeepLib.inference.sinks import Sink
from MedDeepLib.inference.tiles import Tile

from DetectModuleLib.worker.anchors import Layout
from DetectModuleLib.worker.boxes import suppressed
from DetectModuleLib.worker.retina_loss import coder, flattened
from DetectModuleLib.worker.slices import joined_slices

FLOOR = 0.02
"""Places with a lower score are no candidates."""
_MOST_IN_TILE = 256
_MOST_AT_ONCE = 5_000  # candidates of an image in memory
_SHORTEST_TILE = 16


@dataclass(frozen=True, eq=False)
class Candidates:
    """Boxes of an image, the highest score first.

    Attributes:
        rows: (N, 6) centre and size in voxels of the network's grid.
        scores: (N,) from 0 to 1.
        classes: (N,) indices.
    """

    rows: np.ndarray
    scores: np.ndarray
    classes: np.ndarray


class BestBoxes(torch.nn.Module):
    """A RetinaNet with its maps turned into boxes: (B, C, I, J[, K]) to (B, M, 2 + 2 D) score, class, corners."""

    def __init__(self, network: torch.nn.Module, layout: Layout, classes: int):
        super().__init__()
        self.network, self._layout, self._classes = network, layout, classes

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        output = self.network(image)
        scores, codes = flattened(output, self._classes, self._layout.dimensions)
        maps = [tuple(one.shape[2:]) for one in output["classification"]]
        anchors = self._layout.anchors(maps, image.device)
        best = scores.float().sigmoid().flatten(1).topk(min(_MOST_IN_TILE, scores[0].numel()), dim=1)
        found = []
        for number, places in enumerate(best.indices):
            anchor, kind = places // self._classes, places % self._classes
            boxes = coder(self._layout.dimensions).decode_single(codes[number][anchor].float(), anchors[anchor])
            found.append(torch.cat([best.values[number][:, None], kind[:, None].float(), boxes], 1))
        return torch.stack(found)


class BoxSink(Sink[Candidates]):
    """Collects the boxes of all tiles; of those that are one finding the best stays.

    Memory does not grow with the image: beyond 5,000 candidates those with the lowest scores are dropped, and said.
    """

    smallest_tile = _SHORTEST_TILE

    def __init__(self, layout: Layout, size: Sequence[int], overlap: float, distance: float = 0.0):
        """
        Args:
            size: voxels of a tile; tiles see half of the largest anchor around their own voxels, as far as that fits.
            overlap, distance: which boxes are one finding, see :func:`~DetectModuleLib.worker.boxes.suppressed`.
        """
        largest = int(np.ceil(layout.largest.max() / 2))
        lengths = [n for n in size if n > 1]
        self.margin = min(largest, min(lengths) // 4)
        self._reach = float(max(max(stride) for stride in layout.strides))
        self._overlap, self._distance = overlap, distance
        self._size = tuple(size)

    def begin(self, prepared: Prepared) -> None:
        self._shape = np.array(prepared.image.shape[1:])
        self._spacing = spacing_of(prepared.affine)
        self._found: list[np.ndarray] = []
        self._count, self._dropped = 0, 0

    def activated(self, output: torch.Tensor) -> torch.Tensor:
        return output

    def add(self, tile: Tile, values: torch.Tensor) -> None:
        """Boxes with their centre among the tile's own voxels or just beside, where two tiles may disagree."""
        rows = values.flatten(1).cpu().numpy().astype(np.float64)  # a tile of one slice has an axis more
        score, kind, corners = rows[:, 0], rows[:, 1], rows[:, 2:]
        low, high = np.split(corners, 2, axis=1)
        if low.shape[1] == 2:
            low, high = (np.column_stack([part, np.full(len(part), side)]) for part, side in ((low, -0.5), (high, 0.5)))
        center, size = (low + high) / 2 + tile.start, high - low
        first, last = np.array(tile.own, np.float64).T
        reach = np.where(self._shape > 1, self._reach, 0.0)
        first = np.maximum(first - reach, 0) - 0.5
        last = np.minimum(last + reach, self._shape) - 0.5
        if tile.own[2][1] - tile.own[2][0] == 1:
            first[2], last[2] = tile.own[2][0] - 0.5, tile.own[2][0] + 0.5
        kept = (score >= FLOOR) & ((center >= first) & (center <= last)).all(1) & np.isfinite(rows).all(1)
        self._found.append(np.column_stack([center, size, score, kind])[kept])
        self._count += int(kept.sum())
        if self._count > 2 * _MOST_AT_ONCE:
            self._thin_out()

    def result(self) -> Candidates:
        self._thin_out()
        rows = self._found[0]
        if self._in_slices:
            rows = joined_slices(rows, self._overlap)
        kept = suppressed(rows[:, :6], rows[:, 6], rows[:, 7], self._spacing, self._overlap, self._distance)
        return Candidates(rows[kept, :6], rows[kept, 6], rows[kept, 7].astype(int))

    def remarks(self) -> list[str]:
        if not self._dropped:
            return []
        return [
            f"The network sees findings nearly everywhere: the {self._dropped} candidates with the lowest scores were "
            "dropped to save memory. It may not have been trained long enough, or for other images."
        ]

    @property
    def _in_slices(self) -> bool:
        return self._size[2] == 1 and self._shape[2] > 1

    def _thin_out(self) -> None:
        """Leave out what is a finding twice, slice by slice in 2D, and the lowest scores beyond a limit."""
        rows = np.concatenate([np.zeros((0, 8)), *self._found])
        kept = suppressed(rows[:, :6], rows[:, 6], rows[:, 7], self._spacing, self._overlap)
        if len(kept) > _MOST_AT_ONCE:
            self._dropped += len(kept) - _MOST_AT_ONCE
            kept = kept[:_MOST_AT_ONCE]
        self._found, self._count = [rows[kept]], len(kept)
