"""A picture of a segmentation, for reports."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from MedDeepLib.scene.nodes import affine_of
from MedDeepLib.scene.offscreen import save_png
from MedDeepLib.scene.views import DEFAULT_SIZE, SliceView, ThreeDView

ORIENTATIONS = ("Axial", "Sagittal", "Coronal")
GAP_BETWEEN_VIEWS = 4
GAP_GREY_VALUE = 40


def render_overview(volume: Any, segmentation: Any, png_path: str | Path, size: tuple[int, int] = DEFAULT_SIZE) -> None:
    """One picture: axial, sagittal and coronal slice through a segmentation, and its surface in 3D.

    The slices are those that show the most of the segmentation. Segments are drawn with outline and half transparent
    fill. Without any segmented voxel the slices go through the middle of the volume.

    Args:
        size: width and height in pixels of each of the four parts; the picture has two by two of them.

    Raises:
        UserError: nothing can be rendered on this system, or the file cannot be written.
    """
    display = segmentation.GetDisplayNode()
    display.SetVisibility(True)
    display.SetVisibility2DFill(True)
    display.SetVisibility2DOutline(True)
    display.SetOpacity2DFill(0.4)
    center = _center_of(volume, segmentation)
    parts = []
    for orientation in ORIENTATIONS:
        view = SliceView(f"Overview{orientation}", orientation, size)
        view.show(volume, list(center))
        parts.append(view.pixels())
        view.close()
    segmentation.CreateClosedSurfaceRepresentation()
    display.SetVisibility3D(True)
    view = ThreeDView("Overview3D", size)
    view.fit()
    parts.append(view.pixels())
    view.close()
    save_png(_two_by_two(parts), png_path)


def _two_by_two(parts: Sequence[np.ndarray]) -> np.ndarray:
    height, width, _ = parts[0].shape
    picture = np.full((2 * height + GAP_BETWEEN_VIEWS, 2 * width + GAP_BETWEEN_VIEWS, 3), GAP_GREY_VALUE, np.uint8)
    for number, part in enumerate(parts):
        top = (number // 2) * (height + GAP_BETWEEN_VIEWS)
        left = (number % 2) * (width + GAP_BETWEEN_VIEWS)
        picture[top : top + height, left : left + width] = part
    return picture


def _center_of(volume: Any, segmentation: Any) -> np.ndarray:
    """RAS point whose three planes show the most of the segmentation; the volume's middle if it is empty."""
    import slicer

    filled = np.zeros(volume.GetImageData().GetDimensions(), bool)
    for segment_id in segmentation.GetSegmentation().GetSegmentIDs():
        filled |= slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segment_id, volume).T > 0
    voxels = np.argwhere(filled)
    if not len(voxels):
        bounds = np.zeros(6)
        volume.GetRASBounds(bounds)
        return (bounds[0::2] + bounds[1::2]) / 2
    affine = affine_of(volume)
    points = np.rint(voxels @ affine[:3, :3].T + affine[:3, 3]).astype(int)
    lowest = points.min(axis=0)
    return np.array([np.bincount(points[:, axis] - lowest[axis]).argmax() + lowest[axis] for axis in range(3)], float)
