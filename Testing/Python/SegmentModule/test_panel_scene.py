"""The state of the panel: saved with the scene, kept when it is closed, never pointing at nodes that are gone."""

from __future__ import annotations

import json

import pytest

SETTINGS = {
    "device": "cpu",
    "trainingDataset": "/data/my list.json",
    "method": "segresnet",
    "runFolder": "/runs/a new one",
    "seed": 42,
    "evaluationDataset": "/data/test.json",
}
TRAINING_PARAMETERS = {"segresnet": {"steps": 77}, "unet": {"batch_size": 4}}


def make_settings(panel) -> None:
    """Change settings through the widgets, as a user would."""
    ui = panel.ui
    ui.applyDeviceComboBox.currentIndex = ui.applyDeviceComboBox.findData("cpu")
    ui.trainDatasetPathLineEdit.currentPath = SETTINGS["trainingDataset"]
    ui.trainMethodComboBox.currentIndex = ui.trainMethodComboBox.findData("unet")
    panel.section("train").method.form.field("batch_size").widget.value = 4
    ui.trainMethodComboBox.currentIndex = ui.trainMethodComboBox.findData("segresnet")
    panel.section("train").method.form.field("steps").widget.value = 77
    ui.trainRunFolderPathLineEdit.currentPath = SETTINGS["runFolder"]
    ui.trainSeedSpinBox.value = SETTINGS["seed"]
    ui.evaluateDatasetPathLineEdit.currentPath = SETTINGS["evaluationDataset"]


def change_settings(panel) -> None:
    for name, value in SETTINGS.items():
        setattr(panel.parameters, name, 0 if isinstance(value, int) else "auto" if name == "device" else "")
    panel.parameters.method = "unet"
    panel.parameters.trainingParameters = ""


def check_settings(panel) -> None:
    assert {name: panel.parameters.getValue(name) for name in SETTINGS} == SETTINGS
    assert json.loads(panel.parameters.trainingParameters) == TRAINING_PARAMETERS
    ui = panel.ui
    assert ui.trainMethodComboBox.currentText == "SegResNet"
    assert panel.section("train").method.form.field("steps").value() == 77
    assert ui.trainSeedSpinBox.value == 42
    assert ui.trainDatasetPathLineEdit.currentPath == SETTINGS["trainingDataset"]
    assert ui.evaluateDatasetPathLineEdit.currentPath == SETTINGS["evaluationDataset"]
    assert "CPU" in ui.trainDeviceComboBox.currentText


def test_every_setting_is_in_the_parameter_node(panel):
    make_settings(panel)
    check_settings(panel)


def test_changing_the_method_to_and_fro_loses_nothing(panel):
    make_settings(panel)
    form = panel.section("train").method.form
    panel.ui.trainMethodComboBox.currentIndex = panel.ui.trainMethodComboBox.findData("unet")
    assert form.value() == {"batch_size": 4}
    panel.ui.trainMethodComboBox.currentIndex = panel.ui.trainMethodComboBox.findData("segresnet")
    assert form.value() == {"steps": 77}


def test_closing_the_scene_keeps_settings_and_drops_nodes(panel):
    import slicer

    make_settings(panel)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "output")
    panel.ui.applyOutputSelector.setCurrentNode(node)
    assert panel.parameters.outputSegmentation is node
    panel.host.close_scene()
    check_settings(panel)
    assert panel.parameters.outputSegmentation is None
    assert panel.ui.applyOutputSelector.currentNode() is None
    panel.ui.trainSeedSpinBox.value = 43  # bound to the new parameter node
    assert panel.parameters.seed == 43


def test_settings_survive_a_scene_closed_while_another_module_is_shown(panel):
    make_settings(panel)
    panel.widget.parent.exit()
    panel.host.close_scene()
    panel.widget.parent.enter()
    check_settings(panel)


@pytest.mark.parametrize("ending", ["mrml", "mrb"])
def test_saved_and_loaded_with_the_scene(panel, tmp_path, ending):
    import slicer

    make_settings(panel)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "output")
    node.GetSegmentation().AddEmptySegment("a", "a")
    panel.ui.applyOutputSelector.setCurrentNode(node)
    file = tmp_path / f"scene.{ending}"
    if ending == "mrml":
        assert slicer.util.saveNode(node, str(tmp_path / "output.seg.nrrd"))
    assert slicer.util.saveScene(str(file))
    panel.host.close_scene()
    change_settings(panel)
    slicer.util.loadScene(str(file))
    panel.host.process_events()
    check_settings(panel)
    assert panel.parameters.outputSegmentation is not None
    assert panel.parameters.outputSegmentation.GetName() == "output"
    assert panel.ui.applyOutputSelector.currentNode() is panel.parameters.outputSegmentation


def test_reloading_the_module_keeps_the_settings(panel):
    make_settings(panel)
    panel.host.unload_module(panel.widget)
    panel.open()
    check_settings(panel)
