"""Boxes: Slicer's ROIs keep their position, size and rotation, in RAS millimetres."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from MedDeepLib.data.sources.boxes import read_boxes
from MedDeepLib.errors import UserError

TURN = np.array([[0.5, -0.5, np.sqrt(0.5)], [0.5, -0.5, -np.sqrt(0.5)], [np.sqrt(0.5), np.sqrt(0.5), 0]])
LPS = np.diag([-1.0, -1.0, 1.0])
# As Slicer 5.13 wrote a box of 10 x 20 x 30 mm about (12, -34, 56), rotated by 20, -35 and 50 degrees about x, y and z.
SLICER = """{"markups": [{"type": "ROI", "coordinateSystem": "LPS", "coordinateUnits": "mm", "labelFormat": "%N-%d",
"lastUsedControlPointNumber": 1, "roiType": "Box", "center": [-12.0, 34.0, 56.0], "orientation": [-0.5265407845183632,
0.8459449736530708, 0.08445059970119764, -0.6275068715971331, -0.45374423859348223, 0.6327331918285938,
0.573576436351046, 0.2801664995932355, 0.7697511313200571], "size": [10.0, 20.0, 30.0], "insideOut": false,
"controlPoints": [{"id": "1", "label": "nodule-1", "description": "", "position": [-12.0, 34.0, 56.0], "orientation":
[-1.0, -0.0, -0.0, -0.0, -1.0, -0.0, 0.0, 0.0, 1.0], "positionStatus": "defined"}], "measurements": [{"name": "volume",
"enabled": false, "units": "cm3", "printFormat": "%-#4.4g%s"}]}]}"""


def roi(system: str = "LPS", **more) -> dict:
    to_file = LPS if system == "LPS" else np.eye(3)
    content = {
        "type": "ROI",
        "coordinateSystem": system,
        "center": (to_file @ [10.0, -20.0, 30.0]).tolist(),
        "orientation": (to_file @ TURN).ravel().tolist(),
        "size": [4.0, 6.0, 8.0],
        "controlPoints": [{"label": "lesion-2", "description": "metastasis", "position": [0, 0, 0]}],
    }
    return content | more


def write(folder: Path, *markups: dict) -> Path:
    file = folder / "boxes.mrk.json"
    file.write_text(json.dumps({"markups": list(markups)}), encoding="utf-8")
    return file


def test_what_slicer_writes(tmp_path):
    from scipy.spatial.transform import Rotation

    (tmp_path / "roi.mrk.json").write_text(SLICER, encoding="utf-8")
    (box,) = read_boxes(tmp_path / "roi.mrk.json")
    turn = Rotation.from_euler("xyz", [20, -35, 50], degrees=True).as_matrix()
    np.testing.assert_allclose(box.center, [12, -34, 56])
    np.testing.assert_allclose(box.axes, turn, atol=1e-9)
    np.testing.assert_array_equal(box.size, [10, 20, 30])
    assert (box.name, box.class_name, box.score) == ("nodule-1", "nodule", None)
    corner = box.center + turn @ [5, 10, 15]
    assert np.abs(box.corners() - corner).sum(1).min() < 1e-9


@pytest.mark.parametrize("system", ["LPS", "RAS"])
def test_coordinates(tmp_path, system):
    (box,) = read_boxes(write(tmp_path, roi(system)))
    np.testing.assert_allclose(box.center, [10, -20, 30])
    np.testing.assert_allclose(box.axes, TURN, atol=1e-12)
    assert np.linalg.det(box.axes) == pytest.approx(1)
    assert box.class_name == "metastasis"


def test_a_box_without_orientation_lies_along_the_patient(tmp_path):
    for system in ("LPS", "RAS"):
        content = roi(system)
        del content["orientation"]
        np.testing.assert_array_equal(read_boxes(write(tmp_path, content))[0].axes, np.eye(3))


def test_a_score_and_markups_that_are_no_boxes(tmp_path):
    scored = roi(measurements=[{"name": "volume"}, {"name": "score", "value": 0.75}], name="first")
    points = {"type": "Fiducial", "controlPoints": [{"label": "a", "position": [0, 0, 0]}]}
    (box,) = read_boxes(write(tmp_path, points, scored))
    assert (box.score, box.name) == (0.75, "first")
    assert read_boxes(write(tmp_path, points)) == [], "a healthy case has no boxes"


def test_csv(tmp_path):
    file = tmp_path / "boxes.csv"
    header = "class,R,A,S,size_r,size_a,size_s,score\n"
    file.write_text(f"{header}nodule,1,2,3,4,5,6,0.5\n,-1,0,0,1,1,1,\n", encoding="utf-8")
    first, second = read_boxes(file)
    np.testing.assert_array_equal((first.center, first.size), [[1, 2, 3], [4, 5, 6]])
    np.testing.assert_array_equal(first.axes, np.eye(3))
    assert (first.class_name, first.score, second.class_name, second.score) == ("nodule", 0.5, "", None)
    file.write_text("r,a,s,size_r,size_a,size_s\n", encoding="utf-8")
    assert read_boxes(file) == []


HEADER = "r,a,s,size_r,size_a,size_s,score\n"


@pytest.mark.parametrize(
    "name, text, words",
    [
        ("b.csv", HEADER + "1,2,3,4,5,6,\n1,2,3,4,x,6,\n", "b.csv, line 3: 'x' in the column 'size_a' is not a number"),
        ("b.csv", HEADER + "1,2,3,4,0,6,\n", "b.csv, line 2: a box needs a position and three edges"),
        ("b.csv", HEADER + "1,2,3,4,5,6,1.5\n", "b.csv, line 2: the score 1.5 of a box must be from 0 to 1"),
        ("b.csv", "x,y,z\n", "lack the columns of the centre: r, a, s in RAS mm"),
        ("b.csv", "r,a,s,size_r,size_a\n", "lack the column 'size_s'"),
        ("b.csv", "", "is empty"),
        ("b.mrk.json", json.dumps({"markups": [roi(center=[1, 2])]}), "cannot be read as markups"),
        ("b.mrk.json", json.dumps({"markups": [roi(size=[1, 2, 0])]}), "three edges longer than 0 mm"),
        ("b.mrk.json", json.dumps({"markups": [roi(orientation=[1, 0, 0, 1, 1, 0, 0, 0, 1])]}), "not at right angles"),
        ("b.mrk.json", json.dumps({"markups": [roi(coordinateSystem="IJK")]}), "coordinate system 'IJK'"),
        ("b.txt", "", "use .mrk.json or .csv"),
    ],
)
def test_mistakes(tmp_path, name, text, words):
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        read_boxes(file)
    sentence = str(caught.value)
    assert words in sentence and "\n" not in sentence and sentence.endswith(".")
