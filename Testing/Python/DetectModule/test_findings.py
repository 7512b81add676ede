"""Findings keep place, size, turn and what is said of them in every file, and in Slicer's scene."""

from __future__ import annotations

import builtins
import json

import numpy as np
import pytest
from DetectModuleLib.findings import Finding, read_findings, write_findings
from DetectModuleLib.worker.boxes import to_space
from MedDeepLib.data.sources.boxes import Box
from MedDeepLib.errors import UserError
from sample_images import GRIDS, dicom_slices, rotation, volume

TOLERANCE_MM = 0.01


def findings_on(grid: np.ndarray) -> list[Finding]:
    """Findings at sub-voxel places: two along the grid's axes, one turned otherwise, one drawn by hand."""
    rows = np.array([[1.25, 2.5, 3.75, 2.1, 3.3, 1.7], [4.0, 0.1, 6.6, 0.7, 5.0, 2.0]])
    first, second = to_space(rows, grid, ["nodule", "cyst"], [0.8125, 0.3])
    turned = Box(
        np.array([12.3, -45.6, 78.9]), np.array([5.0, 10.0, 15.0]), rotation(25, -40, 70), "mine", "nodule", 0.5
    )
    by_hand = Box(np.array([1.0, 2.0, 3.0]), np.array([3.0, 3.0, 3.0]), np.eye(3), "drawn", "cyst")
    facts = {"Agatston score": 12.5, "maximum HU": -310.0}
    return [
        Finding(first, review="accepted", facts=facts),
        Finding(second, review="rejected"),
        Finding(turned),
        Finding(by_hand, facts={"Agatston score": 1.0}),
    ]


def assert_same(found: list[Finding], expected: list[Finding], tolerance: float = TOLERANCE_MM) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        corners = np.linalg.norm(one.box.corners()[:, None] - other.box.corners(), axis=-1)
        assert corners.min(0).max() < tolerance and corners.min(1).max() < tolerance
        assert one.class_name == other.class_name and one.review == other.review
        assert one.score == pytest.approx(other.score, abs=1e-5) and dict(one.facts) == pytest.approx(dict(other.facts))


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("ending", [".mrk.json", ".csv"])
def test_files_keep_everything(tmp_path, name, ending):
    findings = findings_on(GRIDS[name])
    write_findings(tmp_path / "new" / f"found{ending}", findings)
    assert_same(read_findings(tmp_path / "new" / f"found{ending}"), findings, 1e-9)


@pytest.mark.parametrize("ending", [".mrk.json", ".csv"])
def test_no_findings_are_a_file_too(tmp_path, ending):
    write_findings(tmp_path / f"none{ending}", [])
    assert read_findings(tmp_path / f"none{ending}") == []


def test_a_table_of_straight_boxes_has_no_axes(tmp_path):
    write_findings(tmp_path / "a.csv", findings_on(np.eye(4))[3:])
    header, line = (tmp_path / "a.csv").read_text(encoding="utf-8").splitlines()
    assert header == "name,class,score,review,r,a,s,size_r,size_a,size_s,Agatston score"
    assert line == "drawn,cyst,,,1.0,2.0,3.0,3.0,3.0,3.0,1.0"


@pytest.mark.parametrize("name", GRIDS)
def test_slicer_opens_shows_and_saves_them(host, tmp_path, name):
    import slicer

    findings = findings_on(GRIDS[name])
    write_findings(tmp_path / "found.mrk.json", findings)
    slicer.util.loadMarkups(str(tmp_path / "found.mrk.json"))
    nodes = list(slicer.util.getNodesByClass("vtkMRMLMarkupsROINode"))
    assert len(nodes) == len(findings)
    saved = []
    for number, (node, finding) in enumerate(zip(nodes, findings, strict=True)):
        center, size = np.zeros(3), np.zeros(3)
        node.GetCenterWorld(center)
        node.GetSizeWorld(size)
        matrix = slicer.util.arrayFromVTKMatrix(node.GetObjectToWorldMatrix())[:3, :3]
        shown = Finding(Box(center, size, matrix, class_name=finding.class_name, score=finding.box.score))
        assert_same([shown], [Finding(finding.box)])
        assert node.GetNthControlPointDescription(0) == finding.class_name
        file = tmp_path / f"saved{number}.mrk.json"
        assert slicer.util.saveNode(node, str(file))
        saved += read_findings(file)
    assert_same(saved, findings)


def test_slicer_opens_a_file_without_findings(host, tmp_path):
    import slicer

    write_findings(tmp_path / "none.mrk.json", [])
    json.loads((tmp_path / "none.mrk.json").read_text(encoding="utf-8"))
    assert not list(slicer.util.getNodesByClass("vtkMRMLMarkupsROINode"))


@pytest.fixture
def series(tmp_path):
    """A DICOM series of an oblique volume."""
    import pydicom.uid

    frame, study = pydicom.uid.generate_uid(), pydicom.uid.generate_uid()
    folder = tmp_path / "series"
    folder.mkdir()
    for number, one in enumerate(dicom_slices(volume(), GRIDS["oblique"])):
        one.FrameOfReferenceUID, one.StudyInstanceUID = frame, study
        one.save_as(folder / f"{number}.dcm", enforce_file_format=True)
    return folder


def test_a_structured_report_keeps_everything(series, tmp_path):
    pytest.importorskip("highdicom")
    import pydicom

    findings = findings_on(GRIDS["oblique"])
    write_findings(tmp_path / "report.dcm", findings, series)
    assert_same(read_findings(tmp_path / "report.dcm"), findings)
    report = pydicom.dcmread(tmp_path / "report.dcm")
    assert report.Modality == "SR" and report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    image = pydicom.dcmread(series / "0.dcm")
    assert report.StudyInstanceUID == image.StudyInstanceUID
    write_findings(tmp_path / "empty.dcm", [], series)
    assert read_findings(tmp_path / "empty.dcm") == []


def test_a_report_needs_a_series(tmp_path):
    pytest.importorskip("highdicom")
    with pytest.raises(UserError, match="refers to a DICOM series, and the image is none"):
        write_findings(tmp_path / "report.dcm", [], tmp_path / "head.nrrd")
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_named(series, tmp_path, monkeypatch):
    original = builtins.__import__

    def without(name, *args, **kwargs):
        if name.partition(".")[0] == "highdicom":
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match="needs the Python package highdicom, which is not installed: install it"):
        write_findings(tmp_path / "report.dcm", [], series)


@pytest.mark.parametrize("name", ["found.json5", "found.nrrd", "found"])
def test_other_endings_are_refused(tmp_path, name):
    with pytest.raises(UserError, match="must end in .mrk.json, .csv or .dcm"):
        write_findings(tmp_path / name, [])
    with pytest.raises(UserError, match="use .mrk.json, .csv or .dcm"):
        read_findings(tmp_path / name)


@pytest.mark.parametrize("content", ["", "{", '{"markups": [1]}', '{"markups": [{"type": "ROI"}]}'])
def test_a_corrupt_file_is_named(tmp_path, content):
    file = tmp_path / "found.mrk.json"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match="found.mrk.json cannot be read as markups: save it again"):
        read_findings(file)
