"""Searching by clicking: the findings lie on their volume, as points, boxes and rows; nothing is lost unasked."""

from __future__ import annotations

import numpy as np
import pytest
from detect_panel import OBLIQUE, some_findings, worst_corner
from replay import phase


def nodes_of(name: str) -> list:
    import slicer

    return [node for node in slicer.util.getNodesByClass(name) if not node.GetHideFromEditors()]


def turned(degrees: float = 20.0):
    """A transform node that turns about S and shifts, with its matrix."""
    import slicer

    angle = np.radians(degrees)
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    matrix[:3, 3] = (10.0, -20.0, 30.0)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "moved")
    node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    return node, matrix


def test_findings_lie_on_a_volume_that_has_moved(panel):
    import slicer

    volume = panel.add_volume()
    transform, matrix = turned()
    volume.SetAndObserveTransformNodeID(transform.GetID())
    found = some_findings()
    panel.choose(volume, found)
    assert panel.apply() == "Done. 6 findings are in 'patient 9 findings'."

    points = panel.ui.applyOutputSelector.currentNode()
    assert points is panel.points and points.GetName() == "patient 9 findings"
    assert points.GetTransformNodeID() == transform.GetID()
    assert points.GetNumberOfControlPoints() == 6 and points.GetLocked()
    centers = np.array([finding.box.center for finding in found])
    placed = centers @ matrix[:3, :3].T + matrix[:3, 3]
    assert np.abs(slicer.util.arrayFromMarkupsControlPoints(points, world=True) - placed).max() < 1e-6
    assert [points.GetNthControlPointLabel(n) for n in range(2)] == ["nodule 0.95", "bleed 0.80"]
    assert [points.GetNthControlPointDescription(n) for n in range(2)] == ["nodule", "bleed"]

    boxes = panel.shown.boxes()
    assert len(boxes) == 6
    for finding, shown in zip(found, panel.shown.findings, strict=True):
        roi = boxes[shown.box.name]
        corner = [0.0, 0.0, 0.0]
        assert roi.GetTransformNodeID() == transform.GetID()
        roi.GetCenterWorld(corner)
        assert np.abs(np.array(corner) - (matrix[:3, :3] @ finding.box.center + matrix[:3, 3])).max() < 1e-4
    assert worst_corner([one.box for one in panel.shown.findings], [one.box for one in found]) < 1e-6
    assert panel.rows()[0].split()[:2] == ["nodule", "0.95"] and len(panel.rows()) == 6


def test_a_click_on_a_row_jumps_there_also_under_a_transform(panel):
    volume = panel.add_volume()
    transform, _matrix = turned()
    volume.SetAndObserveTransformNodeID(transform.GetID())
    panel.choose(volume, some_findings())
    panel.apply()
    panel.click_row(3)
    place = panel.shown.position(panel.shown.findings[3].box.name)
    for name in ("Red", "Yellow", "Green"):
        import slicer

        matrix = slicer.util.arrayFromVTKMatrix(slicer.util.getNode(name).GetSliceToRAS())
        assert np.abs(matrix[:3, 3] - place).max() < 1e-6, name


def test_few_findings_get_a_box_and_all_a_point(panel):
    panel.choose(panel.add_volume(), some_findings(300))
    assert panel.apply() == "Done. 300 findings are in 'patient 9 findings'."
    assert panel.points.GetNumberOfControlPoints() == 300 and len(panel.rows()) == 300
    assert len(nodes_of("vtkMRMLMarkupsFiducialNode")) == 1 and len(nodes_of("vtkMRMLMarkupsROINode")) == 50
    assert not panel.points.GetDisplayNode().GetPointLabelsVisibility(), "as many texts would be slow"
    panel.ui.reviewBoxesSpinBox.value = 5
    assert set(panel.shown.boxes()) == {finding.box.name for finding in panel.shown.findings[:5]}


def test_nothing_found(panel):
    panel.choose(panel.add_volume(), [])
    assert panel.apply() == "Done. Nothing was found in 'patient 9'."
    assert panel.points.GetNumberOfControlPoints() == 0 and panel.rows() == []
    assert "Select findings" in panel.ui.reviewAcceptButton.toolTip


def test_reviewed_findings_are_asked_about_and_replacing_them_can_be_undone(panel):
    import qt

    panel.choose(panel.add_volume(), some_findings(4))
    panel.apply()
    panel.click_row(0)
    panel.ui.reviewAcceptButton.click()
    panel.host.start(testing=False)
    try:
        with panel.host.answers(qt.QMessageBox.Cancel) as asked:
            panel.ui.applyButton.click()
        assert "You have reviewed the findings in 'patient 9 findings'" in asked[0]
        assert not panel.is_busy("apply") and panel.shown.findings[0].review == "accepted"
        panel.choose(panel.section("apply").inputs.value()[0], some_findings(2, seed=1))
        with panel.host.answers(qt.QMessageBox.Ok):
            panel.apply()
    finally:
        panel.host.start(testing=True)
    assert len(panel.rows()) == 2 and panel.points.GetNumberOfControlPoints() == 2
    assert len(nodes_of("vtkMRMLMarkupsROINode")) == 2 and len(nodes_of("vtkMRMLMarkupsFiducialNode")) == 1
    panel.ui.reviewUndoButton.click()
    assert len(panel.rows()) == 4 and panel.shown.findings[0].review == "accepted"
    assert panel.points.GetNumberOfControlPoints() == 4


def test_findings_without_a_review_are_replaced_and_new_ones_made_on_demand(panel):
    volume = panel.add_volume()
    panel.choose(volume, some_findings(4))
    panel.apply()
    first = panel.points
    panel.choose(volume, some_findings(3))
    panel.apply()
    assert panel.points is first and first.GetNumberOfControlPoints() == 3
    panel.ui.applyOutputSelector.setCurrentNode(None)
    assert panel.shown is None and panel.rows() == []
    panel.apply()
    assert panel.points is not first and panel.points.GetName() != first.GetName()
    panel.ui.applyOutputSelector.setCurrentNode(first)
    assert panel.points is first and len(panel.rows()) == 3


def test_nodes_deleted_meanwhile_do_not_lose_the_result(panel):
    import slicer

    volume = panel.add_volume()
    panel.choose(volume, some_findings(3))
    panel.apply()
    panel._launcher.hold(phase("Starting"))
    panel.ui.applyButton.click()
    assert panel.host.process_events(0.3) and panel.is_busy("apply")
    slicer.mrmlScene.RemoveNode(panel.points)
    slicer.mrmlScene.RemoveNode(volume)
    panel._launcher.workers[-1].go_on()
    said = panel.wait("apply")
    assert "so a new one was made" in said and "The input is gone" in said
    assert len(panel.rows()) == 3


def test_the_users_own_points_are_not_offered(panel):
    import slicer

    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "my landmarks")
    assert panel.ui.applyOutputSelector.nodeCount() == 0
    panel.choose(panel.add_volume(), some_findings(3))
    panel.apply()
    assert panel.ui.applyOutputSelector.nodeCount() == 1


def test_stop_and_a_closed_scene_add_nothing(panel):
    panel.choose(panel.add_volume(), some_findings(3))
    panel._launcher.hold(phase("Starting"))
    panel.ui.applyButton.click()
    assert panel.host.process_events(0.3) and panel.is_busy("apply")
    panel.ui.applyButton.click()
    assert panel.wait("apply") == "Stopped; nothing was added to the scene."
    panel._launcher.hold(phase("Starting"))
    panel.ui.applyButton.click()
    panel.host.close_scene()
    panel.wait("apply")
    assert not nodes_of("vtkMRMLMarkupsNode")


def test_from_a_script_without_the_panel(panel):
    from MedDeepLib.errors import UserError

    volume = panel.add_volume(affine=np.diag([1.0, 1.0, 2.0, 1.0]))
    panel.choose(volume, some_findings(3, OBLIQUE))
    logic = panel.widget.logic
    job = logic.apply([volume], panel.run, device="cpu", boxes=1)
    assert job.wait(timeout=120) == "done"
    assert job.points.GetNumberOfControlPoints() == 3 and len(nodes_of("vtkMRMLMarkupsROINode")) == 1
    with pytest.raises(UserError, match="has findings already"):
        logic.apply([volume], panel.run, job.points)
    with pytest.raises(UserError, match="needs a volume"):
        logic.apply([], panel.run)


def test_what_slicer_shows_of_it(panel):
    import slicer

    import DetectModule

    module = slicer.modules.detectmodule
    assert module.title == "Deep Detection" and list(module.categories) == ["Analysis"]
    DetectModule.DetectModuleTest().runTest()
