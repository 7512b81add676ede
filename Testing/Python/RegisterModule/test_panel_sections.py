"""The rest of the panel: opening, training on a cohort, evaluating on pairs."""

from __future__ import annotations

import json

import numpy as np
import pytest
from opening import REPOSITORY, check_opening, open_in_new_process, packages_of_the_worker
from toy_pairs import STRUCTURES, inner_points, matrix_of, moved_by, structures, write, write_label_dataset

MODULE = REPOSITORY / "RegisterModule" / "RegisterModule.py"
TRUTH = matrix_of((5, -4, 8), (6, -5, 4))


@pytest.mark.alone
def test_opens_quickly_and_without_torch(tmp_path):
    check_opening(MODULE, tmp_path)


def test_opens_before_any_package_has_been_installed(tmp_path):
    open_in_new_process(MODULE, tmp_path, *packages_of_the_worker())


def test_what_slicer_shows_of_the_module(panel):
    import slicer

    import RegisterModule

    module = slicer.modules.registermodule
    assert module.title == "Deep Registration" and list(module.categories) == ["Registration"]
    assert "Research use only" in module.helpText and not module.icon.isNull()
    RegisterModule.RegisterModuleTest().runTest()


def test_what_is_offered(panel):
    ui = panel.ui
    models = [ui.applyModelComboBox.itemData(n) for n in range(ui.applyModelComboBox.count)]
    assert {"brain", "elastix", "global", "morph"} <= set(models)
    assert panel.parameters.applyModel == "brain" and "20 cases" in ui.applyModelDescriptionLabel.text
    assert ui.applyButton.toolTip == "Choose a volume for 'Fixed volume'."
    methods = [ui.trainMethodComboBox.itemData(n) for n in range(ui.trainMethodComboBox.count)]
    assert set(methods) == {"global", "morph"}, "elastix is not trained"


@pytest.mark.parametrize("name", ["SegmentModule", "RegisterModule"])
def test_every_module_offers_its_own_models_only(host, tmp_path, monkeypatch, name):
    from module_panel import ModulePanel

    monkeypatch.setenv("MEDDEEP_RUNS", str(tmp_path / "runs"))
    combo_box = ModulePanel(host, name).ui.applyModelComboBox
    models = {combo_box.itemData(n) for n in range(combo_box.count)}
    assert ("brain" in models) == (name == "RegisterModule")


def test_trains_on_a_cohort_and_offers_the_model(panel, tmp_path):
    dataset = write_label_dataset(tmp_path / "data", 3)
    quick = {"spacing": 8, "features": [4, 8, 8], "structure_steps": 4, "steps": 4, "validate_every": 2}
    panel.ui.trainDatasetPathLineEdit.currentPath = str(dataset)
    panel.parameters.method = "morph"
    panel.parameters.trainingParameters = json.dumps({"morph": quick})
    assert panel.ui.trainStartButton.enabled, panel.ui.trainStartButton.toolTip
    panel.ui.trainStartButton.click()
    assert panel.is_busy("train"), panel.status("train")
    assert panel.wait("train", 300).startswith("Done: the model is in")
    assert panel.parameters.trainingChart is not None
    panel.choose_model(panel.ui.applyModelComboBox, panel.run_folder())
    assert "Trained and validated on 3 cases" in panel.ui.applyModelDescriptionLabel.text


def test_evaluates_on_pairs_and_shows_the_tables(panel, tmp_path):
    write(tmp_path / "fixed.nrrd", "oblique")
    write(tmp_path / "fixed_label.nrrd", "oblique", values=structures)
    to_body = lambda points: moved_by(np.linalg.inv(TRUTH), points)  # noqa: E731
    write(tmp_path / "moving.nrrd", "left-handed", to_body)
    write(tmp_path / "moving_label.nrrd", "left-handed", to_body, structures)
    points = inner_points(6)
    for name, places in (("fixed", points), ("moving", moved_by(TRUTH, points))):
        rows = "".join(f"p{n},{x},{y},{z}\n" for n, (x, y, z) in enumerate(places))
        (tmp_path / f"{name}.csv").write_text("name,r,a,s\n" + rows, encoding="utf-8")
    pair = {
        "fixed": "fixed.nrrd", "moving": "moving.nrrd", "fixed_label": "fixed_label.nrrd", "patient": "A",
        "moving_label": "moving_label.nrrd", "fixed_landmarks": "fixed.csv", "moving_landmarks": "moving.csv",
    }  # fmt: skip
    labels = {str(value): name for value, name in STRUCTURES.items()}
    content = {"name": "pairs", "labels": labels, "test": [pair]}
    (tmp_path / "data.json").write_text(json.dumps(content), encoding="utf-8")
    panel.choose_model(panel.ui.evaluateModelComboBox, "global")
    panel.ui.evaluateDatasetPathLineEdit.currentPath = str(tmp_path / "data.json")
    panel.ui.evaluateButton.click()
    assert panel.wait("evaluate", 300).startswith("Done"), panel.status("evaluate")
    table = panel.parameters.metricsTable.GetTable()
    columns = {table.GetColumnName(n): table.GetColumn(n) for n in range(table.GetNumberOfColumns())}
    rows = [columns["structure"].GetValue(n) for n in range(table.GetNumberOfRows())]
    assert {"whole image", *STRUCTURES.values()} <= set(rows)
    whole = rows.index("whole image")
    assert columns["tre_before_mm"].GetValue(whole) > 5 > columns["tre_mm"].GetValue(whole)
    assert columns["folded_percent"].GetValue(whole) == 0
    assert columns["dice"].GetValue(rows.index("front")) > 0.8
