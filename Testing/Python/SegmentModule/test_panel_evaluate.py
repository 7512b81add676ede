"""Evaluating by clicking: metrics per structure in a table node, and where they were saved."""

from __future__ import annotations

from pathlib import Path

from replay import kinds, recorded


def test_figures_for_each_structure(panel_with_model):
    import slicer
    from MedDeepLib.jobs import JobFolder

    panel, ui = panel_with_model, panel_with_model.ui
    panel.choose_model(ui.evaluateModelComboBox, panel.run)
    ui.evaluateDatasetPathLineEdit.currentPath = str(panel.dataset)
    ui.evaluateButton.click()
    assert "Done" in panel.wait("evaluate")
    table = panel.parameters.metricsTable
    assert ui.evaluateTableView.mrmlTableNode() is table
    assert [table.GetCellText(row, 0) for row in range(3)] == ["bright ball", "dark ball", "all structures"]
    dice = table.GetTable().GetColumnByName("dice")
    assert all(0.5 < dice.GetValue(row) <= 1 for row in range(3))
    report = Path(ui.evaluateReportLineEdit.text)
    assert kinds(JobFolder(report.parent).events()) == kinds(recorded("segment_evaluate").events)
    assert report.is_file() and panel.parameters.metricsReport == str(report)
    by_case = slicer.util.getFirstNodeByClassByName("vtkMRMLTableNode", "dataset metrics by case")
    assert by_case.GetNumberOfRows() == 2 and by_case.GetTable().GetColumnByName("patient").GetValue(0) == "P5"

    panel.host.close_scene()
    assert panel.parameters.metricsTable is None and ui.evaluateTableView.mrmlTableNode() is None
    assert panel.parameters.metricsReport == str(report)


def test_a_patient_that_was_trained_on_is_refused(panel_with_recorded_model):
    panel, ui = panel_with_recorded_model, panel_with_recorded_model.ui
    panel.replay(evaluate=recorded("segment_evaluate_trained_on"))
    panel.choose_model(ui.evaluateModelComboBox, panel.run)
    ui.evaluateDatasetPathLineEdit.currentPath = str(panel.dataset)
    ui.evaluateButton.click()
    assert "'P0' is in the test list and was trained on" in panel.wait("evaluate")
    assert panel.parameters.metricsTable is None
