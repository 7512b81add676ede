"""Intersection over union of boxes: by hand, against sampling, and where boxes touch or share a plane."""

from __future__ import annotations

import math

import numpy as np
import pytest
from MedDeepLib.data.sources.boxes import Box
from MedDeepLib.evaluation.box_overlap import intersection, intersection_over_union


def box(center, size, axes=None) -> Box:
    return Box(np.array(center, float), np.array(size, float), np.eye(len(size)) if axes is None else axes)


def turned(degrees: float, axis: int = 2) -> np.ndarray:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    first, second = (n for n in range(3) if n != axis)
    axes = np.eye(3)
    axes[[first, first, second, second], [first, second, first, second]] = c, -s, s, c
    return axes


def any_axes(random) -> np.ndarray:
    return np.linalg.qr(random.normal(size=(3, 3)))[0]  # left-handed ones among them


def test_half_a_box():
    found = intersection_over_union([box((0, 0, 0), (2, 2, 2))], [box((1, 0, 0), (2, 2, 2)), box((0, 0, 0), (2, 2, 2))])
    assert found.tolist() == [[pytest.approx(1 / 3), 1.0]]


def test_what_only_touches_shares_nothing():
    others = [box((2, 0, 0), (2, 2, 2)), box((2, 2, 2), (2, 2, 2)), box((9, 0, 0), (2, 2, 2))]
    assert intersection_over_union([box((0, 0, 0), (2, 2, 2))], others).tolist() == [[0, 0, 0]]


def test_no_boxes():
    assert intersection_over_union([], [box((0, 0, 0), (1, 1, 1))]).shape == (0, 1)
    assert intersection_over_union([box((0, 0, 0), (1, 1, 1))], []).shape == (1, 0)


def test_common_axes_in_another_order():
    axes = turned(30)
    same = box((5, 6, 7), (2, 4, 6), axes)
    other = box((5, 6, 7), (6, 2, 4), axes[:, [2, 0, 1]] * [1, -1, 1])
    assert intersection_over_union([same], [other])[0, 0] == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("axis", range(3))
def test_a_square_turned_by_45_degrees(axis):
    """Two unit squares at 45 degrees share a regular octagon of area 2 (sqrt(2) - 1)."""
    shared = 2 * (math.sqrt(2) - 1)
    flat, tilted = box((1, 2, 3), (1, 1, 1)), box((1, 2, 3), (1, 1, 1), turned(45, axis))
    assert intersection(flat, tilted) == pytest.approx(shared, abs=1e-12)
    assert intersection_over_union([flat], [tilted])[0, 0] == pytest.approx(shared / (2 - shared), abs=1e-12)


def test_rectangles_in_two_dimensions():
    axes = turned(45)[:2, :2]
    shared = 2 * (math.sqrt(2) - 1)
    assert intersection(box((3, 4), (1, 1)), box((3, 4), (1, 1), axes)) == pytest.approx(shared, abs=1e-12)
    assert intersection_over_union([box((0, 0), (2, 2))], [box((1, 0), (2, 2))])[0, 0] == pytest.approx(1 / 3)


def test_a_small_box_inside_a_large_one():
    small = box((1, 1, 0), (1, 2, 3), any_axes(np.random.default_rng(0)))
    assert intersection(small, box((0, 0, 0), (50, 50, 50))) == pytest.approx(6, abs=1e-9)
    assert intersection(box((0, 0, 0), (50, 50, 50)), small) == pytest.approx(6, abs=1e-9)


def test_a_shared_plane_counts_once():
    """Turned in their common plane, and as thick as each other or not, on the same side or beyond."""
    flat, shared = box((0, 0, 0), (1, 1, 2)), 2 * (math.sqrt(2) - 1)
    for center, thickness, common in ((0, 2, 2), (-0.5, 1, 1), (0.5, 1, 1), (2, 2, 0), (1, 2, 1)):
        other = box((0, 0, center), (1, 1, thickness), turned(45))
        assert intersection(flat, other) == pytest.approx(shared * common, abs=1e-12)
        assert intersection(other, flat) == pytest.approx(shared * common, abs=1e-12)


def test_nearly_common_axes():
    """Directions that were rounded in a file make no jump."""
    for angle in (1e-12, 1e-9, 1e-7, 1e-5):
        other = box((0, 0, 0), (10, 20, 30), turned(math.degrees(angle)) @ turned(math.degrees(angle), 0))
        assert intersection_over_union([box((0, 0, 0), (10, 20, 30))], [other])[0, 0] == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("seed", range(20))
def test_against_sampling(seed):
    random = np.random.default_rng(seed)
    a, b = (box(random.uniform(-3, 3, 3), random.uniform(2, 12, 3), any_axes(random)) for _ in range(2))
    points = a.center + (random.uniform(-0.5, 0.5, (200_000, 3)) * a.size) @ a.axes.T
    inside = (np.abs((points - b.center) @ b.axes) <= b.size / 2).all(1)
    volume, share = np.prod(a.size), inside.mean()
    error = 5 * math.sqrt(share * (1 - share) / len(points)) + 1e-4
    assert intersection(a, b) == pytest.approx(volume * share, abs=volume * error)
    assert intersection(a, b) == pytest.approx(intersection(b, a), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_a_common_movement_changes_nothing(seed):
    random = np.random.default_rng(seed)
    a, b = (box(random.uniform(-1, 1, 3), random.uniform(2, 5, 3), any_axes(random)) for _ in range(2))
    turn, shift = any_axes(random), np.array([200, -300, 1000])
    moved = [box(turn @ one.center + shift, one.size, turn @ one.axes) for one in (a, b)]
    assert intersection(*moved) == pytest.approx(intersection(a, b), rel=1e-9)
