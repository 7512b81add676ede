"""From boxes in single slices to boxes in a volume: those that lie above each other are one finding."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from DetectModuleLib.worker.boxes import iou

_LARGEST_GAP = 2  # slices from one box to the next: one slice between them may be missed
_SCORE, _CLASS = 6, 7


def joined_slices(rows: np.ndarray, overlap: float) -> np.ndarray:
    """Boxes (M, 8) of a volume, from boxes (N, 8) of its slices: centre, size, score, class; sizes along K are 1.

    Two boxes of a class that overlap within the plane by more than ``overlap`` (intersection over union) and are at
    most two slices apart belong together. Faces within the plane are the means of those of the slices, weighted by
    score; the score is the highest.
    """
    if not len(rows):
        return rows
    slices = np.rint(rows[:, 2]).astype(int)
    pairs = [np.zeros((0, 2), int)]
    members = {number: np.flatnonzero(slices == number) for number in np.unique(slices)}
    for number, own in members.items():
        for gap in range(1, _LARGEST_GAP + 1):
            above = members.get(number + gap)
            if above is None:
                continue
            linked = iou(_flat(rows[own]), _flat(rows[above])) > overlap
            linked &= rows[own, _CLASS][:, None] == rows[above, _CLASS]
            first, second = np.nonzero(linked)
            pairs.append(np.column_stack([own[first], above[second]]))
    first, second = np.concatenate(pairs).T
    graph = coo_matrix((np.ones(len(first)), (first, second)), shape=(len(rows), len(rows)))
    _, part = connected_components(graph, directed=False)
    return np.array([_joined(rows[part == number]) for number in np.unique(part)])


def _joined(rows: np.ndarray) -> np.ndarray:
    low = np.average(rows[:, :3] - rows[:, 3:6] / 2, axis=0, weights=rows[:, _SCORE])
    high = np.average(rows[:, :3] + rows[:, 3:6] / 2, axis=0, weights=rows[:, _SCORE])
    low[2], high[2] = rows[:, 2].min() - 0.5, rows[:, 2].max() + 0.5
    return np.array([*(low + high) / 2, *(high - low), rows[:, _SCORE].max(), rows[0, _CLASS]])


def _flat(rows: np.ndarray) -> np.ndarray:
    """The boxes as if all were in one slice."""
    flat = rows[:, :6].copy()
    flat[:, 2], flat[:, 5] = 0.0, 1.0
    return flat
