"""Bundles from elsewhere in the panel: imported, asked about, applied, and models exported."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import zoo_bundles
from MedDeepLib.bundles.transfer import export_bundle, import_bundle

TITLE = "Spleen segmentation"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    config = zoo_bundles.spleen_config()
    weights = zoo_bundles.train_network(config, "one", steps=40)
    folder = tmp_path_factory.mktemp("zoo") / "spleen"
    return zoo_bundles.write_bundle(folder, config, zoo_bundles.SPLEEN_METADATA, weights)


@pytest.fixture
def with_code(bundle, tmp_path):
    """The same bundle with its own code."""
    folder = shutil.copytree(bundle, tmp_path / "with_code")
    (folder / "scripts").mkdir()
    (folder / "scripts" / "__init__.py").write_text("", encoding="utf-8")
    (folder / "scripts" / "net.py").write_text("from monai.networks.nets import UNet\n", encoding="utf-8")
    file = folder / "configs" / "inference.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    config["network_def"]["_target_"] = "scripts.net.UNet"
    file.write_text(json.dumps(config), encoding="utf-8")
    return folder


@pytest.fixture(autouse=True)
def own_state(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDDEEP_STATE", str(tmp_path / "state"))


def add_volume():
    import slicer

    image, _ = zoo_bundles.balls(9)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "head")
    slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(image[0].T))
    node.SetSpacing(1.5, 1.7, 2.4)
    return node


def wait_for_transfer(panel, name: str = "apply") -> str:
    """Run the event loop until copying is done; the panel's description of the model."""
    chooser = panel.section(name).model_chooser
    assert panel.host.process_events(60, lambda: not chooser.transfers.is_busy())
    return panel.ui.applyModelDescriptionLabel.text.replace("\u200b", "")


def test_a_folder_is_imported_and_applied(panel, bundle, runs_folder):
    import slicer

    node = add_volume()
    chooser = panel.section("apply").model_chooser
    with panel.host.answers(str(bundle)):
        chooser.transfers.import_folder.trigger()
    assert "Importing spleen" in panel.ui.applyModelDescriptionLabel.text
    assert not chooser.transfers.import_folder.enabled
    text = wait_for_transfer(panel)
    assert "Needs 1 input image (MR); finds spleen. From elsewhere." in text
    assert Path(chooser.value()) == runs_folder.with_name("runs-models") / "spleen"
    assert panel.section("apply").inputs.by_channel() == [("MR", node)]
    assert "2 x 2 x 2 mm" in panel.ui.applyModelDescriptionLabel.toolTip
    panel.ui.applyButton.click()
    assert panel.wait("apply").startswith("Done."), panel.status("apply")
    (segmentation,) = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    contents = segmentation.GetSegmentation()
    assert contents.GetNthSegment(0).GetName() == "spleen"
    labels = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, contents.GetNthSegmentID(0), node)
    truth = zoo_bundles.balls(9)[1][0].T
    assert 2 * (labels[truth > 0] > 0).sum() / ((labels > 0).sum() + truth.sum()) > 0.6


def test_an_archive_is_imported_and_stays_in_the_list(panel, bundle, tmp_path):
    archive = export_bundle(bundle, tmp_path / "other.zip")
    with panel.host.answers(str(archive)):
        panel.section("apply").model_chooser.transfers.import_archive.trigger()
    assert "finds spleen" in wait_for_transfer(panel)
    panel.open()
    combo_box = panel.ui.evaluateModelComboBox
    assert TITLE in [combo_box.itemText(number) for number in range(combo_box.count)]


def test_what_cannot_be_imported_says_so(panel, tmp_path):
    (tmp_path / "empty").mkdir()
    with panel.host.answers(str(tmp_path / "empty")):
        panel.section("apply").model_chooser.transfers.import_folder.trigger()
    assert "contains no model" in wait_for_transfer(panel)
    with panel.host.answers(""):
        panel.section("apply").model_chooser.transfers.import_folder.trigger()
    assert not panel.section("apply").model_chooser.transfers.is_busy()


def test_a_bundle_of_another_module_says_so(panel, tmp_path):
    folder = zoo_bundles.write_bundle(
        tmp_path / "inbody", zoo_bundles.classification_config(), zoo_bundles.CLASSIFICATION_METADATA, {}
    )
    with panel.host.answers(str(folder)):
        panel.section("apply").model_chooser.transfers.import_folder.trigger()
    assert "it belongs to the module Deep Classification" in wait_for_transfer(panel)
    assert not panel.ui.applyButton.enabled


def test_the_user_is_asked_before_code_of_its_own_runs(panel, with_code):
    import qt

    add_volume()
    chooser = panel.section("apply").model_chooser
    with panel.host.answers(str(with_code), qt.QMessageBox.Cancel) as asked:
        chooser.transfers.import_folder.trigger()
        text = wait_for_transfer(panel)
    assert "scripts.net.UNet" in asked[1] and "read, change and send away" in asked[1]
    assert "would run more than MONAI's own components" in text
    assert chooser.model is None and not panel.ui.applyButton.enabled
    assert chooser.transfers.trust.enabled
    with panel.host.answers(qt.QMessageBox.Ok):
        chooser.transfers.trust.trigger()
        text = wait_for_transfer(panel)
    assert "finds spleen" in text and chooser.model is not None
    assert not chooser.transfers.trust.enabled
    panel.ui.applyButton.click()
    assert panel.wait("apply").startswith("Done."), panel.status("apply")


def test_a_bundle_that_was_changed_is_not_trusted_any_more(panel, with_code, runs_folder):
    import qt

    folder = import_bundle(with_code, runs_folder.with_name("runs-models"))
    panel.widget.enter()
    chooser = panel.section("apply").model_chooser
    chooser.set_value(str(folder))
    with panel.host.answers(qt.QMessageBox.Ok):
        chooser.transfers.trust.trigger()
        wait_for_transfer(panel)
    assert chooser.model is not None
    (folder / "scripts" / "net.py").write_text("import os\n", encoding="utf-8")
    chooser.set_value("")
    chooser.set_value(str(folder))
    assert chooser.model is None and "would run more" in chooser.problem


def test_a_model_is_exported(panel_with_model, tmp_path):
    panel = panel_with_model
    panel.choose_model(panel.ui.applyModelComboBox, panel.run)
    chooser = panel.section("apply").model_chooser
    assert chooser.transfers.export.enabled and not chooser.transfers.trust.enabled
    with panel.host.answers(str(tmp_path / "balls")):
        chooser.transfers.export.trigger()
    assert "The model was written to" in wait_for_transfer(panel)
    folder = import_bundle(tmp_path / "balls.zip", tmp_path / "models")
    assert (folder / "configs" / "inference.json").is_file()
