"""Candidates: places that may hold a finding, which a cascade proposes and then judges."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch


@dataclass(frozen=True, eq=False)
class Candidates:
    """Places in one case, the likeliest first.

    Attributes:
        points: (N, 3) float64, RAS mm.
        scores: (N,) float32, 0 to 1.
        diameters: (N,) float32, mm.
        classes: (N,) int, index of the class.
    """

    points: np.ndarray
    scores: np.ndarray
    diameters: np.ndarray
    classes: np.ndarray

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, index) -> Candidates:
        return Candidates(*(getattr(self, each.name)[index] for each in fields(self)))

    @classmethod
    def empty(cls) -> Candidates:
        return cls.at(np.zeros((0, 3)))

    @classmethod
    def at(
        cls,
        points: np.ndarray,
        scores: np.ndarray | float = 1.0,
        diameters: np.ndarray | float = 0.0,
        classes: np.ndarray | int = 0,
    ) -> Candidates:
        """Candidates at points (N, 3); the others are (N,) or one number for all."""
        points = np.asarray(points, np.float64).reshape(-1, 3)
        count = len(points)
        return cls(
            points,
            np.broadcast_to(np.asarray(scores, np.float32), count),
            np.broadcast_to(np.asarray(diameters, np.float32), count),
            np.broadcast_to(np.asarray(classes, np.int64), count),
        )

    def tensors(self) -> dict[str, torch.Tensor]:
        """As an item of a DataStage."""
        return {each.name: torch.from_numpy(np.array(getattr(self, each.name))) for each in fields(self)}

    @classmethod
    def from_tensors(cls, item: dict[str, torch.Tensor]) -> Candidates:
        return cls(*(item[each.name].numpy() for each in fields(cls)))

    def voxels(self, affine: np.ndarray) -> np.ndarray:
        """(N, 3) positions on a grid, IJK to RAS."""
        inverse = np.linalg.inv(affine)
        return self.points @ inverse[:3, :3].T + inverse[:3, 3]


def judged(voxels: np.ndarray, boxes: np.ndarray, classes: np.ndarray, tolerance: float = 1.0) -> np.ndarray:
    """What candidates at voxels (N, 3) show: 1 + the class of the nearest box they lie in, 0 nothing, -1 undecided.

    Undecided are those beside a box: within twice its size, where a window still shows much of the lesion.

    Args:
        boxes: (M, 6) centre and size in voxels of the same grid; ``classes`` (M,) are their classes.
        tolerance: voxels by which a candidate may miss a box.
    """
    labels = np.zeros(len(voxels), int)
    if not len(boxes) or not len(voxels):
        return labels
    apart = np.abs(voxels[:, None] - boxes[None, :, :3])
    half = boxes[None, :, 3:] / 2
    labels[np.any(np.all(apart <= 2 * half + tolerance, 2), 1)] = -1
    within = np.all(apart <= half + tolerance, 2)
    distance = np.where(within, np.linalg.norm(apart, axis=2), np.inf)
    hit = np.any(within, 1)
    labels[hit] = 1 + np.asarray(classes)[distance.argmin(1)[hit]]
    return labels


def thinned(points: np.ndarray, scores: np.ndarray, distance: float, most: int) -> np.ndarray:
    """Indices (M,) of the points (N, 3) that stay: the highest score first, none within ``distance`` of a higher one.

    Non-maxima suppression, in the unit of the points.
    """
    kept, left = [], np.argsort(-scores, kind="stable")
    while len(left) and len(kept) < most:
        best, left = left[0], left[1:]
        kept.append(int(best))
        left = left[np.linalg.norm(points[left] - points[best], axis=1) >= distance]
    return np.array(kept, int)
