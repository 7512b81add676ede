"""Lists of other tasks: tables, classes, points and boxes instead of images with label maps, per their slots."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from MedDeepLib.core.registry import task
from MedDeepLib.data.dataset import load_dataset
from MedDeepLib.data.slots import Slot, Source
from MedDeepLib.errors import UserError


@dataclass(frozen=True)
class Slots:
    inputs: tuple[Slot, ...]
    targets: tuple[Slot, ...] = ()
    outputs: tuple[Slot, ...] = ()
    shared: tuple[str, ...] = ()
    forms: tuple[tuple[str, ...], ...] = ()
    readers: tuple = ()


CLASSIFY = Slots(
    (Slot("image", "image", many=True, required=False), Slot("features", "table", required=False), Slot("age", "value",
     required=False)), (Slot("class", "class"),), (Slot("class", "class"),),
)  # fmt: skip
DETECT = Slots((Slot("image", "image", many=True),), (Slot("boxes", "boxes", required=False),), (Slot("b", "boxes"),))
REGISTER = task("register")


@pytest.fixture
def folder(tmp_path) -> Path:
    for name in ("a", "b", "c", "d"):
        for ending in (".nrrd", ".csv", ".mrk.json", ".h5"):
            (tmp_path / f"{name}{ending}").touch()
    return tmp_path


def write(folder: Path, **content) -> Path:
    file = folder / "list.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    return file


def sentence(path: Path, slots) -> str:
    with pytest.raises(UserError) as caught:
        load_dataset(path, slots)
    text = str(caught.value)
    assert "\n" not in text and text.endswith(".")
    return text


def test_a_table_and_a_class_make_a_case(folder):
    entries = [{"features": "a.csv", "class": "benign"}, {"features": "b.csv", "class": "malignant", "age": 54}]
    dataset = load_dataset(write(folder, training=entries), CLASSIFY)
    first, second = dataset.training
    assert (first.name, first.patients) == ("a", ("a",))
    assert first.inputs == {"features": Source("table", (folder / "a.csv",))}
    assert first.targets == {"class": Source("class", value="benign")}
    assert second.inputs["age"] == Source("value", value=54.0) and second.all_files == (folder / "b.csv",)
    assert dataset.classes == ("benign", "malignant") and dataset.segments == () and dataset.notes == ()


def test_a_case_of_numbers_alone(folder):
    dataset = load_dataset(
        write(folder, training=[{"age": "71", "class": 1, "patient": "P"}, {"age": 3, "class": 0}]), CLASSIFY
    )
    assert [(c.name, c.patient, c.inputs["age"].value) for c in dataset.training] == [
        ("P", "P", 71.0), ("training 1", "training 1", 3.0),
    ]  # fmt: skip
    assert dataset.classes == ("0", "1")


def test_classes_have_the_order_of_the_list(folder):
    entries = [{"age": 1, "class": "b"}, {"age": 2, "class": "a"}]
    assert load_dataset(write(folder, training=entries, classes=["b", "c", "a"]), CLASSIFY).classes == ("b", "c", "a")
    text = sentence(write(folder, training=entries, classes=["b"]), CLASSIFY)
    assert "The case training 1 has the class 'a', but the classes of list.json are b." in text
    numbers = [{"age": 1, "class": str(value)} for value in (10, 9, 2)]
    assert load_dataset(write(folder, training=numbers), CLASSIFY).classes == ("2", "9", "10")


def test_csv(folder):
    file = folder / "list.csv"
    file.write_text("split;image;image2;Class;age\n;a.nrrd;b.nrrd;x;3\ntest;c.nrrd;d.nrrd;y;\n", encoding="utf-8")
    dataset = load_dataset(file, CLASSIFY)
    assert dataset.training[0].files("image") == (folder / "a.nrrd", folder / "b.nrrd")
    assert "age" not in dataset.test[0].inputs and dataset.classes == ("x", "y")
    assert dataset.channels == ("channel 1", "channel 2")


def test_boxes(folder):
    entries = [{"image": "a.nrrd", "boxes": "a.mrk.json"}, {"image": "b.nrrd"}]
    dataset = load_dataset(write(folder, training=entries, classes=["nodule"]), DETECT)
    assert dataset.training[0].targets == {"boxes": Source("boxes", (folder / "a.mrk.json",))}
    assert dataset.training[1].targets == {} and dataset.classes == ("nodule",)


def test_folders_are_called_like_the_slots(tmp_path):
    marks = Slots(DETECT.inputs, (Slot("point", "points", required=False),), (Slot("point", "points"),))
    for name in ("images/a.1.nrrd", "images/b.nrrd", "points/a.1.mrk.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (case,) = load_dataset(tmp_path, marks).training
    assert (case.name, case.files("image")[0].name, case.files("point")[0].name) == ("a.1", "a.1.nrrd", "a.1.mrk.json")
    (tmp_path / "points" / "c.csv").touch()
    assert "images has no image for the point file c.csv" in sentence(tmp_path, marks)
    assert "or the folders images and points with files of equal names" in sentence(tmp_path / "images", marks)


@pytest.mark.parametrize(
    "slots, entry, words",
    [
        (CLASSIFY, {"features": "a.csv"}, 'list.json, training 0: a case needs a "class" (the name of a class).'),
        (CLASSIFY, {"class": "x", "age": "old"}, "list.json, training 0: \"age\" must be a number, not 'old'."),
        (CLASSIFY, {"class": ["x", "y"], "age": 1}, '"class" must be the name of a class, not a list.'),
        (CLASSIFY, {"class": "x", "features": "gone.csv"}, "gone.csv does not exist"),
        (CLASSIFY, {"class": "x", "features": ["a.csv", "b.csv"]}, '"features" takes one file, not 2.'),
        (DETECT, {"boxes": "a.mrk.json"}, 'a case needs an "image" (a file, or a list of files: one per channel).'),
        (REGISTER, {"fixed": "a.nrrd"}, 'a pair needs both "fixed" and "moving".'),
        (REGISTER, {"moving": "a.nrrd"}, 'a pair needs both "fixed" and "moving".'),
        (REGISTER, {"landmarks": "a.csv"}, 'a case needs a "fixed" and a "moving", or an "image" ('),
        (REGISTER, {"fixed": ["a.nrrd", "b.nrrd"], "moving": "c.nrrd"}, "has 1 image as moving, but the dataset has 2"),
    ],
)
def test_mistakes(folder, slots, entry, words):
    assert words in sentence(write(folder, training=[entry]), slots)


def test_a_pair(folder):
    entry = {
        "fixed": "a.nrrd", "moving": "b.nrrd", "fixed_label": "c.nrrd", "moving_landmarks": "b.csv",
        "transform": "a.h5", "fixed_patient": "A", "moving_patient": "B", "site": "Bern",
    }  # fmt: skip
    atlas = {"image": "d.nrrd"}
    dataset = load_dataset(write(folder, training=[entry, {"image": "c.nrrd"}], atlas=atlas), REGISTER)
    pair, single = dataset.training
    assert (pair.name, pair.patients, pair.patient, pair.site) == ("a and b", ("A", "B"), "A", "Bern")
    assert set(pair.inputs) == {"fixed", "moving"} and set(pair.targets) == {
        "fixed_label", "moving_landmarks", "transform",
    }  # fmt: skip
    assert single.inputs["image"].files == (folder / "c.nrrd",)
    assert dataset.shared["atlas"].name == "d" and dataset.segments == ()


def test_pairs_of_one_patient_and_of_nobody(folder):
    pair = {"fixed": "a.nrrd", "moving": "b.nrrd"}
    own, nobody = load_dataset(write(folder, training=[pair | {"patient": "P"}, pair]), REGISTER).training
    assert own.patients == ("P",) and nobody.patients == ("a and b", "b")


def test_a_moving_patient_in_two_splits_is_refused(folder):
    entry = {"fixed": "a.nrrd", "moving": "b.nrrd", "fixed_patient": "A", "moving_patient": "B"}
    other = {"image": "b.nrrd", "patient": "B"}
    assert "The patient 'B' is both in training and in test" in sentence(
        write(folder, training=[entry], test=[other]), REGISTER
    )


def test_what_is_not_read_is_reported_once(folder):
    entries = [{"image": "a.nrrd", "class": "x", "lable": "b.nrrd", "fold": n} for n in range(3)]
    dataset = load_dataset(write(folder, training=entries, train=entries, labels={"1": "x"}), CLASSIFY)
    notes = "\n".join(dataset.notes)
    assert '"train" was ignored; cases are listed under training, validation, test.' in notes
    assert 'has "lable" in 3 cases, which was ignored: a case has image, features, age, class, name' in notes
    assert '"fold" in 3 cases' in notes and 'has "labels", which was ignored' in notes
    assert len(dataset.notes) == 4
    segment = load_dataset(write(folder, training=[{"image": "a.nrrd", "points": "a.csv"}]), task("segment"))
    assert len(segment.notes) == 1 and '"points" in 1 case,' in segment.notes[0]


def test_columns_that_are_not_read_are_reported(folder):
    file = folder / "list.csv"
    file.write_text("image,class,comment,class\na.nrrd,x,good,y,more\nb.nrrd,x,,z\n", encoding="utf-8")
    notes = load_dataset(file, CLASSIFY).notes
    assert any("has the column 'class' twice" in note for note in notes)
    assert any("line 2: there are more cells than the 4 columns" in note for note in notes)
    assert any('has "comment" in 1 case, which' in note for note in notes) and len(notes) == 3


def test_a_series_of_a_dicom_folder(tmp_path):
    """The form that the reader suggests, FOLDER::UID, works in a list."""
    (tmp_path / "ct").mkdir()
    for entry in ("ct::1.2.3", ["ct::1.2.3"]):
        (case,) = load_dataset(write(tmp_path, training=[{"image": entry, "class": "x"}]), CLASSIFY).training
        assert [str(file) for file in case.files("image")] == [f"{tmp_path / 'ct'}::1.2.3"]
        assert case.name == "ct_1.2.3" and "::" not in case.patient
    gone = write(tmp_path, training=[{"image": "mr::1.2.3", "class": "x"}])
    assert f"the file {tmp_path / 'mr'} does not exist" in sentence(gone, CLASSIFY)


def test_paths_of_windows(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.nrrd").touch()
    (case,) = load_dataset(write(tmp_path, training=[{"image": "data\\a.nrrd", "class": "x"}]), CLASSIFY).training
    assert case.files("image") == (tmp_path / "data" / "a.nrrd",)
