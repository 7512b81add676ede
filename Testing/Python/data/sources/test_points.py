"""Points: every point of a file is read, in RAS millimetres, in any coordinate system that Slicer writes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from MedDeepLib.data.sources.points import read_points
from MedDeepLib.errors import UserError


def markup(*points, kind: str = "Fiducial", **more) -> dict:
    listed = [{"label": label, "position": list(position)} for label, position in points]
    return {"type": kind, "coordinateSystem": "LPS", "controlPoints": listed} | more


def write(folder: Path, *markups: dict, name: str = "points.mrk.json") -> Path:
    file = folder / name
    file.write_text(json.dumps({"markups": list(markups)}), encoding="utf-8")
    return file


def test_two_points_of_one_name_both_count(tmp_path):
    points = read_points(write(tmp_path, markup(("tip", (-1, -2, 3)), ("tip", (-4, 5, -6)), ("base", (0, 0, 0)))))
    assert points.names == ("tip", "tip", "base") and len(points) == 3
    np.testing.assert_array_equal(points.positions, [[1, 2, 3], [4, -5, -6], [0, 0, 0]])
    assert points.keys() == [("tip", 0), ("tip", 1), ("base", 0)]


@pytest.mark.parametrize("system, sign", [("LPS", -1), ("RAS", 1), ("1", -1), ("0", 1), (None, -1)])
def test_coordinates(tmp_path, system, sign):
    one = markup(("a", (1, 2, 3)), coordinateSystem=system)
    if system is None:
        del one["coordinateSystem"]
    np.testing.assert_array_equal(read_points(write(tmp_path, one)).positions, [[sign, 2 * sign, 3]])


@pytest.mark.parametrize("kind", ["Fiducial", "Line", "Angle", "Curve", "ClosedCurve", "Plane"])
def test_all_markups_that_consist_of_points(tmp_path, kind):
    file = write(tmp_path, markup(("a", (1, 2, 3)), ("", (4, 5, 6)), kind=kind), markup(("b", (7, 8, 9))))
    assert read_points(file).names == ("a", "2", "b")


def test_a_box_is_no_points(tmp_path):
    roi = markup(("box-1", (1, 2, 3)), kind="ROI", center=[1, 2, 3], size=[1, 1, 1])
    assert read_points(write(tmp_path, roi, markup(("a", (1, 2, 3))))).names == ("a",)
    with pytest.raises(UserError, match=r"contains a box \(ROI\) but no points"):
        read_points(write(tmp_path, roi))


def test_points_that_were_never_placed_are_left_out(tmp_path):
    one = markup(("a", (1, 2, 3)), ("b", (0, 0, 0)))
    one["controlPoints"][1]["positionStatus"] = "undefined"
    assert read_points(write(tmp_path, one)).names == ("a",)


@pytest.mark.parametrize("system, sign", [("LPS", -1), ("0", 1), ("RAS", 1), (None, -1)])
def test_fcsv(tmp_path, system, sign):
    head = "# Markups fiducial file version = 4.11\n" + (f"# CoordinateSystem = {system}\n" if system else "")
    line = "1,1.5,2,3,0,0,0,1,1,1,0,{},,vtkMRMLScalarVolumeNode1\n"
    file = tmp_path / "points.fcsv"
    file.write_text(f"{head}# columns = id,x,y,z\n{line.format('F-1')}{line.format('F-1')}{line.format('')}", "utf-8")
    points = read_points(file)
    assert points.names == ("F-1", "F-1", "3")
    np.testing.assert_array_equal(points.positions[0], [1.5 * sign, 2 * sign, 3])


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_csv(tmp_path, separator):
    file = tmp_path / "points.csv"
    file.write_bytes("Name,R,A,S\nTür,1,2,3\n,4,5,6\n".replace(",", separator).encode("cp1252"))
    points = read_points(file)
    assert points.names == ("Tür", "2")
    np.testing.assert_array_equal(points.positions, [[1, 2, 3], [4, 5, 6]])


@pytest.mark.parametrize(
    "name, text, words",
    [
        ("p.csv", "name,r,a,s\na,1,2,3\nb,1,x,3\n", "p.csv, line 3: a point needs three coordinates"),
        ("p.csv", "name,r,a,s\na,1,2\n", "p.csv, line 2: a point needs three coordinates"),
        ("p.csv", "name,x,y,z\na,1,2,3\n", "lack the column 'r'"),
        ("p.csv", "name,r,a,s\n", "contains no points"),
        ("p.csv", "", "lack the column 'r'"),
        ("p.csv", "name,r,a,s\na,1,nan,3\n", "invalid positions"),
        ("p.fcsv", "# CoordinateSystem = LPS\n1,2\n", "p.fcsv, line 2: a point needs three coordinates"),
        ("p.fcsv", "# CoordinateSystem = IJK\n1,1,2,3\n", "coordinate system 'IJK'"),
        ("p.mrk.json", "{", "cannot be read as markups"),
        ("p.mrk.json", '{"markups": [{"controlPoints": [{"position": [1, 2]}]}]}', "cannot be read as markups"),
        ("p.mrk.json", '{"markups": [{"controlPoints": 7}]}', "cannot be read as markups"),
        ("p.mrk.json", '{"markups": []}', "contains no points"),
        ("p.mrk.json", '{"markups": [{"coordinateSystem": "IJK", "controlPoints": []}]}', "coordinate system 'IJK'"),
        ("p.mrk.json", '{"markups": [{"coordinateUnits": "um", "controlPoints": []}]}', "the unit 'um'"),
        ("p.txt", "", "use .mrk.json, .fcsv or .csv"),
    ],
)
def test_mistakes(tmp_path, name, text, words):
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        read_points(file)
    sentence = str(caught.value)
    assert words in sentence and "\n" not in sentence and sentence.endswith(".")


def test_a_file_that_is_not_there(tmp_path):
    for name in ("gone.csv", "gone.fcsv", "gone.mrk.json"):
        with pytest.raises(UserError, match="cannot be read"):
            read_points(tmp_path / name)
