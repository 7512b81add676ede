"""Findings as the points of one list: at the centre of each, with class and score as its label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from DetectModuleLib.findings import Finding

MARK = "MedDeep.findings"
"""An attribute of the point lists that hold findings, so that selectors offer no others."""

MOST_LABELS = 50  # drawing text takes longer than drawing points
_COLOR, _ACCEPTED_COLOR, _REJECTED_COLOR = (1.0, 0.75, 0.1), (0.2, 0.85, 0.4), (0.55, 0.55, 0.55)
_TEXT_SCALE = 2.5


def make_points(name: str) -> Any:
    """A new point list for findings; rejected ones will be grey."""
    import slicer

    points = slicer.vtkMRMLMarkupsFiducialNode()
    points.SetName(slicer.mrmlScene.GenerateUniqueName(name))
    points.SetAttribute(MARK, "1")  # selectors look when the node is added
    slicer.mrmlScene.AddNode(points)
    points.CreateDefaultDisplayNodes()
    display = points.GetDisplayNode()
    display.SetSelectedColor(*_COLOR)
    display.SetColor(*_REJECTED_COLOR)
    display.SetTextScale(_TEXT_SCALE)
    return points


def write_points(points: Any, findings: Sequence[Finding]) -> None:
    """Make the points those of the findings, in their order; only what differs is changed."""
    import slicer

    with slicer.util.NodeModify(points):
        points.SetFixedNumberOfControlPoints(False)
        while points.GetNumberOfControlPoints() > len(findings):
            points.RemoveNthControlPoint(points.GetNumberOfControlPoints() - 1)
        for number, finding in enumerate(findings):
            center = [float(value) for value in finding.box.center]
            if number >= points.GetNumberOfControlPoints():
                points.AddControlPoint(center)
            elif np.abs(np.array(points.GetNthControlPointPosition(number)) - center).max() > 1e-6:
                points.SetNthControlPointPosition(number, *center)
            label, class_name = _label(finding), finding.class_name
            if points.GetNthControlPointLabel(number) != label:
                points.SetNthControlPointLabel(number, label)
            if points.GetNthControlPointDescription(number) != class_name:
                points.SetNthControlPointDescription(number, class_name)
        # A slip of the mouse must not move a finding; points are added and deleted in the panel only.
        points.SetFixedNumberOfControlPoints(True)
        points.SetLocked(True)


def show_points(points: Any, findings: Sequence[Finding], shown: Sequence[bool]) -> None:
    """Show or hide each point; those of rejected findings are deselected, which makes them grey."""
    import slicer

    with slicer.util.NodeModify(points):
        for number, (finding, visible) in enumerate(zip(findings, shown, strict=True)):
            selected = finding.review != "rejected"
            if bool(points.GetNthControlPointVisibility(number)) != visible:
                points.SetNthControlPointVisibility(number, visible)
            if bool(points.GetNthControlPointSelected(number)) != selected:
                points.SetNthControlPointSelected(number, selected)
    points.GetDisplayNode().SetPointLabelsVisibility(sum(shown) <= MOST_LABELS)


def color_of(finding: Finding) -> tuple[float, float, float]:
    """The colour of a finding's box."""
    return _ACCEPTED_COLOR if finding.review == "accepted" else _COLOR


def _label(finding: Finding) -> str:
    name = finding.class_name or "finding"
    return name if finding.box.score is None else f"{name} {finding.score:.2f}"
