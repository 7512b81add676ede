"""Calcium scores against sums done by hand."""

from __future__ import annotations

import numpy as np
import pytest
from DetectModuleLib.worker.agatston import RISKS, CalciumScore, calcium_score, density_factor


def scan(shape=(20, 20, 6), spacing=(0.5, 0.5, 3.0)) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Heart at 40 HU, without lesions: values, affine, labels."""
    return np.full(shape, 40.0), np.diag([*spacing, 1.0]), np.zeros(shape, int)


@pytest.mark.parametrize(
    "peak, factor", [(130, 1), (199, 1), (199.9, 1), (200, 2), (299, 2), (300, 3), (399, 3), (400, 4), (3000, 4)]
)
def test_the_factor_follows_from_the_peak(peak, factor):
    assert density_factor(peak) == factor


def test_a_worked_example():
    """Slice 1: 4 x 5 voxels = 5 mm2, peak 250 (2): 10. Slice 2: 3 x 4 = 3 mm2, peak 410 (4): 12. Together 22."""
    values, affine, labels = scan()
    labels[5:9, 5:10, 1] = labels[5:8, 5:9, 2] = 1
    values[labels > 0] = 150
    values[6, 6, 1], values[6, 6, 2] = 250, 410
    score = calcium_score(values, affine, labels)
    assert score.agatston == pytest.approx(22) and score.risk == "11-100"
    assert score.volume == pytest.approx(8 * 3)  # 8 mm2 in slices of 3 mm


def test_every_slice_has_its_own_factor():
    """As a lesion in 3D, all 10 mm2 would count fourfold: 40 instead of 5 x 1 + 5 x 4."""
    values, affine, labels = scan()
    labels[5:9, 5:10, 1:3] = 1
    values[labels > 0] = 150
    values[6, 6, 2] = 500
    assert calcium_score(values, affine, labels).agatston == pytest.approx(5 * 1 + 5 * 4)


def test_two_pieces_of_a_lesion_in_one_slice_have_each_their_own_factor():
    values, affine, labels = scan()
    labels[2:6, 2:6, 3] = labels[10:14, 10:14, 3] = 1  # 4 mm2 each, joined somewhere else
    labels[2:14, 2:14, 4] = 1
    values[labels > 0] = 150
    values[3, 3, 3] = 320
    assert calcium_score(values, affine, labels).agatston == pytest.approx(4 * 3 + 4 * 1 + 36 * 1)


def test_voxels_that_touch_at_a_corner_are_one_piece():
    values, affine, labels = scan()
    labels[2:4, 2:4, 3] = labels[4:6, 4:6, 3] = 1
    values[labels > 0] = 150
    values[2, 2, 3] = 220
    assert calcium_score(values, affine, labels).agatston == pytest.approx(2 * 2)


def test_pieces_below_a_square_millimetre_are_noise():
    values, affine, labels = scan()
    labels[2:5, 2, 1] = 1  # .75 mm2
    labels[8:10, 8:10, 1] = 2  # 1 mm2
    values[labels > 0] = 150
    score = calcium_score(values, affine, labels)
    assert score.lesions[1] == CalciumScore() and score.lesions[2].agatston == pytest.approx(1)
    assert score.agatston == pytest.approx(1) and score.volume == pytest.approx(3)
    assert calcium_score(values, affine, labels, minimum_area=0.0).agatston == pytest.approx(1.75)


def test_voxels_below_the_threshold_do_not_count():
    values, affine, labels = scan()
    labels[2:12, 2:12, 1] = 1
    values[2:6, 2:6, 1] = 130
    values[6:12, 2:12, 1] = 129.9
    assert calcium_score(values, affine, labels).agatston == pytest.approx(4)
    assert calcium_score(values, affine, labels, threshold=131).agatston == 0


@pytest.mark.parametrize("distance", [1.5, 2.5, 3.0])
def test_other_slice_distances_are_scaled_to_3_mm(distance):
    values, affine, labels = scan(spacing=(0.5, 0.5, distance))
    labels[2:6, 2:6, 1:5] = 1
    values[labels > 0] = 350
    score = calcium_score(values, affine, labels)
    assert score.agatston == pytest.approx(4 * 4 * 3 * distance / 3)
    assert score.volume == pytest.approx(4 * 4 * distance)


def test_slices_are_axial_whatever_the_order_of_the_axes():
    values, affine, labels = scan()
    labels[5:9, 5:10, 1] = labels[5:8, 5:9, 2] = 1
    values[labels > 0] = 150
    values[6, 6, 1], values[6, 6, 2] = 250, 410
    for order in ((2, 0, 1), (1, 2, 0), (0, 2, 1)):
        turned = affine[:, [*order, 3]]
        turned[:, 0] *= -1
        moved = [array.transpose(order) for array in (values, labels)]
        assert calcium_score(moved[0], turned, moved[1]).agatston == pytest.approx(22)


@pytest.mark.parametrize(
    "score, risk",
    [
        (0, "0"),
        (0.4, "1-10"),
        (10, "1-10"),
        (10.1, "11-100"),
        (100, "11-100"),
        (101, "101-400"),
        (400, "101-400"),
        (401, "> 400"),
    ],
)
def test_risk_categories(score, risk):
    assert CalciumScore(score).risk == risk and risk in RISKS


def test_no_lesions_is_a_score_of_0():
    values, affine, labels = scan()
    assert calcium_score(values, affine, labels) == CalciumScore()
