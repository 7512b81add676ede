"""Boxes in voxels of a grid: from and to boxes in space, how far they overlap, and which of them are one finding.

A *voxel box* is a row (6,): centre i, j, k and size i, j, k in voxels of a grid, along its axes. A voxel's centre is a
whole number. Outside this package boxes are in RAS mm, with axes of their own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from MedDeepLib.data.geometry import spacing_of
from MedDeepLib.data.sources.boxes import Box, right_handed

_TURNED = 5.0  # degrees
_EMPTY = np.zeros((0, 6))


def to_voxels(boxes: Sequence[Box], affine: np.ndarray) -> np.ndarray:
    """Voxel boxes (N, 6) float64 on a grid with ``affine`` (4x4, IJK to RAS mm).

    A box whose axes are not the grid's becomes the smallest voxel box around it.
    """
    if not boxes:
        return _EMPTY.copy()
    to_index = np.linalg.inv(affine)
    rows = []
    for box in boxes:
        half = np.abs(to_index[:3, :3] @ (box.axes * box.size)).sum(1) / 2
        rows.append([*(to_index[:3, :3] @ box.center + to_index[:3, 3]), *(2 * half)])
    return np.array(rows, np.float64)


def turned(boxes: Sequence[Box], affine: np.ndarray) -> int:
    """How many of the boxes are turned against the grid's axes by more than 5 degrees, so that they grow on it."""
    axes = affine[:3, :3] / spacing_of(affine)
    cosines = [np.abs(axes.T @ box.axes).max(0).min() for box in boxes]
    return sum(float(np.degrees(np.arccos(min(1.0, cosine)))) > _TURNED for cosine in cosines)


def to_space(
    rows: np.ndarray, affine: np.ndarray, classes: Sequence[str], scores: Sequence[float] | np.ndarray
) -> list[Box]:
    """Boxes in RAS mm, with the grid's axes as their own, of voxel boxes (N, 6)."""
    spacing = spacing_of(affine)
    axes = right_handed(affine[:3, :3] / spacing)
    return [
        Box(affine[:3, :3] @ row[:3] + affine[:3, 3], row[3:] * spacing, axes, class_name=name, score=float(score))
        for row, name, score in zip(np.asarray(rows, np.float64), classes, scores, strict=True)
    ]


def faces(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest corner (N, 3) of voxel boxes (N, 6)."""
    return rows[:, :3] - rows[:, 3:] / 2, rows[:, :3] + rows[:, 3:] / 2


def iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union (N, M) of voxel boxes (N, 6) and (M, 6); it is the same in voxels and in mm."""
    (low, high), (other_low, other_high) = faces(first), faces(second)
    shared = np.minimum(high[:, None], other_high) - np.maximum(low[:, None], other_low)
    shared = np.clip(shared, 0, None).prod(-1)
    union = first[:, None, 3:].prod(-1) + second[None, :, 3:].prod(-1) - shared
    return shared / np.maximum(union, 1e-12)


def suppressed(
    rows: np.ndarray,
    scores: np.ndarray,
    classes: np.ndarray,
    spacing: np.ndarray,
    overlap: float,
    distance: float = 0.0,
    most: int | None = None,
) -> np.ndarray:
    """Non-maximum suppression: indices (M,) of the boxes that stay, the highest score first.

    Args:
        rows: (N, 6) voxel boxes; scores, classes: (N,).
        spacing: (3,) voxel size in mm.
        overlap: of two boxes of a class with a larger intersection over union, the one with the higher score stays.
        distance: the same for centres closer than this, in mm.
        most: that stay at most.

    Only neighbours are compared, so that time grows with the number of boxes that are close to each other.
    """
    kept: list[int] = []
    if not len(rows):
        return np.array(kept, int)
    from scipy.spatial import KDTree

    # Boxes that overlap are nearer than the largest box is long, along every axis.
    unit = rows[:, 3:].max(0)
    tree = KDTree(rows[:, :3] / unit)
    reach = max(1.0, float((distance / (unit * spacing)).max()))
    left = np.ones(len(rows), bool)
    for best in np.lexsort((np.arange(len(scores)), -scores)):
        if not left[best]:
            continue
        kept.append(int(best))
        if len(kept) == most:
            break
        near = np.array(tree.query_ball_point(rows[best, :3] / unit, reach, p=np.inf))
        same = iou(rows[best][None], rows[near])[0] > overlap
        if distance > 0:
            same |= np.linalg.norm((rows[near, :3] - rows[best, :3]) * spacing, axis=1) < distance
        left[near[same & (classes[near] == classes[best])]] = False
    return np.array(kept, int)
