"""Reviewing by clicking: threshold, accept and reject, boxes that are edited and added, undo."""

from __future__ import annotations

import numpy as np
import pytest
from detect_panel import some_findings


@pytest.fixture
def reviewing(panel):
    """Six findings, their scores from 0.95 in steps of 0.15."""
    panel.choose(panel.add_volume(), some_findings(6))
    panel.apply()
    return panel


def reviews(panel) -> list[str]:
    return [finding.review for finding in panel.shown.findings]


def drag(panel, number: int, shift=(0.0, 0.0, 0.0), size=None):
    """Move and resize the box of a finding, as its handles do."""
    import slicer

    roi = panel.shown.boxes()[panel.shown.findings[number].box.name]
    matrix = slicer.util.arrayFromVTKMatrix(roi.GetObjectToNodeMatrix())
    matrix[:3, 3] += shift
    roi.SetAndObserveObjectToNodeMatrix(slicer.util.vtkMatrixFromArray(matrix))
    if size is not None:
        roi.SetSize(*size)
    panel.settle()
    return roi


def test_the_threshold_hides_rows_and_points_at_once(reviewing):
    slider = reviewing.ui.reviewThresholdSlider
    assert reviewing.visible_points() == [0, 1, 2, 3, 4, 5]
    slider.value = 0.6
    assert reviewing.visible_points() == [0, 1, 2]
    assert [row.split()[1] for row in reviewing.rows()] == ["0.95", "0.80", "0.65"]
    assert reviewing.ui.reviewCountLabel.text == "3 of 6 findings; 0 accepted, 0 rejected."
    boxes = [reviewing.shown.boxes()[finding.box.name] for finding in reviewing.shown.findings]
    assert [bool(box.GetDisplayNode().GetVisibility()) for box in boxes] == [True] * 3 + [False] * 3
    slider.value = 0.0
    assert reviewing.visible_points() == [0, 1, 2, 3, 4, 5] and len(reviewing.rows()) == 6
    assert not reviewing.is_busy("apply") and len(reviewing._launcher.workers) == 1, "nothing was computed anew"


def test_what_was_accepted_stays_whatever_the_threshold(reviewing):
    reviewing.click_row(5)
    reviewing.ui.reviewAcceptButton.click()
    reviewing.ui.reviewThresholdSlider.value = 0.9
    assert reviewing.visible_points() == [0, 5]
    assert [row.split()[1] for row in reviewing.rows()] == ["0.95", "0.20"]


def test_accept_and_reject_and_go_on_to_the_next_one(reviewing):
    ui = reviewing.ui
    assert not ui.reviewAcceptButton.enabled and ui.reviewAcceptButton.toolTip == "Select findings in the table first."
    reviewing.click_row(0)
    ui.reviewAcceptButton.click()
    reviewing.settle()
    ui.reviewRejectButton.click()  # the second one was selected
    reviewing.settle()
    assert reviews(reviewing) == ["accepted", "rejected", "", "", "", ""]
    assert reviewing.review.table.value() == reviewing.shown.findings[2].box.name
    rows = reviewing.rows()
    assert rows[0].endswith("accepted") and rows[1].endswith("rejected")
    fonts = [ui.reviewTable.item(row, 0).font().strikeOut() for row in range(3)]
    assert fonts == [False, True, False]
    assert [bool(reviewing.points.GetNthControlPointSelected(n)) for n in range(3)] == [True, False, True]
    rejected = reviewing.shown.boxes()[reviewing.shown.findings[1].box.name]
    assert not rejected.GetDisplayNode().GetVisibility()
    reviewing.click_row(1)
    ui.reviewRejectButton.click()  # again: not reviewed
    assert reviews(reviewing)[1] == "" and rejected.GetDisplayNode().GetVisibility()
    reviewing.settle()
    assert not ui.reviewTable.item(1, 0).font().strikeOut()


def test_several_rows_at_once_and_undo(reviewing):
    ui = reviewing.ui
    assert ui.reviewUndoButton.toolTip == "Nothing has been changed yet."
    reviewing.settle()
    ui.reviewTable.selectAll()
    assert ui.reviewEditButton.toolTip == "Select a single finding."
    ui.reviewRejectButton.click()
    assert reviews(reviewing) == ["rejected"] * 6
    assert "6 rejected" in ui.reviewCountLabel.text
    ui.reviewUndoButton.click()
    assert reviews(reviewing) == [""] * 6 and not ui.reviewUndoButton.enabled


def test_a_box_that_is_dragged_changes_its_finding_and_dragging_is_one_step_back(reviewing):
    before = reviewing.shown.findings[2].box
    reviewing.click_row(2)
    reviewing.ui.reviewEditButton.click()
    roi = reviewing.shown.boxes()[before.name]
    assert roi.GetDisplayNode().GetHandlesInteractive()
    for _ in range(3):
        drag(reviewing, 2, shift=(1.0, 0.0, -0.5))
    drag(reviewing, 2, size=(9.0, 12.0, 15.0))
    after = reviewing.shown.findings[2].box
    assert np.abs(after.center - before.center - (3.0, 0.0, -1.5)).max() < 1e-4
    assert np.abs(after.size - (9.0, 12.0, 15.0)).max() < 1e-6
    assert np.abs(np.array(reviewing.points.GetNthControlPointPosition(2)) - after.center).max() < 1e-4
    assert ["nodule", "0.65", "12.0"] in [row.split()[:3] for row in reviewing.rows()]
    reviewing.ui.reviewUndoButton.click()
    assert np.array_equal(reviewing.shown.findings[2].box.center, before.center)
    assert np.abs(np.array(roi.GetCenter()) - before.center).max() < 1e-4 and not reviewing.ui.reviewUndoButton.enabled


def test_a_box_for_a_finding_that_has_none(panel):
    panel.ui.reviewBoxesSpinBox.value = 0
    panel.choose(panel.add_volume(), some_findings(6))
    panel.apply()
    assert not panel.shown.boxes()
    panel.click_row(4)
    panel.ui.reviewEditButton.click()
    assert list(panel.shown.boxes()) == [panel.shown.findings[4].box.name]
    drag(panel, 4, shift=(5.0, 5.0, 5.0))
    assert len(panel.review.history) == 1


def test_an_added_finding_is_where_the_views_meet(reviewing):
    import slicer

    place = np.array([3.0, -7.0, 21.0])
    for name in ("Red", "Yellow", "Green"):
        slicer.util.getNode(name).JumpSliceByOffsetting(*place)
    ui = reviewing.ui
    assert [ui.reviewClassComboBox.itemText(n) for n in range(2)] == ["nodule", "bleed"]
    ui.reviewClassComboBox.currentIndex = 1
    ui.reviewAddButton.click()
    added = reviewing.shown.findings[-1]
    assert np.abs(added.box.center - place).max() < 1e-6
    assert added.class_name == "bleed" and added.box.score is None and added.review == "accepted"
    sizes = np.array([finding.box.size for finding in reviewing.shown.findings[:-1] if finding.class_name == "bleed"])
    assert np.allclose(added.box.size, np.median(sizes, axis=0))
    reviewing.settle()
    assert reviewing.review.table.value() == added.box.name and "bleed drawn" in " ".join(reviewing.rows())
    assert reviewing.shown.boxes()[added.box.name].GetDisplayNode().GetHandlesInteractive()
    ui.reviewUndoButton.click()
    assert len(reviewing.shown.findings) == 6 and added.box.name not in reviewing.shown.boxes()


def test_an_added_finding_is_at_the_crosshair_where_there_is_one(reviewing):
    import slicer

    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    crosshair.SetCrosshairMode(slicer.vtkMRMLCrosshairNode.ShowBasic)
    try:
        crosshair.SetCrosshairRAS(1.0, 2.0, 3.0)
        reviewing.ui.reviewClassComboBox.setEditText("something else")
        reviewing.ui.reviewAddButton.click()
    finally:
        crosshair.SetCrosshairMode(slicer.vtkMRMLCrosshairNode.NoCrosshair)
    assert np.allclose(reviewing.shown.findings[-1].box.center, (1.0, 2.0, 3.0))
    assert reviewing.shown.findings[-1].class_name == "something else"


def test_the_table_is_sorted_by_a_click_on_a_header(reviewing):
    reviewing.review.table.order.click(2)
    diameters = [float(row.split()[2]) for row in reviewing.rows()]
    assert diameters == sorted(diameters)
    assert reviewing.parameters.reviewOrder == "diameter"
    reviewing.review.table.order.click(2)
    assert [float(row.split()[2]) for row in reviewing.rows()] == diameters[::-1]


def test_what_is_done_to_the_nodes_elsewhere_in_slicer(reviewing):
    import slicer

    points, table = reviewing.points, reviewing.shown.table
    points.SetLocked(False)
    points.SetNthControlPointPosition(1, 1.0, 2.0, 3.0)
    assert np.allclose(reviewing.shown.findings[1].box.center, (1.0, 2.0, 3.0))
    box = reviewing.shown.boxes()[reviewing.shown.findings[1].box.name]
    assert np.allclose(box.GetCenter(), (1.0, 2.0, 3.0), atol=1e-4)
    column = [table.GetColumnName(number) for number in range(table.GetNumberOfColumns())].index("review")
    table.SetCellText(0, column, "rejected")
    table.GetTable().Modified()
    assert reviews(reviewing)[0] == "rejected" and reviewing.rows()[0].endswith("rejected")
    slicer.mrmlScene.RemoveNode(box)
    reviewing.ui.reviewTable.selectAll()
    reviewing.ui.reviewAcceptButton.click()
    assert reviews(reviewing) == ["accepted"] * 6 and len(reviewing.shown.boxes()) == 5
    slicer.mrmlScene.RemoveNode(points)
    assert reviewing.shown is None and reviewing.rows() == []
    assert not slicer.util.getNodesByClass("vtkMRMLMarkupsROINode") and table.GetScene() is None


def test_a_table_of_something_else_is_explained(reviewing):
    points = reviewing.points
    table = reviewing.shown.table
    reviewing.ui.applyOutputSelector.setCurrentNode(None)
    table.RemoveAllColumns()
    reviewing.ui.applyOutputSelector.setCurrentNode(points)
    assert "the column 'name' is gone" in reviewing.said() and reviewing.shown is None
