"""Intersection over union of boxes in millimetres, oriented in any way, in two or three dimensions.

Everything here is exact up to rounding: boxes with common axes by their overlap along each axis, all others by clipping
the faces of each box by the planes of the other. Nothing is sampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

_COMMON_AXES = 1e-9  # how far a matrix may be from a permutation of the axes
_COPLANAR = 1e-9  # of a box's longest edge


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
    """Volume that an upright box around 0 shares with another, by the divergence theorem: a third of the sum, over the
    faces of what they share, of area times distance of the plane from 0."""
    scale = max(half.max(), other_half.max())
    own_planes = _planes(half, np.eye(3), np.zeros(3))
    other_planes = _planes(other_half, turn, offset)
    total = 0.0
    for planes, faces, against, first in (
        (own_planes, _faces(half, np.eye(3), np.zeros(3)), other_planes, True),
        (other_planes, _faces(other_half, turn, offset), own_planes, False),
    ):
        for (normal, distance), face in zip(planes, faces, strict=True):
            total += distance * _area(_clipped(face, normal, against, _COPLANAR * scale, first), normal)
    return max(0.0, total / 3)


def _planes(half: np.ndarray, axes: np.ndarray, center: np.ndarray) -> list[tuple[np.ndarray, float]]:
    """Outward normals and distances from 0 of the six faces of a box."""
    return [
        (sign * axes[:, axis], float(sign * axes[:, axis] @ center + half[axis]))
        for axis in range(3)
        for sign in (-1.0, 1.0)
    ]


def _faces(half: np.ndarray, axes: np.ndarray, center: np.ndarray) -> list[np.ndarray]:
    """The corners (4, 3) of the six faces, in the order of the planes, each face once around."""
    faces = []
    for axis in range(3):
        for sign in (-1.0, 1.0):
            corners = np.zeros((4, 3))
            corners[:, axis] = sign
            corners[:, [other for other in range(3) if other != axis]] = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
            faces.append(center + (corners * half) @ axes.T)
    return faces


def _clipped(
    face: np.ndarray, normal: np.ndarray, planes: list[tuple[np.ndarray, float]], tolerance: float, keep_coplanar: bool
) -> np.ndarray:
    """What of a convex polygon (P, 3) lies behind all planes (Sutherland and Hodgman 1974, doi 10.1145/360767.360802).

    A face that lies in a face of the other box, looking the same way, belongs to both and must count once.
    """
    for plane_normal, distance in planes:
        above = face @ plane_normal - distance
        if np.abs(above).max() <= tolerance:
            if not keep_coplanar and normal @ plane_normal > 0:
                return face[:0]
            continue
        points = []
        for n, height in enumerate(above):
            following = (n + 1) % len(face)
            if height <= 0:
                points.append(face[n])
            if (height < 0 < above[following]) or (above[following] < 0 < height):
                points.append(face[n] + (face[following] - face[n]) * (height / (height - above[following])))
        if len(points) < 3:
            return face[:0]
        face = np.array(points)
    return face


def _area(polygon: np.ndarray, normal: np.ndarray) -> float:
    if len(polygon) < 3:
        return 0.0
    edges = polygon[1:] - polygon[0]
    return float(abs(np.cross(edges[:-1], edges[1:]).sum(0) @ normal) / 2)
