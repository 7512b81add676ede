"""A further module needs about a hundred lines of its own, see toy_module/ToyModule.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from module_panel import ModulePanel
from replay import recorded, recorded_run
from toy_replays import segmented

IN_SAVED_SCENES = {
    "*": "applyModel applyOptions device trainingDataset method trainingParameters validation folds runFolder seed "
    "trainingChart evaluationModel evaluationDataset metricsTable metricsReport",
    "SegmentModule": "inputVolumes outputSegmentation",
    "RegisterModule": "fixedVolumes movingVolumes initialTransform outputTransform outputVolume checkerboard "
    "difference jacobian",
    "DetectModule": "inputVolumes outputFindings reviewThreshold reviewBoxes reviewOrder reviewDataset",
}
MODULE = Path(__file__).with_name("toy_module") / "ToyModule.py"


@pytest.fixture
def panel(host, tmp_path, monkeypatch) -> ModulePanel:
    monkeypatch.setenv("MEDDEEP_RUNS", str(tmp_path / "runs"))
    run = recorded_run("segment_train", tmp_path / "runs" / "trained")
    panel = ModulePanel(host, MODULE)
    panel.run = run
    return panel


def test_its_file_is_short():
    assert len(MODULE.read_text(encoding="utf-8").splitlines()) <= 110


def test_what_slicer_shows_of_it(panel):
    import slicer
    import ToyModule

    module = slicer.modules.toymodule
    assert module.title == "Toy" and list(module.categories) == ["Testing"]
    assert module.helpText.startswith("Says what a model has found. All computing happens in the background")
    ToyModule.ToyModuleTest().runTest()


def test_own_and_shared_fields_are_in_its_parameter_node(panel, tmp_path):
    import slicer

    assert panel.parameters.method == "segresnet" and panel.parameters.loudness == 3, "its own defaults"
    assert panel.parameters.folds == 5 and panel.parameters.device == "auto", "those of all tasks"
    assert panel.ui.trainMethodComboBox.currentText == "SegResNet" and panel.ui.loudnessSpinBox.value == 3
    panel.ui.loudnessSpinBox.value = 7
    panel.ui.trainSeedSpinBox.value = 42
    assert slicer.util.saveScene(str(tmp_path / "scene.mrml"))
    panel.host.close_scene()
    panel.parameters.loudness = panel.parameters.seed = 0
    slicer.util.loadScene(str(tmp_path / "scene.mrml"))
    panel.host.process_events()
    assert (panel.ui.loudnessSpinBox.value, panel.ui.trainSeedSpinBox.value) == (7, 42)
    with pytest.raises(ValueError):
        panel.parameters.folds = 1  # the range is inherited, too


def test_it_applies_and_trains(panel):
    from MedDeepLib.data.sources.image import Image
    from MedDeepLib.scene import nodes

    panel.replay(apply=segmented(), train=recorded("segment_train"))
    assert panel.ui.applyButton.toolTip == "Choose a model first."
    panel.choose_model(panel.ui.applyModelComboBox, panel.run)
    volume = nodes.volume_from_image(Image(np.ones((1, 4, 4, 4), np.float32), np.eye(4)), "head")
    panel.section("apply").volumes.selectors[0].setCurrentNode(volume)
    panel.ui.applyButton.click()
    assert panel.wait("apply") == "apply"
    panel.ui.trainDatasetPathLineEdit.currentPath = "list.json"
    panel.ui.trainStartButton.click()
    assert panel.wait("train").startswith("Done: the model is in ")
    assert panel.parameters.trainingChart is not None



@pytest.mark.parametrize("module", ["SegmentModule", "RegisterModule", "DetectModule"])
def test_names_of_parameters_stay_as_they_are_in_saved_scenes(host, tmp_path, monkeypatch, module):
    monkeypatch.setenv("MEDDEEP_RUNS", str(tmp_path / "runs"))
    names = set(ModulePanel(host, module).parameters.allParameters)
    assert names == {*IN_SAVED_SCENES["*"].split(), *IN_SAVED_SCENES[module].split()}
