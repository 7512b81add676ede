"""Dice, Hausdorff distance, surface distance and volume error against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from MedDeepLib.data.sources.labels import Segment
from MedDeepLib.evaluation.overlap import mean_dice, structure_scores

A, B = Segment(1, "a", (1, 0, 0)), Segment(7, "b", (0, 1, 0))
SPACING = (1.0, 2.0, 5.0)


def grid(spacing=SPACING) -> np.ndarray:
    turned = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turned * np.array(spacing)
    return affine


def mask(*boxes, shape=(20, 20, 10), value=1) -> np.ndarray:
    labels = np.zeros(shape, np.uint8)
    for box in boxes:
        labels[tuple(slice(*side) for side in box)] = value
    return labels


def score(prediction, reference, classes=(A,), affine=None) -> dict:
    return structure_scores(prediction, reference, grid() if affine is None else affine, classes)[0]


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("steps", [1, 3])
def test_two_voxels_are_as_far_apart_as_they_are(axis, steps):
    """One voxel each, moved along one axis: every distance is that between the two voxels, in millimetres."""
    place = [[8, 9], [8, 9], [4, 5]]
    moved = [list(side) for side in place]
    moved[axis] = [moved[axis][0] + steps, moved[axis][1] + steps]
    row = score(mask(place), mask(moved))
    assert row["dice"] == 0
    assert row["hd95_mm"] == row["assd_mm"] == pytest.approx(steps * SPACING[axis])


def test_equal_masks():
    labels = mask([(2, 9), (3, 8), (1, 6)])
    row = score(labels, labels.copy())
    assert (row["dice"], row["hd95_mm"], row["assd_mm"], row["volume_error_ml"]) == (1, 0, 0, 0)
    assert row["volume_error_percent"] == 0


def test_half_overlap_and_volumes():
    """A block of 10x10x2 voxels of 10 mm3 against itself shifted by five voxels: half of each overlaps."""
    row = score(mask([(0, 10), (0, 10), (0, 2)]), mask([(5, 15), (0, 10), (0, 2)]))
    assert row["dice"] == pytest.approx(0.5)
    assert row["volume_ml"] == pytest.approx(2.0) and row["volume_error_ml"] == pytest.approx(0)


def test_volume_error():
    row = score(mask([(0, 10), (0, 10), (0, 3)]), mask([(0, 10), (0, 10), (0, 2)]))
    assert row["volume_ml"] == pytest.approx(3) and row["reference_ml"] == pytest.approx(2)
    assert row["volume_error_ml"] == pytest.approx(1) and row["volume_error_percent"] == pytest.approx(50)


def test_a_plate_moved_along_its_normal():
    """Parallel one-voxel plates 3 slices apart: every surface voxel is 15 mm from the other plate."""
    row = score(mask([(2, 18), (2, 18), (3, 4)]), mask([(2, 18), (2, 18), (6, 7)]))
    assert row["hd95_mm"] == pytest.approx(15) and row["assd_mm"] == pytest.approx(15)


def test_one_odd_voxel_does_not_move_the_95th_percentile():
    plate = mask([(2, 18), (2, 18), (3, 4)])
    odd = plate.copy()
    odd[10, 10, 9] = 1
    row = score(odd, plate)
    assert row["hd95_mm"] == 0
    # 256 voxels at 0 mm and one at 30 mm one way; 256 at 0 mm the other way.
    assert row["assd_mm"] == pytest.approx(30 / (257 + 256), rel=1e-6)


def test_structures_at_the_edge_of_the_image():
    labels = mask([(0, 20), (0, 20), (0, 3)])
    other = mask([(0, 20), (0, 20), (0, 4)])
    assert score(labels, other)["hd95_mm"] == pytest.approx(5)


def brute_force(a: np.ndarray, b: np.ndarray, spacing) -> tuple[float, float]:
    """HD95 and ASSD from all distances between all surface voxels."""

    def surface(mask):
        padded = np.pad(mask, 1)
        inner = np.ones_like(mask)
        for axis in range(3):
            for step in (-1, 1):
                inner &= np.roll(padded, step, axis)[1:-1, 1:-1, 1:-1]
        return np.argwhere(mask & ~inner) * np.array(spacing)

    sa, sb = surface(a), surface(b)
    distances = np.linalg.norm(sa[:, None] - sb[None], axis=2)
    there, back = distances.min(1), distances.min(0)
    return max(np.percentile(there, 95), np.percentile(back, 95)), np.concatenate([there, back]).mean()


@pytest.mark.parametrize("seed", range(3))
def test_random_shapes_against_brute_force(seed):
    from scipy.ndimage import gaussian_filter

    random = np.random.default_rng(seed)
    a, b = (gaussian_filter(random.normal(0, 1, (14, 13, 9)), 2) > 0.03 for _ in range(2))
    row = score(a.astype(np.uint8), b.astype(np.uint8))
    hd95, assd = brute_force(a, b, SPACING)
    assert row["dice"] == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()))
    assert row["assd_mm"] == pytest.approx(assd, rel=1e-5)
    assert row["hd95_mm"] == pytest.approx(hd95, rel=1e-5)


def test_absent_structures():
    labels = mask([(0, 2), (0, 2), (0, 2)])
    nothing = np.zeros_like(labels)
    both, only_found, only_true = score(nothing, nothing), score(labels, nothing), score(nothing, labels)
    assert (both["dice"], both["hd95_mm"], both["assd_mm"], both["volume_error_percent"]) == (None,) * 4
    assert (only_found["dice"], only_found["hd95_mm"], only_found["volume_error_percent"]) == (0, None, None)
    assert (only_true["dice"], only_true["hd95_mm"], only_true["volume_error_percent"]) == (0, None, -100)


def test_rows_are_in_the_order_of_the_classes_and_by_value():
    reference = mask([(0, 5), (0, 5), (0, 5)]) + mask([(10, 15), (10, 15), (0, 5)], value=7)
    rows = structure_scores(reference, reference, np.eye(4), (B, A))
    assert [row["structure"] for row in rows] == ["b", "a"]
    assert all(row["dice"] == 1 for row in rows)


def test_mean_dice():
    reference = mask([(0, 4), (0, 4), (0, 4)]) + mask([(10, 14), (10, 14), (0, 4)], value=2)
    prediction = reference.copy()
    prediction[10:12] = 0  # half of structure 2: Dice 2/3
    assert mean_dice(prediction, reference, [1, 2]) == pytest.approx((1 + 2 / 3) / 2)
    assert mean_dice(prediction, reference, [1, 2, 3]) == pytest.approx((1 + 2 / 3) / 2), "3 is in neither"
    assert mean_dice(prediction * 0, reference, [1, 2]) == 0
    assert mean_dice(prediction * 0, reference * 0, [1]) == 0


@pytest.mark.parametrize("values", [[1], [2], [1, 2], [1, 2, 5], []])
def test_mean_dice_where_one_map_has_a_class_that_the_other_has_not(values):
    one = mask([(0, 4), (0, 4), (0, 4)])
    both = one + mask([(10, 14), (10, 14), (0, 4)], value=2)
    expected = {(1,): 1.0, (2,): 0.0, (): 0.0}.get(tuple(values), 0.5)
    assert mean_dice(both, one, values) == expected, "what only the prediction has counts as 0"
    assert mean_dice(one, both, values) == expected
