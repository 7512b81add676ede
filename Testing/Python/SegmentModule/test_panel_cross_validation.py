"""Cross-validation by clicking: curves of every fold, stop and resume, and the metrics in the scene at the end."""

from __future__ import annotations

from pathlib import Path

import pytest
from replay import recorded, step

QUICK = {"steps": 24, "patch_size": [24, 24, 16], "validate_every": 8}


def choose(panel, choice: str) -> None:
    combo_box = panel.ui.trainValidationComboBox
    combo_box.currentIndex = combo_box.findData(choice)


def series_names(panel) -> list[str]:
    chart = panel.parameters.trainingChart
    return [chart.GetNthPlotSeriesNode(number).GetName() for number in range(chart.GetNumberOfPlotSeriesNodes())]


def texts(table, column: str) -> list[str]:
    names = [table.GetColumnName(number) for number in range(table.GetNumberOfColumns())]
    return [table.GetCellText(row, names.index(column)) for row in range(table.GetNumberOfRows())]


def table_named(name: str):
    import slicer

    return slicer.util.getFirstNodeByClassByName("vtkMRMLTableNode", name)


def test_the_choice_is_explained_and_kept_in_the_parameter_node(panel):
    ui, spin_box = panel.ui, panel.ui.trainFoldsSpinBox
    ui.trainCollapsibleButton.collapsed = False
    assert ui.trainValidationComboBox.currentText == "Hold out a share of the patients"
    assert panel.parameters.validation == "holdout" and panel.parameters.folds == 5
    assert spin_box.isHidden() and "Trains one network" in ui.trainValidationNote.text
    choose(panel, "patients")
    assert not spin_box.isHidden() and (spin_box.minimum, spin_box.value, spin_box.suffix) == (2, 5, " folds")
    assert "Trains 5 networks" in ui.trainValidationNote.text
    spin_box.value = 3
    assert "Trains 3 networks" in ui.trainValidationNote.text
    assert panel.parameters.validation == "patients" and panel.parameters.folds == 3
    panel.parameters.validation = "sites"
    assert ui.trainValidationComboBox.currentText == "Leave one site out" and spin_box.isHidden()
    assert "a network for every site" in ui.trainValidationNote.text
    panel.host.close_scene()
    assert panel.parameters.validation == "sites" and panel.parameters.folds == 3


def test_stop_resume_and_figures_in_the_scene(panel):
    from MedDeepLib.jobs import JobFolder

    ui = panel.ui
    panel.replay(crossvalidate=recorded("segment_crossvalidate")).hold(step(12, "fold 2, unet"))
    panel.choose_training(**QUICK)
    choose(panel, "patients")
    ui.trainFoldsSpinBox.value = 2
    ui.trainStartButton.click()
    folder = panel.run_folder()
    assert JobFolder(folder).job().action == "crossvalidate" and JobFolder(folder).job().folds == "2"
    panel.wait_for_status("train", "Fold 2 of 2: Training: unet: ")
    bar = ui.trainProgressBar
    assert bar.maximum == 1000 and 500 <= bar.value < 1000
    ui.trainStopButton.click()
    assert panel.wait("train") == "Stopped (fold 2 of 2); Resume continues from the last checkpoint."
    assert panel.parameters.metricsTable is None
    assert ui.trainResumeButton.enabled

    ui.trainResumeButton.click()
    status = panel.wait("train")
    assert status.startswith("Done: mean dice ") and "over 5 patients" in status, status
    assert set(series_names(panel)) == {
        f"fold {n}, unet: {figure}" for n in (1, 2) for figure in ("loss", "validation Dice")
    }
    assert [step for step, _ in panel.curve("fold 2, unet: validation Dice")] == [8, 16, 24]
    assert not ui.trainResumeButton.enabled

    name = folder.name
    table = panel.parameters.metricsTable
    assert table is table_named(f"{name} metrics") and ui.evaluateTableView.mrmlTableNode() is table
    assert texts(table, "structure") == ["bright ball", "dark ball", "all structures"]
    assert sorted(texts(table_named(f"{name} metrics by case"), "patient")) == [f"P{n // 2}" for n in range(10)]
    assert texts(table_named(f"{name} metrics by fold"), "fold") == ["fold 1"] * 3 + ["fold 2"] * 3
    assert table_named(f"{name} metrics by site") is None, "the dataset names no sites"
    assert Path(ui.evaluateReportLineEdit.text) == folder / "metrics.csv"


def test_what_the_dataset_does_not_allow_is_said(panel):
    panel.replay(crossvalidate=recorded("segment_crossvalidate_sites"))
    panel.choose_training()
    choose(panel, "sites")
    panel.ui.trainStartButton.click()
    assert 'has no site: give every case of balls a "site"' in panel.wait("train")


@pytest.mark.slow
def test_an_interrupted_cross_validation_is_offered_again(panel):
    """After a restart, Resume continues the original job, whatever settings are chosen then."""
    panel.choose_training(**QUICK | {"steps": 3000})
    choose(panel, "patients")
    panel.ui.trainStartButton.click()
    folder = panel.run_folder()
    assert panel.host.process_events(60, (folder / "fold_1" / "checkpoint.pt").exists)
    panel.host.unload_module(panel.widget)
    panel.host.close_scene()
    panel.open()
    assert panel.run_folder() == folder and panel.parameters.validation == "holdout"
    assert "did not finish (fold 1 of 5)" in panel.status("train")
    panel.ui.trainResumeButton.click()
    panel.wait_for_status("train", "Fold 1 of 5: Training: unet: ")
    panel.ui.trainStopButton.click()
    assert "Resume continues from the last checkpoint" in panel.wait("train")


def test_an_evaluation_has_a_table_by_site(panel_with_recorded_model):
    panel, ui = panel_with_recorded_model, panel_with_recorded_model.ui
    panel.replay(evaluate=recorded("segment_evaluate_sites"))
    panel.choose_model(ui.evaluateModelComboBox, panel.run)
    ui.evaluateDatasetPathLineEdit.currentPath = str(panel.dataset)
    ui.evaluateButton.click()
    assert "cases and sites have tables of their own" in panel.wait("evaluate")
    table = table_named("dataset metrics by site")
    assert texts(table, "site") == ["Basel"] * 3 + ["Bern"] * 3
    column = table.GetTable().GetColumnByName("dice_minus_pooled")
    assert abs(column.GetValue(2) + column.GetValue(5)) < 1e-3, "a table of numbers"
