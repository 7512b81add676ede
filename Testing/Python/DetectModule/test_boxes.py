"""Boxes between space and voxels, their overlap, and which of them are one finding."""

from __future__ import annotations

import numpy as np
import pytest
from DetectModuleLib.worker.boxes import iou, suppressed, to_space, to_voxels, turned
from DetectModuleLib.worker.slices import joined_slices
from MedDeepLib.data.preparation import Plan, prepare
from MedDeepLib.data.sources.boxes import Box, IndexBox
from MedDeepLib.data.sources.image import Image
from sample_images import GRIDS, SHAPE, rotation, volume

ROWS = np.array([[1.25, 2.5, 3.75, 2.1, 3.3, 1.7], [4.0, 0.1, 6.6, 0.7, 5.0, 2.0]])


@pytest.mark.parametrize("name", GRIDS)
def test_there_and_back(name):
    boxes = to_space(ROWS, GRIDS[name], ["a", "b"], [0.5, 0.25])
    np.testing.assert_allclose(to_voxels(boxes, GRIDS[name]), ROWS, atol=1e-9)
    assert turned(boxes, GRIDS[name]) == 0
    assert [(box.class_name, box.score) for box in boxes] == [("a", 0.5), ("b", 0.25)]
    for box in boxes:
        assert np.linalg.det(box.axes) == pytest.approx(1.0)


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("spacing", [(0.0, 0.0, 0.0), (1.7, 0.9, 2.3)])
def test_the_networks_grid_moves_no_box(name, spacing):
    """Permuted, flipped and resampled: the box is where it was, within a hundredth of a millimetre."""
    boxes = to_space(ROWS, GRIDS[name], ["a", "b"], [0.5, 0.25])
    prepared = prepare(Image(volume(dtype=np.float32)[None], GRIDS[name]), Plan(spacing, (4, 4, 4)))
    there = to_space(to_voxels(boxes, prepared.affine), prepared.affine, ["a", "b"], [0.5, 0.25])
    for one, other in zip(there, boxes, strict=True):
        distances = np.linalg.norm(one.corners()[:, None] - other.corners(), axis=-1)
        assert distances.min(0).max() < 0.01


@pytest.mark.parametrize("name", GRIDS)
def test_a_box_in_indices_lies_on_its_voxels(name):
    grid, shape = GRIDS[name], np.array(SHAPE)
    box = IndexBox(np.full(3, -0.5), shape - 0.5, "all").placed(grid)
    np.testing.assert_allclose(box.center, grid[:3, :3] @ ((shape - 1) / 2) + grid[:3, 3])
    np.testing.assert_allclose(to_voxels([box], grid)[0, 3:], shape)


def test_a_turned_box_grows_to_the_one_around_it():
    box = Box(np.array([1.0, 2.0, 3.0]), np.array([4.0, 4.0, 2.0]), rotation(0, 0, 45))
    np.testing.assert_allclose(to_voxels([box], np.eye(4)), [[1, 2, 3, 4 * np.sqrt(2), 4 * np.sqrt(2), 2]])
    slightly = Box(box.center, box.size, rotation(0, 0, 3))
    assert turned([box, slightly], np.eye(4)) == 1


def test_overlap_by_hand():
    one, half, beside = [0, 0, 0, 2, 2, 2], [1, 0, 0, 2, 2, 2], [2, 0, 0, 2, 2, 2]
    np.testing.assert_allclose(iou(np.array([one], float), np.array([one, half, beside], float)), [[1, 1 / 3, 0]])


def test_of_boxes_of_one_finding_the_best_stays():
    rows = np.array([[0, 0, 0, 4, 4, 4], [1, 0, 0, 4, 4, 4], [0, 0, 0, 4, 4, 4], [9, 0, 0, 4, 4, 4]], float)
    scores, classes = np.array([0.5, 0.9, 0.3, 0.1]), np.array([0, 0, 1, 0])
    assert suppressed(rows, scores, classes, np.ones(3), 0.2).tolist() == [1, 2, 3]
    assert suppressed(rows, scores, classes, np.ones(3), 0.2, most=1).tolist() == [1]
    assert suppressed(rows, scores, classes, np.array([0.1, 1, 1]), 0.9, distance=1.0).tolist() == [1, 2]


def test_boxes_above_each_other_are_one_finding():
    slices = [[5, 5, k, 4, 4, 1, score, 0] for k, score in ((2, 0.3), (3, 0.9), (5, 0.6))]  # 4 is missing
    others = [[5, 5, 9, 4, 4, 1, 0.2, 0], [5, 5, 3, 4, 4, 1, 0.4, 1], [20, 5, 3, 4, 4, 1, 0.5, 0]]
    joined = joined_slices(np.array(slices + others, float), 0.2)
    assert sorted(joined[:, 6].tolist()) == [0.2, 0.4, 0.5, 0.9]
    np.testing.assert_allclose(joined[joined[:, 6] == 0.9][0, :6], [5, 5, 3.5, 4, 4, 4])
    assert not len(joined_slices(np.zeros((0, 8)), 0.2))
