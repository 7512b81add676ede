"""What a case is known to have: from boxes, points and label maps, and what is refused in a sentence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from DetectModuleLib.task import TASK
from DetectModuleLib.worker.boxes import to_voxels
from DetectModuleLib.worker.references import Reading, reference_boxes
from MedDeepLib.data.dataset import load_dataset
from MedDeepLib.data.slots import Case, Source
from MedDeepLib.data.sources.image import write_image
from MedDeepLib.data.sources.labels import Segment, write_segmentation
from MedDeepLib.errors import UserError
from sample_images import GRIDS
from toy_lesions import roi_file

SHAPE = (30, 24, 20)
GRID = np.diag([-2.0, -2.0, 2.5, 1.0])
GRID[:3, 3] = (40, 10, -20)
READING = Reading(("ball",))
CENTER, SIZE = np.array([10.0, -8.0, 5.0]), np.array([6.0, 8.0, 10.0])


def case(kind: str, *files: Path, name: str = "findings") -> Case:
    return Case("one", {}, {name: Source(kind, files)})


def boxes_file(folder: Path, *boxes, class_name: str = "ball", **changes) -> Path:
    content = roi_file(boxes, class_name)
    for markup in content["markups"]:
        markup.update(changes)
    file = folder / "a.mrk.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    return file


def sentence(case: Case, reading: Reading = READING, grid=GRID) -> str:
    with pytest.raises(UserError) as caught:
        reference_boxes(case, SHAPE, grid, reading)
    text = str(caught.value)
    assert "\n" not in text and text.endswith(".")
    return text


def test_a_case_without_findings_is_negative(tmp_path):
    assert reference_boxes(Case("one"), SHAPE, GRID, READING) == []
    assert reference_boxes(case("boxes", boxes_file(tmp_path)), SHAPE, GRID, READING) == []
    (tmp_path / "a.csv").write_text("r,a,s,size_r,size_a,size_s\n", encoding="utf-8")
    assert reference_boxes(case("boxes", tmp_path / "a.csv"), SHAPE, GRID, READING) == []


def test_boxes_and_points_of_one_place_are_the_same(tmp_path):
    (box,) = reference_boxes(case("boxes", boxes_file(tmp_path, (CENTER, np.full(3, 6.5)))), SHAPE, GRID, READING)
    r, a, s = CENTER
    (tmp_path / "a.csv").write_text(f"r,a,s,diameter,class\n{r},{a},{s},6.5,ball\n", encoding="utf-8")
    row = f"1,{-r},{-a},{s},0,0,0,1,1,1,0,F-1,ball 6.5 mm,\n"
    (tmp_path / "a.fcsv").write_text(f"# CoordinateSystem = LPS\n{row}", encoding="utf-8")
    point = {"label": "ball-1", "description": "6.5 mm", "position": [-r, -a, s]}
    markup = {"type": "Fiducial", "coordinateSystem": "LPS", "controlPoints": [point]}
    (tmp_path / "p.mrk.json").write_text(json.dumps({"markups": [markup]}), encoding="utf-8")
    for name in ("a.csv", "a.fcsv", "p.mrk.json"):
        (other,) = reference_boxes(case("points", tmp_path / name, name="points"), SHAPE, GRID, READING)
        np.testing.assert_allclose(other.center, box.center, err_msg=name)
        np.testing.assert_allclose(other.size, box.size, err_msg=name)
        assert other.class_name == box.class_name == "ball"


def test_points_without_a_diameter_need_one(tmp_path):
    (tmp_path / "a.csv").write_text("r,a,s\n10,-8,5\n", encoding="utf-8")
    points = case("points", tmp_path / "a.csv", name="points")
    assert "The point '1' in" in sentence(points) and "set the parameter point_diameter" in sentence(points)
    (box,) = reference_boxes(points, SHAPE, GRID, Reading(("ball",), point_diameter=4.0))
    assert box.size.tolist() == [4, 4, 4] and box.class_name == "ball"


@pytest.mark.parametrize("name", GRIDS)
def test_each_piece_of_a_label_map_is_a_finding(tmp_path, name):
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:5, 3:7, 4:6] = 1
    labels[5, 7, 6] = 1  # touches the first one's corner, and so belongs to it
    labels[20:22, 3:4, 4:9] = 1
    labels[10:14, 10:14, 10:12] = 2
    segments = [Segment(1, "ball", (1, 0, 0)), Segment(2, "rod", (0, 1, 0))]
    write_segmentation(tmp_path / "a.seg.nrrd", labels, GRIDS[name], segments)
    reading = Reading(("ball", "rod"))
    boxes = reference_boxes(case("labels", tmp_path / "a.seg.nrrd", name="label"), SHAPE, GRIDS[name], reading)
    assert [box.class_name for box in boxes] == ["ball", "ball", "rod"]
    rows = to_voxels(boxes, GRIDS[name])
    np.testing.assert_allclose(rows[0], [3.5, 5, 5, 4, 5, 3], atol=1e-5)
    np.testing.assert_allclose(rows[2], [11.5, 11.5, 10.5, 4, 4, 2], atol=1e-5)
    fewer = Reading(("ball", "rod"), smallest_piece=11 * float(abs(np.linalg.det(GRIDS[name][:3, :3]))))
    assert len(reference_boxes(case("labels", tmp_path / "a.seg.nrrd"), SHAPE, GRIDS[name], fewer)) == 2


def test_classes_are_those_of_the_files(tmp_path):
    for number in range(2):
        write_image(tmp_path / f"{number}.nrrd", np.ones(SHAPE, np.uint8), GRID)
    boxes_file(tmp_path, (CENTER, SIZE), class_name="rod")
    (tmp_path / "b.csv").write_text("r,a,s,diameter,class\n1,2,3,4,ball\n1,2,3,4,\n", encoding="utf-8")
    entries = [{"image": "0.nrrd", "findings": "a.mrk.json"}, {"image": "1.nrrd", "points": "b.csv"}]
    file = tmp_path / "list.json"
    file.write_text(json.dumps({"training": entries}), encoding="utf-8")
    assert load_dataset(file, TASK).classes == ("ball", "finding", "rod")
    file.write_text(json.dumps({"training": entries, "classes": ["rod", "ball"]}), encoding="utf-8")
    assert load_dataset(file, TASK).classes == ("rod", "ball")


def test_folders_of_images_and_findings(tmp_path):
    for name in ("a", "b"):
        write_image(tmp_path / "images" / f"{name}.nrrd", np.ones(SHAPE, np.uint8), GRID)
    (tmp_path / "findings").mkdir()
    boxes_file(tmp_path / "findings", (CENTER, SIZE))
    (training,) = load_dataset(tmp_path, TASK).training
    assert training.name == "a" and training.files("findings")[0].name == "a.mrk.json"


def test_slicers_own_names_are_no_classes(tmp_path):
    content = roi_file([(CENTER, SIZE)], "")
    content["markups"][0]["controlPoints"][0]["label"] = "R-1"
    (tmp_path / "a.mrk.json").write_text(json.dumps(content), encoding="utf-8")
    (box,) = reference_boxes(case("boxes", tmp_path / "a.mrk.json"), SHAPE, GRID, READING)
    assert box.class_name == "ball"


def test_boxes_beside_the_image(tmp_path):
    inside, outside = (CENTER, SIZE), (np.array([500.0, 0, 0]), SIZE)
    text = sentence(case("boxes", boxes_file(tmp_path, inside, outside)))
    assert "1 of 2 findings of the case one lie outside its image, the first one at 500, 0, 0 mm (RAS)" in text


def test_lps_given_as_ras(tmp_path):
    places = [np.array([30.0, -30.0, 5.0]), np.array([28.0, -25.0, 0.0])]
    as_lps = [(place * [-1, -1, 1], SIZE) for place in places]
    file = boxes_file(tmp_path, *as_lps)
    text = sentence(case("boxes", file))
    assert "2 of 2 findings" in text and "taken as LPS: convert them to RAS" in text
    good = boxes_file(tmp_path, *[(place, SIZE) for place in places])
    assert len(reference_boxes(case("boxes", good), SHAPE, GRID, READING)) == 2


@pytest.mark.parametrize("size", [[0, 5, 5], [5, -1, 5], [5, float("nan"), 5]])
def test_boxes_without_a_size(tmp_path, size):
    file = boxes_file(tmp_path, (CENTER, SIZE), size=size)
    assert "a box needs a position and three edges longer than 0 mm" in sentence(case("boxes", file))


def test_a_mask_where_boxes_were_declared(tmp_path):
    write_image(tmp_path / "a.nii.gz", np.ones(SHAPE, np.uint8), GRID)
    text = sentence(case("boxes", tmp_path / "a.nii.gz"))
    assert 'the image a.nii.gz as "findings", which takes boxes: name a label map as "label"' in text


def test_points_where_boxes_were_declared(tmp_path):
    markup = {"type": "Fiducial", "controlPoints": [{"label": "a", "position": [1, 2, 3]}]}
    (tmp_path / "p.mrk.json").write_text(json.dumps({"markups": [markup]}), encoding="utf-8")
    assert 'has points but no boxes (ROIs): name it as "points"' in sentence(case("boxes", tmp_path / "p.mrk.json"))


def test_a_class_that_training_has_not(tmp_path):
    text = sentence(case("boxes", boxes_file(tmp_path, (CENTER, SIZE), class_name="cyst")))
    assert "has the class 'cyst', but the classes are ball" in text


def test_a_corrupt_file(tmp_path):
    (tmp_path / "a.mrk.json").write_text('{"markups": [{"type": "ROI", "center": 1}]}', encoding="utf-8")
    assert "a.mrk.json cannot be read as markups" in sentence(case("boxes", tmp_path / "a.mrk.json"))
