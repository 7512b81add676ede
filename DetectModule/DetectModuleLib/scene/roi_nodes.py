"""Boxes as ROI nodes, which users move, resize and turn in the views.

Boxes are in the node's own RAS mm, without its parent transform: the ROI is under the same transform as the volume.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from MedDeepLib.data.sources.boxes import Box, right_handed

FINDING = "MedDeep.finding"
"""The attribute of a ROI that holds the name of its finding."""


def roi_from_box(box: Box, color: tuple[float, float, float], parent_transform: str | None) -> Any:
    """A new ROI node with the outline of a box; ``parent_transform`` is a node ID."""
    import slicer

    roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", box.name)
    roi.SetAttribute(FINDING, box.name)
    roi.CreateDefaultDisplayNodes()
    display = roi.GetDisplayNode()
    display.SetSelectedColor(*color)
    display.SetColor(*color)
    display.SetFillVisibility(False)  # the image in the box is what users look at
    display.SetPropertiesLabelVisibility(False)
    display.SetPointLabelsVisibility(False)
    display.SetHandlesInteractive(False)
    roi.SetLocked(True)  # until it is edited: a slip of the mouse must not change a finding
    roi.SetAndObserveTransformNodeID(parent_transform)
    move_roi(roi, box)
    return roi


def move_roi(roi: Any, box: Box) -> None:
    """Give a ROI the centre, size and orientation of a box."""
    import slicer

    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = right_handed(box.axes), box.center
    with slicer.util.NodeModify(roi):
        roi.SetSize(*map(float, box.size))
        roi.SetAndObserveObjectToNodeMatrix(slicer.util.vtkMatrixFromArray(matrix))
        while roi.GetNumberOfControlPoints() < 1:
            roi.AddControlPoint(*map(float, box.center))
        roi.SetNthControlPointDescription(0, box.class_name)


def box_from_roi(roi: Any, like: Box) -> Box:
    """The box that a ROI shows now, with the name, class and score of another one."""
    import slicer

    matrix = slicer.util.arrayFromVTKMatrix(roi.GetObjectToNodeMatrix())
    size = np.abs(np.array(roi.GetSize(), float))
    axes = matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0)
    return Box(matrix[:3, 3].copy(), size, axes, like.name, like.class_name, like.score)


def differs(first: Box, second: Box, mm: float = 1e-3) -> bool:
    """Whether a corner of one box lies elsewhere; sides in another order make no difference, nor does
    what is lost where Slicer keeps positions as float32."""
    corners, others = first.corners(), second.corners()
    nearest = np.linalg.norm(corners[:, None] - others[None], axis=-1).min(axis=1)
    return bool(nearest.max() > mm)
