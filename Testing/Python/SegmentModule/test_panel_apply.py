"""Applying by clicking: the segmentation lies on its volume, nothing is overwritten unasked, errors are explained."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import toy_cases
from replay import kinds, phase, recorded
from toy_replays import segmented

# Oblique, left-handed, anisotropic.
ROTATION = np.array([[0.98, -0.17, 0.10], [0.19, 0.96, -0.20], [-0.06, 0.21, 0.97]])
DIRECTIONS = np.linalg.qr(ROTATION)[0] * np.sign(np.diag(np.linalg.qr(ROTATION)[1]))


def oblique_affine() -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = DIRECTIONS @ np.diag([-2.0, 2.0, 2.5])
    affine[:3, 3] = (31.0, -44.0, 12.0)
    return affine


def add_volume(name: str = "patient 9", affine=None, number: int = 9):
    """A toy case as a volume node in the scene."""
    from MedDeepLib.data.sources.image import Image
    from MedDeepLib.scene import nodes

    image, _label = toy_cases.toy_image(number)
    return nodes.volume_from_image(Image(image[None], toy_cases.toy_affine() if affine is None else affine), name)


def events_of(monitor) -> list[dict]:
    """All events of a job, read after its end."""
    said: list[dict] = []
    monitor.on_events = said.extend
    return said


def segmentations() -> list:
    import slicer

    return slicer.util.getNodesByClass("vtkMRMLSegmentationNode")


def segment_names(node) -> list[str]:
    contents = node.GetSegmentation()
    return [contents.GetNthSegment(number).GetName() for number in range(contents.GetNumberOfSegments())]


@pytest.fixture
def ready(panel_with_recorded_model):
    """The panel with the model and a volume chosen; its jobs are replayed."""
    panel = panel_with_recorded_model
    panel.volume = add_volume()
    panel.choose_model(panel.ui.applyModelComboBox, panel.run)
    panel.launcher = panel.replay(apply=segmented())
    return panel


def test_result_lies_on_an_oblique_left_handed_volume(panel_with_model):
    import slicer

    panel = panel_with_model
    assert np.linalg.det(oblique_affine()[:3, :3]) < 0
    volume = add_volume("oblique", oblique_affine())
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "moved")
    volume.SetAndObserveTransformNodeID(transform.GetID())
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "study")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(volume), study)

    panel.choose_model(panel.ui.applyModelComboBox, panel.run)
    assert "bright ball, dark ball" in panel.ui.applyModelDescriptionLabel.text
    assert panel.section("apply").inputs.by_channel() == [("MR", volume)]
    panel.ui.applyButton.click()
    assert panel.ui.applyButton.text == "Stop" and panel.ui.applyButton.enabled
    said = events_of(panel.section("apply").monitor)
    assert panel.wait("apply") == "Done. 2 structures are in 'oblique segmentation'."

    (node,) = segmentations()
    assert segment_names(node) == ["bright ball", "dark ball"]
    assert node.GetTransformNodeID() == transform.GetID()
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == study
    assert node.GetNodeReferenceID("referenceImageGeometryRef") == volume.GetID()
    assert node.GetDisplayNode().GetVisibility()
    _image, label = toy_cases.toy_image(9)
    for value, segment_id in enumerate(node.GetSegmentation().GetSegmentIDs(), start=1):
        found = slicer.util.arrayFromSegmentBinaryLabelmap(node, segment_id, volume).T > 0
        overlap = 2 * (found & (label == value)).sum() / (found.sum() + (label == value).sum())
        assert overlap > 0.6, f"segment {value} does not lie where the structure is: Dice {overlap:.2f}"
    assert kinds(said) == kinds(recorded("segment_apply").events)


def test_every_result_gets_a_segmentation_of_its_own_and_no_files_are_left(ready, runs_folder):
    import slicer

    earlier = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "patient 9 segmentation")
    ready.ui.applyButton.click()
    ready.wait("apply")
    assert len(segmentations()) == 2 and not segment_names(earlier)
    assert not list((runs_folder / "temporary").iterdir())


def test_a_training_gets_the_memory_of_the_warm_workers(ready):
    ready.ui.applyButton.click()
    assert ready.wait("apply").startswith("Done.") and ready.launcher.released == 0
    ready.launcher.plays["train"] = recorded("segment_train")
    ready.choose_training()
    ready.ui.trainStartButton.click()
    assert ready.is_busy("train") and ready.launcher.released == 1


def test_a_worker_that_dies_is_explained_and_the_panel_releases_the_workers_at_its_end(ready):
    ready.launcher.hold(phase("Starting"))
    ready.ui.applyButton.click()
    assert ready.host.process_events(0.3) and ready.is_busy("apply")
    ready.launcher.workers[0].kill()
    assert "worker process" in ready.wait("apply") and "exit code -9" in ready.status("apply")
    ready.ui.applyButton.click()
    assert ready.wait("apply").startswith("Done.") and len(ready.launcher.workers) == 2
    ready.launcher.hold()
    ready.ui.applyButton.click()
    ready.host.unload_module(ready.widget)
    assert ready.launcher.released == 1 and not ready.launcher.workers[-1].is_running()


def test_existing_segments_are_asked_about(ready):
    import qt
    import slicer

    ready.host.start(testing=False)
    try:
        mine = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "my work")
        mine.GetSegmentation().AddEmptySegment("precious", "precious")
        ready.ui.applyOutputSelector.setCurrentNode(mine)
        with ready.host.answers(qt.QMessageBox.Cancel) as asked:
            ready.ui.applyButton.click()
        assert "my work" in asked[0] and "Replace" in asked[0]
        assert not ready.is_busy("apply") and segment_names(mine) == ["precious"]

        with ready.host.answers(qt.QMessageBox.Ok):
            ready.ui.applyButton.click()
        ready.wait("apply")
        assert segment_names(mine) == ["bright ball", "dark ball"]
        assert mine.GetName() == "my work" and segmentations() == [mine]
    finally:
        ready.host.start(testing=True)


def test_nodes_deleted_meanwhile_do_not_lose_the_result(ready):
    import slicer

    output = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "output")
    ready.ui.applyOutputSelector.setCurrentNode(output)
    ready.launcher.hold(phase("Starting"))
    ready.ui.applyButton.click()
    assert ready.host.process_events(0.3) and ready.is_busy("apply")
    slicer.mrmlScene.RemoveNode(output)
    slicer.mrmlScene.RemoveNode(ready.volume)
    ready.launcher.workers[0].go_on()
    status = ready.wait("apply")
    assert "a new segmentation was made" in status and "The input is gone" in status
    (node,) = segmentations()
    assert segment_names(node) == ["bright ball", "dark ball"]


def test_stop_adds_nothing(ready, runs_folder):
    ready.launcher.hold(phase("Starting"))
    ready.ui.applyButton.click()
    assert ready.host.process_events(0.3) and ready.is_busy("apply")
    ready.ui.applyButton.click()
    assert ready.wait("apply") == "Stopped; nothing was added to the scene."
    assert ready.ui.applyButton.text == "Apply" and ready.ui.applyButton.enabled
    assert not segmentations()
    assert not list((runs_folder / "temporary").iterdir())


def test_closing_the_scene_stops_it_and_releases_the_workers(ready):
    ready.launcher.hold(phase("Starting"))
    ready.ui.applyButton.click()
    assert ready.host.process_events(0.3) and ready.is_busy("apply")
    ready.host.close_scene()
    assert "nothing was added" in ready.wait("apply") and ready.launcher.released == 1
    assert not segmentations()


def test_a_volume_with_nan_is_explained_and_the_log_is_kept(ready, runs_folder):
    ready.launcher.plays["apply"] = recorded("segment_apply_nan")
    ready.ui.applyButton.click()
    status = ready.wait("apply")
    assert status.startswith("'patient 9'") and "not a number" in status and "Traceback" not in status
    assert not segmentations()
    (folder,) = (runs_folder / "temporary").iterdir()
    assert (folder / "log.txt").is_file() and not (folder / "input").exists()


def test_options_reach_the_job(ready):
    form = ready.section("apply").options
    ready.ui.applyOptionsGroupBox.collapsed = False
    form.field("overlap").widget.value = 0.5
    form.field("largest_component").widget.currentIndex = 2
    ready.ui.applyButton.click()
    assert ready.section("apply").monitor.job.folder.job().parameters == {"overlap": 0.5, "largest_component": "never"}
    assert ready.parameters.applyOptions == '{"largest_component": "never", "overlap": 0.5}'


def test_options_of_an_older_scene(ready):
    ready.parameters.applyOptions = '{"largest_component": false}'
    assert ready.section("apply").options.value() == {"largest_component": "never"}


def test_one_volume_selector_for_each_channel(panel_with_recorded_model):
    import json

    panel = panel_with_recorded_model
    two = panel.run.with_name("two")
    shutil.copytree(panel.run, two)
    file = two / "model" / "configs" / "metadata.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    content["meddeep"]["channels"] = ["T1", "FLAIR"]
    file.write_text(json.dumps(content), encoding="utf-8")
    flair, t1 = add_volume("my FLAIR"), add_volume("my T1")
    panel.widget.enter()  # lists the models again
    panel.choose_model(panel.ui.applyModelComboBox, two)
    inputs = panel.section("apply").inputs
    assert inputs.by_channel() == [("T1", t1), ("FLAIR", flair)]
    inputs.selectors[1].setCurrentNode(None)
    assert panel.ui.applyButton.toolTip == "Choose a volume for 'FLAIR'."
    inputs.selectors[1].setCurrentNode(flair)
    assert panel.ui.applyButton.enabled
    panel.choose_model(panel.ui.applyModelComboBox, panel.run)
    assert inputs.by_channel() == [("MR", t1)]


def test_a_folder_without_a_model_says_so(panel, tmp_path):
    with panel.host.answers(str(tmp_path)):
        panel.ui.applyModelBrowseButton.click()
    assert "contains no trained model" in panel.section("apply").model_chooser.problem
    assert panel.ui.applyButton.toolTip == panel.section("apply").model_chooser.problem
    assert not panel.ui.applyButton.enabled


def test_from_a_script_without_the_panel(ready):
    from MedDeepLib.errors import JobError, UserError

    logic = ready.widget.logic
    job = logic.apply([ready.volume], ready.run, device="cpu")
    assert job.wait(timeout=120) == "done"
    assert segment_names(job.segmentation) == ["bright ball", "dark ball"]
    with pytest.raises(UserError, match="has segments already"):
        logic.apply([ready.volume], ready.run, job.segmentation)
    ready.launcher.plays["apply"] = recorded("segment_apply_device")
    with pytest.raises(JobError, match="has no device 'cuda:9'"):
        logic.apply([ready.volume], ready.run, device="cuda:9").wait(timeout=120)
    with pytest.raises(UserError, match="not a device"):
        logic.apply([ready.volume], ready.run, device="quantum")
