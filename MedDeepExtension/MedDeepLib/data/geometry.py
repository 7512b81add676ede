"""Geometry of voxel grids: affine matrices, axes and distances.

An *affine* is a 4x4 float64 matrix that takes voxel indices (i, j, k, 1) to millimetres. In memory it is
always IJK to RAS (x to the patient's right, y to the front, z to the head); ITK and DICOM use LPS, which
differs by the sign of x and y.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from MedDeepLib.errors import UserError

# Directions read from text headers are rounded, so axes are perpendicular only up to about this cosine.
PERPENDICULAR_TOLERANCE = 1e-3
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def affine_from_lps(spacing: ArrayLike, direction_lps: np.ndarray, origin_lps: ArrayLike) -> np.ndarray:
    """IJK to RAS affine from spacing, direction and origin as ITK and DICOM store them.

    Args:
        spacing: voxel size in mm along i, j, k.
        direction_lps: 3x3, column n is the unit vector of axis n in LPS.
        origin_lps: centre of voxel (0, 0, 0) in LPS millimetres.
    """
    affine_lps = np.eye(4)
    affine_lps[:3, :3] = np.asarray(direction_lps, float) * np.asarray(spacing, float)
    affine_lps[:3, 3] = origin_lps
    return LPS_TO_RAS @ affine_lps


def lps_from_affine(affine: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Spacing (3,) in mm, direction (3, 3) and origin (3,) in LPS of an IJK to RAS affine."""
    affine_lps = LPS_TO_RAS @ np.asarray(affine, float)
    spacing = spacing_of(affine_lps)
    return spacing, affine_lps[:3, :3] / spacing, affine_lps[:3, 3].copy()


def spacing_of(affine: np.ndarray) -> np.ndarray:
    """Voxel size (3,) in mm along i, j, k."""
    return np.linalg.norm(np.asarray(affine, float)[:3, :3], axis=0)


def voxel_volume(affine: np.ndarray) -> float:
    """Volume of one voxel in cubic millimetres."""
    return float(abs(np.linalg.det(np.asarray(affine, float)[:3, :3])))


def is_left_handed(affine: np.ndarray) -> bool:
    """True if the axes i, j, k form a left-handed system in RAS (a mirrored grid, legal in medical
    images)."""
    return bool(np.linalg.det(np.asarray(affine, float)[:3, :3]) < 0)


def check_affine(affine: np.ndarray, name: str) -> None:
    """Refuse a grid whose voxels have no volume or whose axes are not perpendicular.

    Raises:
        UserError: naming ``name`` and the remedy.
    """
    affine = np.asarray(affine, float)
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        raise UserError(f"{name} has a broken orientation matrix; export it again from the original images.")
    spacing = spacing_of(affine)
    if not (spacing > 0).all():
        raise UserError(f"{name} has a voxel spacing of zero along one axis; correct the spacing in its header.")
    direction = affine[:3, :3] / spacing
    if abs(np.linalg.det(direction)) < PERPENDICULAR_TOLERANCE:
        raise UserError(f"{name} has two axes in the same direction; correct its header or export it again.")
    if np.abs(direction.T @ direction - np.eye(3)).max() > PERPENDICULAR_TOLERANCE:
        raise UserError(
            f"{name} has slanted axes, as a CT with a tilted gantry has; resample it to a straight grid "
            "and save it again."
        )


def affines_match(first: np.ndarray, second: np.ndarray, shape: Sequence[int], tolerance: float = 0.01) -> bool:
    """True if two grids of the same shape have every voxel at the same position.

    The distance is measured at the eight corner voxels, where it is largest.

    Args:
        shape: number of voxels (I, J, K) of both grids.
        tolerance: largest distance in mm that still counts as equal.
    """
    corners = np.array([[*corner, 1.0] for corner in itertools.product(*[(0, size - 1) for size in shape])]).T
    difference = (np.asarray(first, float) - np.asarray(second, float)) @ corners
    return bool(np.linalg.norm(difference[:3], axis=0).max() <= tolerance)


def canonical_axes(affine: np.ndarray) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    """How to permute and flip axes so that they run nearest to right, front and head.

    Returns:
        ``(order, flips)``: ``array.transpose(order)`` and then a flip of every axis n with ``flips[n]``
        gives the array in RAS order. Every voxel axis is used once, also for grids turned by 45 degrees.
    """
    direction = np.asarray(affine, float)[:3, :3] / spacing_of(affine)
    order = max(
        itertools.permutations(range(3)),
        key=lambda axes: sum(abs(direction[world, axis]) for world, axis in enumerate(axes)),
    )
    flips = tuple(bool(direction[world, axis] < 0) for world, axis in enumerate(order))
    return (order[0], order[1], order[2]), (flips[0], flips[1], flips[2])


def to_canonical(array: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A view of ``array`` (..., I, J, K) with its axes nearest to RAS, and the affine of that view."""
    return _turned(array, affine, *canonical_axes(affine))


def _turned(
    array: np.ndarray, affine: np.ndarray, order: Sequence[int], flips: Sequence[bool]
) -> tuple[np.ndarray, np.ndarray]:
    """Permute the last three axes and then flip some of them, in the array and in its affine alike."""
    leading = array.ndim - 3
    view = array.transpose(*range(leading), *[leading + axis for axis in order])
    new_affine = np.asarray(affine, float)[:, [*order, 3]].copy()
    for axis, flip in enumerate(flips):
        if flip:
            view = np.flip(view, leading + axis)
            new_affine[:, 3] += new_affine[:, axis] * (view.shape[leading + axis] - 1)
            new_affine[:, axis] *= -1
    return view, new_affine


def voxel_offset(
    affine: np.ndarray, shape: Sequence[int], grid_affine: np.ndarray, tolerance: float = 0.01
) -> tuple[int, int, int] | None:
    """The index of voxel (0, 0, 0) of one grid on another grid, if one is a crop of the other.

    3D Slicer crops segmentations to what they contain when it saves them, so a label file is often smaller
    than its image although every voxel coincides.

    Returns:
        The index on ``grid_affine`` of the first voxel, or None if the voxels of the two grids do not
        coincide within ``tolerance`` millimetres.
    """
    first_index = (np.linalg.inv(grid_affine) @ np.asarray(affine, float))[:3, 3]
    offset = np.rint(first_index)
    moved = np.asarray(grid_affine, float).copy()
    moved[:3, 3] += moved[:3, :3] @ offset
    if not affines_match(affine, moved, shape, tolerance):
        return None
    return int(offset[0]), int(offset[1]), int(offset[2])


def with_axes_of(
    array: np.ndarray, affine: np.ndarray, grid_affine: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """A view of ``array`` (I, J, K) whose axes run like those of another grid, and the affine of that view.

    3D Slicer flips the last axis of left-handed images when it loads them, so two files of one image
    may differ by a flip.

    Returns:
        None if no permutation and flip of axes makes the two grids parallel with equal spacing.
    """
    steps = np.linalg.inv(grid_affine)[:3, :3] @ np.asarray(affine, float)[:3, :3]
    turn = np.rint(steps)
    is_signed_permutation = np.array_equal(np.abs(turn).sum(0), [1, 1, 1]) and np.array_equal(
        np.abs(turn).sum(1), [1, 1, 1]
    )
    if not is_signed_permutation or np.abs(steps - turn).max() > 0.01:
        return None
    order = [int(axis) for axis in np.abs(turn).argmax(axis=1)]
    return _turned(array, affine, order, [bool(turn[row, axis] < 0) for row, axis in enumerate(order)])
