"""COCO, Pascal VOC and MONAI's LUNA16 lists: their boxes lie where the originals say, and become cases."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from DetectModuleLib.task import TASK
from DetectModuleLib.worker.references import Reading, excluded_boxes, reference_boxes
from MedDeepLib.data.dataset import load_dataset
from MedDeepLib.data.sources.image import read_image, write_image
from MedDeepLib.errors import UserError
from PIL import Image

PICTURE = (40, 30)  # width, height
GRID = np.diag([-0.7, -0.7, 1.25, 1.0])
GRID[:3, 3] = (10, 8, -5)
TO_LPS = np.array([-1.0, -1.0, 1.0])


def picture(folder: Path, name: str) -> None:
    """A dark picture with a bright rectangle: columns 5 to 14, rows 10 to 13."""
    pixels = np.zeros((*PICTURE[::-1], 3), np.uint8)
    pixels[10:14, 5:15] = (250, 200, 100)
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(folder / name)


def bright_part(image) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest corner in RAS mm of the bright voxels."""
    index = np.argwhere(image.array[0] > 128)
    corners = np.array([index.min(0) - 0.5, index.max(0) + 0.5])
    places = corners @ image.affine[:3, :3].T + image.affine[:3, 3]
    return places.min(0), places.max(0)


def assert_around_the_bright_part(case, classes) -> None:
    image = read_image(case.files("image")[0])
    (box,) = reference_boxes(case, image.shape, image.affine, Reading(classes))
    low, high = bright_part(image)
    corners = box.corners()
    np.testing.assert_allclose([corners.min(0), corners.max(0)], [low, high], atol=1e-6)


def coco(folder: Path, **changes) -> Path:
    picture(folder / "images", "a.png")
    picture(folder / "images", "b.png")
    content = {
        "images": [
            {"id": 7, "file_name": "a.png", "width": 40, "height": 30, "patient": "P"},
            {"id": 8, "file_name": "b.png", "split": "test"},
        ],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 3, "bbox": [5, 10, 10, 4], "iscrowd": 0},
            {"id": 2, "image_id": 7, "category_id": 3, "bbox": [20, 0, 10, 4], "iscrowd": 1},
        ],
        "categories": [{"id": 2, "name": "unused"}, {"id": 3, "name": "cell"}],
    }
    file = folder / "instances.json"
    file.write_text(json.dumps(content | changes), encoding="utf-8")
    return file


def test_coco(tmp_path):
    dataset = load_dataset(coco(tmp_path), TASK)
    assert dataset.classes == ("cell",) and dataset.channels == ("red", "green", "blue")
    ((case,), (negative,)) = dataset.training, dataset.test
    assert (case.name, case.patient, negative.name) == ("a", "P", "b")
    assert_around_the_bright_part(case, dataset.classes)
    assert len(excluded_boxes(case, np.eye(4))) == 1
    assert reference_boxes(negative, (40, 30, 1), np.eye(4), Reading(("cell",))) == []


@pytest.mark.parametrize("bbox, words", [([5, 10, 0, 4], "longer than 0 pixels"), ([1, 2], "cannot be read as a COCO")])
def test_coco_boxes_that_are_none(tmp_path, bbox, words):
    file = coco(tmp_path, annotations=[{"image_id": 7, "category_id": 3, "bbox": bbox}])
    with pytest.raises(UserError, match=words):
        load_dataset(file, TASK)


def voc(folder: Path) -> Path:
    for name in ("a", "b", "c"):
        picture(folder / "JPEGImages", f"{name}.png")
    box = "<bndbox><xmin>6</xmin><ymin>11</ymin><xmax>15</xmax><ymax>14</ymax></bndbox>"
    texts = {
        "a": f"<annotation><object><name>cell</name>{box}</object></annotation>",
        "b": "<annotation/>",
        "c": f"<annotation><object><name>cell</name><difficult>1</difficult>{box}</object></annotation>",
    }
    (folder / "Annotations").mkdir()
    for name, text in texts.items():
        (folder / "Annotations" / f"{name}.xml").write_text(text, encoding="utf-8")
    return folder


def test_pascal_voc(tmp_path):
    dataset = load_dataset(voc(tmp_path), TASK)
    assert [case.name for case in dataset.training] == ["a", "b", "c"] and dataset.classes == ("cell",)
    first, negative, difficult = dataset.training
    assert_around_the_bright_part(first, dataset.classes)
    for case in (negative, difficult):
        assert reference_boxes(case, (40, 30, 1), np.eye(4), Reading(("cell",))) == []
    assert len(excluded_boxes(difficult, np.eye(4))) == 1
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    for name, listed in (("train", "a"), ("val", "b 1"), ("test", "c -1")):
        (tmp_path / "ImageSets" / "Main" / f"{name}.txt").write_text(listed + "\n", encoding="utf-8")
    dataset = load_dataset(tmp_path, TASK)
    assert [case.name for case in dataset.cases()] == ["a", "b", "c"] and dataset.test[0].name == "c"
    (tmp_path / "Annotations" / "a.xml").write_text("<annotation><object>", encoding="utf-8")
    with pytest.raises(UserError, match="a.xml cannot be read as a Pascal VOC annotation"):
        load_dataset(tmp_path, TASK)


def luna(folder: Path, boxes, **changes) -> Path:
    voxels = np.zeros((30, 24, 20), np.int16)
    voxels[5:15, 10:14, 3:9] = 1000
    for name in ("a", "b"):
        write_image(folder / f"{name}.nii.gz", voxels, GRID)
    entries = [{"image": "a.nii.gz", "box": boxes, "label": [0] * len(boxes)}]
    entries += [{"image": "b.nii.gz", "box": [], "label": []}]
    file = folder / "dataset_fold0.json"
    file.write_text(json.dumps({"training": entries} | changes), encoding="utf-8")
    return file


def test_luna16_boxes_are_centre_and_size_in_lps(tmp_path):
    luna(tmp_path, [])
    low, high = bright_part(read_image(tmp_path / "a.nii.gz"))
    center, size = (low + high) / 2, high - low
    dataset = load_dataset(luna(tmp_path, [[*center * TO_LPS, *size]]), TASK)
    assert dataset.classes == ("nodule",) and "centre and size in LPS mm" in dataset.notes[0]
    assert_around_the_bright_part(dataset.training[0], dataset.classes)
    assert dataset.training[1].targets["findings"].value == ()
    corners = np.sort([low * TO_LPS, high * TO_LPS], axis=0).ravel().tolist()
    dataset = load_dataset(luna(tmp_path, [corners], box_mode="xyzxyz"), TASK)
    assert_around_the_bright_part(dataset.training[0], dataset.classes)
    in_ras = luna(tmp_path, [[*center, *size]], coordinate_system="RAS")
    assert_around_the_bright_part(load_dataset(in_ras, TASK).training[0], dataset.classes)


@pytest.mark.parametrize("box", [[1, 2, 3, 4, 5], [1, 2, 3, 0, 5, 5], "a"])
def test_luna16_boxes_that_are_none(tmp_path, box):
    with pytest.raises(UserError, match="dataset_fold0.json, training 0: "):
        load_dataset(luna(tmp_path, [box]), TASK)


def test_a_common_list_is_read_as_before(tmp_path):
    luna(tmp_path, [])
    (tmp_path / "list.json").write_text(json.dumps({"training": [{"image": "a.nii.gz"}]}), encoding="utf-8")
    assert load_dataset(tmp_path / "list.json", TASK).training[0].targets == {}
    (tmp_path / "broken.json").write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match="cannot be read as JSON"):
        load_dataset(tmp_path / "broken.json", TASK)
