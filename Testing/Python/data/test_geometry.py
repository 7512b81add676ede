"""Affines and axes, against hand-made examples."""

import numpy as np
import pytest
from MedDeepLib.data import geometry
from MedDeepLib.errors import UserError
from sample_images import GRIDS, SHAPE, affine, rotation, volume


@pytest.mark.parametrize("name", GRIDS)
def test_lps_parts_and_affine_are_inverse(name):
    grid = GRIDS[name]
    spacing, direction, origin = geometry.lps_from_affine(grid)
    assert np.allclose(geometry.affine_from_lps(spacing, direction, origin), grid, atol=1e-12)
    assert np.allclose(spacing, geometry.spacing_of(grid))
    assert np.allclose(direction.T @ direction, np.eye(3), atol=1e-12)


def test_ras_and_lps_differ_by_the_sign_of_x_and_y():
    grid = geometry.affine_from_lps([1, 2, 3], np.eye(3), [10, 20, 30])
    assert np.array_equal(grid, [[-1, 0, 0, -10], [0, -2, 0, -20], [0, 0, 3, 30], [0, 0, 0, 1]])


def test_voxel_volume_and_handedness():
    assert geometry.voxel_volume(GRIDS["left-handed"]) == pytest.approx(6)
    assert geometry.voxel_volume(GRIDS["oblique"]) == pytest.approx(0.7 * 1.1 * 3.3)
    assert geometry.is_left_handed(GRIDS["oblique left-handed"])
    assert not geometry.is_left_handed(GRIDS["oblique"])


@pytest.mark.parametrize("name", GRIDS)
def test_canonical_view_keeps_every_voxel_in_its_place(name):
    voxels, grid = volume(), GRIDS[name]
    view, view_grid = geometry.to_canonical(voxels, grid)
    assert np.shares_memory(view, voxels)
    # The first axis now runs mostly to the right, the second to the front, the third to the head.
    directions = view_grid[:3, :3] / geometry.spacing_of(view_grid)
    assert (np.diag(directions) > 0.5).all()
    for index in [(0, 0, 0), (1, 2, 3), tuple(size - 1 for size in view.shape)]:
        place = view_grid @ [*index, 1]
        original = np.rint(np.linalg.inv(grid) @ place)[:3].astype(int)
        assert view[index] == voxels[tuple(original)]


def test_canonical_axes_of_a_grid_turned_by_45_degrees_are_a_permutation():
    order, _ = geometry.canonical_axes(affine(rotation(45, 45, 45)))
    assert sorted(order) == [0, 1, 2]


def test_affines_match_judges_the_farthest_corner():
    grid = np.eye(4)
    turned = grid.copy()
    turned[0, 0] = 1.0001  # 0.0099 mm at index 99, 0.0199 mm at index 199
    assert geometry.affines_match(grid, turned, (100, 5, 5))
    assert not geometry.affines_match(grid, turned, (200, 5, 5))
    assert geometry.affines_match(grid, turned, (200, 5, 5), tolerance=0.1)


@pytest.mark.parametrize("name", GRIDS)
def test_offset_of_a_crop(name):
    grid = GRIDS[name]
    crop = grid.copy()
    crop[:3, 3] += grid[:3, :3] @ [2, -1, 3]
    assert geometry.voxel_offset(crop, SHAPE, grid) == (2, -1, 3)
    crop[:3, 3] += grid[:3, :3] @ [0.5, 0, 0]
    assert geometry.voxel_offset(crop, SHAPE, grid) is None
    assert geometry.voxel_offset(grid @ np.diag([2, 1, 1, 1]), SHAPE, grid) is None


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        (affine(np.eye(3), (1, 0, 1)), "spacing of zero"),
        (affine([[1, 1, 0], [0, 0, 0], [0, 0, 1]]), "two axes in the same direction"),
        (affine([[1, 0.3, 0], [0, 1, 0], [0, 0, 1]]), "slanted axes"),
        (affine([[np.nan, 0, 0], [0, 1, 0], [0, 0, 1]]), "broken orientation"),
    ],
)
def test_impossible_grids_are_refused(matrix, words):
    with pytest.raises(UserError, match=words):
        geometry.check_affine(matrix, "image.nrrd")
