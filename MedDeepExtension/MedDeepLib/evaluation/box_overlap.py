"""Intersection over union of boxes in millimetres, oriented in any way, in two or three dimensions.

Everything here is exact up to rounding: boxes with common axes by their overlap along each axis, all others by clipping
the faces of each box by the planes of the other. Nothing is sampled.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

_COMMON_AXES = 1e-9  # how far a matrix may be from a permutation of the axes
_COPLANAR = 1e-9  # of a box's longest edge
_AROUND = np.array([[-1.0, 1.0, 1.0, -1.0], [-1.0, -1.0, 1.0, 1.0]])


class BoxLike(Protocol):
    """``MedDeepLib.data.sources.boxes.Box``, or the same in two dimensions.

    Attributes:
        center: (D,) mm.
        size: (D,) edge lengths in mm along the box's own axes.
        axes: (D, D), orthonormal; the columns are its axes.
    """

    @property
    def center(self) -> np.ndarray: ...

    @property
    def size(self) -> np.ndarray: ...

    @property
    def axes(self) -> np.ndarray: ...


def intersection_over_union(boxes: Sequence[BoxLike], others: Sequence[BoxLike]) -> np.ndarray:
    """(N, M) intersection over union of N boxes with M others, from 0 to 1.

    Boxes that share nothing but a face, an edge or a corner have 0. Left-handed axes are legal: a box is symmetric.
    """
    result = np.zeros((len(boxes), len(others)))
    if not result.size:
        return result
    (low, high), (other_low, other_high) = _extents(boxes), _extents(others)
    near = ((low[:, None] < other_high) & (other_low < high[:, None])).all(-1)
    for n, m in np.argwhere(near):
        shared = intersection(boxes[n], others[m])
        result[n, m] = shared / (np.prod(boxes[n].size) + np.prod(others[m].size) - shared)
    return result


def intersection(box: BoxLike, other: BoxLike) -> float:
    """What two boxes share: an area in mm2 or a volume in mm3."""
    turn = np.asarray(box.axes, float).T @ other.axes  # the other's axes as the box sees them
    offset = np.asarray(box.axes, float).T @ (np.asarray(other.center, float) - box.center)
    half, other_half = np.asarray(box.size, float) / 2, np.asarray(other.size, float) / 2
    if np.abs(np.abs(turn) - np.round(np.abs(turn))).max() < _COMMON_AXES:
        other_half = np.round(np.abs(turn)) @ other_half
        shared = np.minimum(half, offset + other_half) - np.maximum(-half, offset - other_half)
        return float(np.prod(np.maximum(shared, 0)))
    if len(half) == 2:  # a slab of 1 mm thickness
        turn, offset = np.block([[turn, np.zeros((2, 1))], [0, 0, 1]]), np.append(offset, 0)
        half, other_half = np.append(half, 0.5), np.append(other_half, 0.5)
    return _clipped_volume(half, other_half, turn, offset)


def _extents(boxes: Sequence[BoxLike]) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest coordinates (N, D) of boxes."""
    centers = np.array([box.center for box in boxes], float)
    reach = np.array([np.abs(box.axes) @ box.size / 2 for box in boxes])
    return centers - reach, centers + reach


def _clipped_volume(half: np.ndarray, other_half: np.ndarray, turn: np.ndarray, offset: np.ndarray) -> float:
    """Volume that a box around 0 along the axes shares with another, by the divergence theorem: a third of the sum,
    over the faces of what they share, of area times distance of the plane from 0."""
    tolerance = _COPLANAR * max(half.max(), other_half.max())
    total = 0.0
    for axis, sign, face in _faces(half):  # as the other box sees them
        normal = sign * turn[axis]
        total += half[axis] * _shared_area((face - offset) @ turn, normal, other_half, tolerance, True)
    for axis, sign, face in _faces(other_half):
        normal = sign * turn[:, axis]
        area = _shared_area(face @ turn.T + offset, normal, half, tolerance, False)
        total += (normal @ offset + other_half[axis]) * area
    return max(0.0, float(total) / 3)


def _faces(half: np.ndarray) -> Iterator[tuple[int, float, np.ndarray]]:
    """Axis, direction and the four corners (4, 3), once around, of the faces of a box around 0."""
    for axis in range(3):
        first, second = (other for other in range(3) if other != axis)
        for sign in (-1.0, 1.0):
            corners = np.empty((4, 3))
            corners[:, axis] = sign * half[axis]
            corners[:, first] = half[first] * _AROUND[0]
            corners[:, second] = half[second] * _AROUND[1]
            yield axis, sign, corners


def _shared_area(
    face: np.ndarray, normal: np.ndarray, half: np.ndarray, tolerance: float, keep_coplanar: bool
) -> float:
    """Area of what of a convex polygon (P, 3) lies in a box around 0 (Sutherland and Hodgman 1974, doi
    10.1145/360767.360802), in plain numbers, since arrays this small are slower.

    A face that lies in a face of the box, looking the same way, belongs to both boxes and must count once.
    """
    points = face.tolist()
    for axis in range(3):
        for sign in (-1.0, 1.0):
            above = [sign * point[axis] - half[axis] for point in points]
            highest, lowest = max(above), min(above)
            if highest <= tolerance and lowest >= -tolerance:
                if not keep_coplanar and sign * normal[axis] > 0:
                    return 0.0
            elif lowest >= 0:
                return 0.0
            elif highest > 0:
                points = _cut(points, above)
    return _area(points, normal)


def _cut(points: list[list[float]], above: list[float]) -> list[list[float]]:
    """What of a polygon is not above a plane."""
    kept = []
    for n, height in enumerate(above):
        here, before, last = points[n], points[n - 1], above[n - 1]
        if (height > 0) != (last > 0):
            share = last / (last - height)
            kept.append([b + share * (h - b) for b, h in zip(before, here, strict=True)])
        if height <= 0:
            kept.append(here)
    return kept


def _area(points: list[list[float]], normal: np.ndarray) -> float:
    """Of a polygon with a unit normal."""
    area, (x, y, z), last = 0.0, normal.tolist(), points[-1]
    for point in points:
        area += x * (last[1] * point[2] - last[2] * point[1])
        area += y * (last[2] * point[0] - last[0] * point[2])
        area += z * (last[0] * point[1] - last[1] * point[0])
        last = point
    return abs(area) / 2
