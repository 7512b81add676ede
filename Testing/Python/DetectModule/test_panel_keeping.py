"""What becomes of a review: exported files, cases of a dataset, and the saved scene."""

from __future__ import annotations

import json

import numpy as np
import pytest
from detect_panel import OBLIQUE, some_findings, worst_corner


@pytest.fixture
def reviewed(panel):
    """Six findings: the first accepted, the second rejected, the others open; one was added."""
    import slicer

    panel.choose(panel.add_volume(), some_findings(6))
    panel.apply()
    panel.click_row(0)
    panel.ui.reviewAcceptButton.click()
    panel.settle()
    panel.ui.reviewRejectButton.click()
    for name in ("Red", "Yellow", "Green"):
        slicer.util.getNode(name).JumpSliceByOffsetting(3.0, -7.0, 21.0)
    panel.ui.reviewClassComboBox.currentIndex = 0
    panel.ui.reviewAddButton.click()
    panel.settle()
    return panel


def add(panel, dataset) -> str:
    panel.ui.reviewDatasetPathLineEdit.currentPath = str(dataset)
    panel.ui.reviewDatasetButton.click()
    return panel.said()


def load(dataset):
    from DetectModuleLib.task import TASK
    from MedDeepLib.data.dataset import load_dataset

    return load_dataset(dataset, TASK)


@pytest.mark.parametrize("ending", [".mrk.json", ".csv"])
def test_export_leaves_out_what_is_rejected_or_hidden(reviewed, tmp_path, ending):
    from DetectModuleLib.findings import read_findings

    reviewed.ui.reviewThresholdSlider.value = 0.6
    file = tmp_path / f"out{ending}"
    with reviewed.host.answers(str(file)):
        reviewed.ui.reviewExportButton.click()
    assert reviewed.said() == f"3 findings are in {file}. 4 hidden or rejected ones were left out."
    kept = [finding for finding in reviewed.shown.findings if finding.review != "rejected"]
    kept = [finding for finding in kept if finding.score >= 0.6]
    found = read_findings(file)
    assert worst_corner([one.box for one in found], [one.box for one in kept]) < 0.01
    assert [one.review for one in found] == ["accepted", "", "accepted"]
    assert [one.box.score is None for one in found] == [False, False, True]


def test_a_report_without_a_dicom_series_is_explained(reviewed, tmp_path):
    with reviewed.host.answers(str(tmp_path / "out.dcm")):
        reviewed.ui.reviewExportButton.click()
    assert "DICOM" in reviewed.said() and not (tmp_path / "out.dcm").exists()


def test_a_report_refers_to_the_series_that_the_volume_was_loaded_from(panel, tmp_path):
    from DetectModuleLib.scene.keeping import dicom_folder
    from MedDeepLib.data.formats.dicom import choose_series
    from MedDeepLib.scene import nodes
    from sample_images import dicom_slices, save_dicom

    voxels = np.arange(4 * 5 * 3, dtype=np.int16).reshape(4, 5, 3)
    save_dicom(dicom_slices(voxels, np.diag([-1.0, -1.0, 2.0, 1.0])), tmp_path / "series")
    found = dicom_folder(nodes.load_dicom_folder(tmp_path / "series"))
    assert found is not None and len(choose_series(found).files) == 3
    assert dicom_folder(panel.add_volume()) is None


def test_a_case_is_added_to_a_new_dataset_and_loads_with_the_same_boxes(reviewed, tmp_path):
    from DetectModuleLib.findings import read_findings
    from MedDeepLib.data.sources.image import read_image

    assert reviewed.ui.reviewDatasetButton.toolTip == "Choose a dataset list first."
    said = add(reviewed, tmp_path / "corrected.json")
    assert said == (
        "'patient 9' was added to corrected.json with 2 findings, its first training case. 4 that nobody has reviewed "
        "were left out."
    )
    (case,) = load(tmp_path / "corrected.json").training
    assert case.name == "patient 9" and case.patient == "patient 9"
    image = read_image(case.files("image")[0])
    assert np.abs(image.affine - OBLIQUE).max() < 1e-6
    found = read_findings(case.files("findings")[0])
    accepted = [finding for finding in reviewed.shown.findings if finding.review == "accepted"]
    assert [one.class_name for one in found] == ["nodule", "nodule"]
    assert worst_corner([one.box for one in found], [one.box for one in accepted]) < 0.01


def test_a_case_is_appended_to_a_list_and_nothing_else_in_it_changes(reviewed, tmp_path):
    import tiny_detect

    dataset = tiny_detect.write_dataset(tmp_path, channels=1)
    before = json.loads(dataset.read_text(encoding="utf-8"))
    files = {file: file.read_bytes() for file in tmp_path.iterdir() if file.is_file() and file != dataset}
    assert "it has 4 training cases now" in add(reviewed, dataset)
    after = json.loads(dataset.read_text(encoding="utf-8"))
    added = after["training"].pop()
    assert after == before and added["patient"] == "patient 9"
    assert added["image"] == "added/patient_9/image.nrrd" and added["findings"] == "added/patient_9/findings.mrk.json"
    assert all(file.read_bytes() == content for file, content in files.items())
    assert load(dataset).classes == ("ball", "nodule")
    said = add(reviewed, dataset)
    assert "has a case 'patient 9' in training already" in said
    assert [folder.name for folder in (tmp_path / "added").iterdir()] == ["patient_9"]


def test_what_a_model_is_judged_by_is_not_added(reviewed, tmp_path):
    import tiny_detect

    dataset = tiny_detect.write_dataset(tmp_path, channels=1)
    content = json.loads(dataset.read_text(encoding="utf-8"))
    content["test"][0]["patient"] = "patient 9"
    dataset.write_text(json.dumps(content), encoding="utf-8")
    assert "is in test of dataset.json" in add(reviewed, dataset)
    assert json.loads(dataset.read_text(encoding="utf-8")) == content and not (tmp_path / "added").exists()


def test_a_case_of_which_all_is_rejected_is_negative(panel, tmp_path):
    import tiny_detect

    panel.choose(panel.add_volume(), some_findings(3))
    panel.apply()
    panel.ui.reviewDatasetPathLineEdit.currentPath = str(tmp_path / "list.json")
    assert "only what was reviewed is trained on" in panel.ui.reviewDatasetButton.toolTip
    panel.click_row(0)
    panel.ui.reviewRejectButton.click()
    said = add(panel, tiny_detect.write_dataset(tmp_path, channels=1))
    assert said.startswith("None of the findings was accepted")
    panel.settle()
    panel.ui.reviewTable.selectAll()
    panel.ui.reviewRejectButton.click()
    said = add(panel, tmp_path / "dataset.json")
    assert said == "'patient 9' was added to dataset.json as a case without findings; it has 4 training cases now."
    case = load(tmp_path / "dataset.json").training[-1]
    assert json.loads(case.files("findings")[0].read_text(encoding="utf-8"))["markups"] == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "cannot be read as JSON"),
        ('{"images": [], "annotations": [], "categories": []}', 'does not list its cases under "training"'),
        ('{"training": [{"image": "gone.nii"}]}', "does not exist"),
    ],
)
def test_a_list_that_cannot_take_it_is_left_alone(reviewed, tmp_path, content, said):
    dataset = tmp_path / "list.json"
    dataset.write_text(content, encoding="utf-8")
    assert said in add(reviewed, dataset)
    assert dataset.read_text(encoding="utf-8") == content and not (tmp_path / "added").exists()


def test_only_lists_in_json_are_added_to(reviewed, tmp_path):
    assert "only be added to a dataset list in JSON" in add(reviewed, tmp_path / "list.csv")
    assert not list(tmp_path.glob("list.csv"))


@pytest.mark.parametrize("ending", ["mrb", "mrml"])
def test_a_review_is_saved_with_the_scene(reviewed, tmp_path, ending):
    import slicer

    before = reviewed.shown.findings
    reviewed.ui.reviewThresholdSlider.value = 0.3
    file = tmp_path / f"scene.{ending}"
    if ending == "mrml":
        save_all_nodes(reviewed, tmp_path)
    assert slicer.util.saveScene(str(file))
    reviewed.host.close_scene()
    assert reviewed.shown is None and reviewed.rows() == []
    slicer.util.loadScene(str(file))
    reviewed.host.process_events()

    assert reviewed.parameters.outputFindings is reviewed.points
    after = reviewed.shown.findings
    assert [finding.review for finding in after] == [finding.review for finding in before]
    assert [finding.box.score for finding in after] == [finding.box.score for finding in before]
    assert worst_corner([one.box for one in after], [one.box for one in before]) < 1e-4
    assert len(reviewed.shown.boxes()) == 7 and reviewed.shown.volumes[0].GetName() == "patient 9"
    assert reviewed.ui.reviewThresholdSlider.value == 0.3 and len(reviewed.rows()) == 6
    name = next(iter(reviewed.shown.boxes()))
    roi = reviewed.shown.boxes()[name]
    roi.SetSize(5.0, 6.0, 7.0)
    assert np.allclose(reviewed.shown.find(name).box.size, (5.0, 6.0, 7.0)), "still bound to its finding"


def save_all_nodes(panel, folder) -> None:
    """A scene in .mrml refers to files, which must have been saved."""
    import slicer

    shown = panel.shown
    saved = {shown.volumes[0]: "volume.nrrd", shown.points: "points.mrk.json", shown.table: "table.tsv"}
    saved |= {roi: f"box{number}.mrk.json" for number, roi in enumerate(shown.boxes().values())}
    for node, name in saved.items():
        assert slicer.util.saveNode(node, str(folder / name))
