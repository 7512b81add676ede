"""Where users look: moves the slice views to a finding, and says where a new one belongs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def jump_to(position: Sequence[float] | np.ndarray) -> None:
    """Show a position (3,), in world coordinates, in the middle of all slice views."""
    import slicer

    slicer.modules.markups.logic().JumpSlicesToLocation(*[float(value) for value in position], True)


def current_position() -> np.ndarray:
    """The position (3,) in world coordinates that users mean: of the crosshair where it is displayed, or else the point
    in which the planes of the slice views meet; without three such planes the middle of the first view."""
    import slicer

    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    if crosshair is not None and crosshair.GetCrosshairMode() != slicer.vtkMRMLCrosshairNode.NoCrosshair:
        return np.array(crosshair.GetCrosshairRAS(), float)
    planes = [_plane(node) for node in slicer.util.getNodesByClass("vtkMRMLSliceNode")]
    if not planes:
        return np.zeros(3)
    return _meeting_point(planes)


def _plane(slice_node: Any) -> tuple[np.ndarray, np.ndarray]:
    """Unit normal and middle of a slice view."""
    import slicer

    matrix = slicer.util.arrayFromVTKMatrix(slice_node.GetSliceToRAS())
    return matrix[:3, 2] / np.linalg.norm(matrix[:3, 2]), matrix[:3, 3]


def _meeting_point(planes: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    chosen: list[tuple[np.ndarray, np.ndarray]] = []
    for normal, middle in planes:
        normals = [*(other for other, _ in chosen), normal]
        if np.linalg.matrix_rank(np.array(normals), tol=1e-3) == len(normals):
            chosen.append((normal, middle))
    if len(chosen) < 3:
        return planes[0][1]
    normals = np.array([normal for normal, _ in chosen])
    return np.linalg.solve(normals, np.array([normal @ middle for normal, middle in chosen]))
