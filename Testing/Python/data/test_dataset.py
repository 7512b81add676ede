"""Lists of cases in JSON, CSV and folders, and one sentence for each error in them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from MedDeepLib.core.registry import task
from MedDeepLib.data.classes import parse_classes
from MedDeepLib.data.dataset import Dataset, with_validation
from MedDeepLib.data.dataset import load_dataset as load_by_slots
from MedDeepLib.data.sources.image import write_image
from MedDeepLib.data.sources.labels import Segment, write_segmentation
from MedDeepLib.errors import UserError

SEGMENT = task("segment")
LABELS = {"1": "liver", "2": {"name": "spleen", "color": [0.1, 0.2, 0.3]}}


def load_dataset(path: Path) -> Dataset:
    return load_by_slots(path, SEGMENT)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Empty files a..d as images and labels; reading a list does not open them."""
    for letter in "abcd":
        for kind in ("image", "second", "label"):
            (tmp_path / f"{letter}_{kind}.nrrd").touch()
    return tmp_path


def case(letter: str, **changes) -> dict:
    entry = {"image": f"{letter}_image.nrrd", "label": f"{letter}_label.nrrd", "patient": letter.upper()}
    return {key: value for key, value in (entry | changes).items() if value is not None}


def write(folder: Path, **content) -> Path:
    file = folder / "list.json"
    file.write_text(json.dumps({"labels": LABELS, "training": [case("a")]} | content), encoding="utf-8")
    return file


def sentence(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_dataset(path)
    text = str(caught.value)
    assert "\n" not in text and text.endswith(".")
    return text


def test_json(folder):
    dataset = load_dataset(
        write(
            folder,
            name="Abdomen",
            description="Two organs.",
            channels=["T1", "T2"],
            training=[case("a", image=["a_image.nrrd", "a_second.nrrd"], site="Basel", name="first")],
            test=[case("b", image=["b_image.nrrd", "b_second.nrrd"], label=None)],
        )
    )
    assert (dataset.name, dataset.description, dataset.channels) == ("Abdomen", "Two organs.", ("T1", "T2"))
    assert [(s.value, s.name) for s in dataset.segments] == [(1, "liver"), (2, "spleen")]
    assert dataset.segments[1].color == (0.1, 0.2, 0.3)
    first = dataset.training[0]
    assert (first.name, first.patient, first.site) == ("first", "A", "Basel")
    assert [image.name for image in first.files("image")] == ["a_image.nrrd", "a_second.nrrd"]
    assert first.files("image")[0].is_absolute() and first.files("label") == (folder / "a_label.nrrd",)
    assert not dataset.test[0].files("label") and dataset.validation == ()


def test_decathlon(folder):
    """Modalities by number, background among the labels, and test cases given as plain file names."""
    dataset = load_dataset(
        write(
            folder,
            modality={"0": "MRI"},
            labels={"0": "background", "1": "Anterior", "2": "Posterior"},
            training=[case("a", image="./a_image.nrrd", label="./a_label.nrrd", patient=None)],
            test=["./b_image.nrrd", "./c_image.nrrd"],
        )
    )
    assert dataset.channels == ("MRI",)
    assert [(s.value, s.name) for s in dataset.segments] == [(1, "Anterior"), (2, "Posterior")]
    assert [c.name for c in dataset.cases()] == ["a_image", "b_image", "c_image"]
    assert [c.files("label") for c in dataset.test] == [(), ()]


def test_nnunet_lists_its_cases_by_their_files(tmp_path):
    """nnU-Net's dataset.json names channels and labels; the cases are the files in imagesTr and labelsTr."""
    for name in ("imagesTr", "labelsTr"):
        (tmp_path / name).mkdir()
    for name in ("imagesTr/p1_0000", "imagesTr/p1_0001", "imagesTr/p10_0000", "imagesTr/p10_0001"):
        (tmp_path / f"{name}.nii.gz").touch()
    for name in ("labelsTr/p1", "labelsTr/p10", "labelsTr/._p1"):
        (tmp_path / f"{name}.nii.gz").touch()
    content = {
        "channel_names": {"0": "T1", "1": "FLAIR"},
        "labels": {"background": 0, "tumor": 1},
        "numTraining": 2,
        "file_ending": ".nii.gz",
    }
    (tmp_path / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    for path in (tmp_path, tmp_path / "dataset.json"):
        dataset = load_dataset(path)
        assert dataset.channels == ("T1", "FLAIR")
        assert [(s.value, s.name) for s in dataset.segments] == [(1, "tumor")]
        assert [[image.name for image in c.files("image")] for c in dataset.training] == [
            ["p1_0000.nii.gz", "p1_0001.nii.gz"],
            ["p10_0000.nii.gz", "p10_0001.nii.gz"],
        ]
        assert [c.patient for c in dataset.training] == ["p1", "p10"]


def test_nnunet_v1_leaves_the_channel_out_of_its_file_names(folder):
    for number in range(2):
        (folder / f"e_{number:04d}.nii.gz").touch()
    dataset = load_dataset(
        write(folder, modality={"0": "T1", "1": "T2"}, training=[{"image": "./e.nii.gz", "label": "./a_label.nrrd"}])
    )
    assert [image.name for image in dataset.training[0].files("image")] == ["e_0000.nii.gz", "e_0001.nii.gz"]


def test_csv(folder):
    write_labels(folder / "a_label.nrrd", 3)
    file = folder / "list.csv"
    file.write_text(
        "Split,image,image2,Label,patient,site\n"
        "training,a_image.nrrd,a_second.nrrd,a_label.nrrd,A,Basel\n"
        "test,b_image.nrrd,b_second.nrrd,,B,\n",
        encoding="utf-8-sig",
    )
    dataset = load_dataset(file)
    assert [image.name for image in dataset.training[0].files("image")] == ["a_image.nrrd", "a_second.nrrd"]
    first, second = dataset.training[0], dataset.test[0]
    assert (first.patient, first.site, second.files("label")) == ("A", "Basel", ())
    assert [(s.value, s.name) for s in dataset.segments] == [(3, "label 3")]
    assert dataset.channels == ("channel 1", "channel 2")


def test_csv_without_splits_is_for_training(folder):
    write_labels(folder / "a_label.nrrd", 1)
    file = folder / "list.csv"
    file.write_text("image,label\na_image.nrrd,a_label.nrrd\n", encoding="utf-8")
    dataset = load_dataset(file)
    assert [c.name for c in dataset.training] == ["a_image"] and dataset.channels == ("image",)


def test_folder_with_segmentations_takes_their_names(tmp_path):
    labels = np.zeros((4, 4, 4), np.uint8)
    labels[1, 1, 1] = 2
    segment = Segment(2, "thalamus", (0.0, 1.0, 0.0))
    write_segmentation(tmp_path / "labels/a.seg.nrrd", labels, np.eye(4), [segment])
    for name in ("images/a.nrrd", "images/ab.nrrd", "images/a_note.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    dataset = load_dataset(tmp_path)
    assert [(s.value, s.name, s.color) for s in dataset.segments] == [(2, "thalamus", (0.0, 1.0, 0.0))]
    assert [[image.name for image in c.files("image")] for c in dataset.training] == [["a.nrrd"]]


def test_files_of_one_name_in_a_folder_per_patient(tmp_path):
    """If every patient has a folder with the same file names, the folder distinguishes the patients."""
    for name in ("anna", "bert"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "t1.nrrd").touch()
    dataset = load_dataset(write(tmp_path, training=[{"image": "anna/t1.nrrd"}], test=[{"image": "bert/t1.nrrd"}]))
    assert [(c.name, c.patient) for c in dataset.cases()] == [("anna/t1", "anna/t1"), ("bert/t1", "bert/t1")]


@pytest.mark.parametrize("patients", [("A", "A"), (0, 0), (None, None)])
@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_patient_in_two_splits_is_refused(folder, split, patients):
    entries = [case("a", patient=patient, image="a_image.nrrd") for patient in patients]
    text = sentence(write(folder, training=entries[:1], **{split: entries[1:]}))
    assert "both in training and in " + split in text


def test_numbers_as_patients(folder):
    dataset = load_dataset(write(folder, training=[case("a", patient=0), case("b", patient=7)]))
    assert [c.patient for c in dataset.training] == ["0", "7"]


def test_validation_is_split_by_patient(folder):
    entries = [case(letter, patient=patient) for letter, patient in zip("abcd", "XXYZ", strict=True)]
    dataset = load_dataset(write(folder, training=entries))
    chosen = [with_validation(dataset, 0.3, seed) for seed in range(20)]
    for split in chosen:
        inside, outside = ({c.patient for c in cases} for cases in (split.training, split.validation))
        assert not inside & outside and len(outside) == 1
        assert len(split.training) + len(split.validation) == 4
    assert {c.validation[0].patient for c in chosen} == set("XYZ"), "the seed chooses"
    assert with_validation(dataset, 0.3, 5) == chosen[5], "the same seed chooses the same"


def test_validation_is_left_alone(folder):
    one_patient = load_dataset(write(folder, training=[case("a"), case("b", patient="A")]))
    own = load_dataset(write(folder, training=[case("a"), case("c")], validation=[case("b")]))
    assert with_validation(one_patient, 0.5, 0) == one_patient
    assert with_validation(own, 0.5, 0) == own
    assert with_validation(one_patient, 0.0, 0) == one_patient


def test_most_patients_may_be_set_aside_but_one_stays(folder):
    dataset = load_dataset(write(folder, training=[case(letter) for letter in "abcd"]))
    split = with_validation(dataset, 0.9, 0)
    assert (len(split.training), len(split.validation)) == (1, 3)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"training": [{"label": "a_label.nrrd"}]}, 'list.json, training 0: a case needs an "image"'),
        ({"training": [case("a"), 7]}, 'list.json, training 1: a case needs an "image"'),
        ({"training": [case("a", image="gone.nrrd")]}, "gone.nrrd does not exist"),
        ({"training": [case("a", label="gone.nrrd")]}, "gone.nrrd does not exist"),
        ({"training": {"a": 1}}, '"training" must be a list of cases'),
        ({"labels": {}}, "has no classes"),
        ({"labels": None}, "has no classes"),
        ({"labels": {"0": "background"}}, "names only the background"),
        ({"labels": {"one": "liver"}}, "the label value 'one' must be a whole number"),
        ({"labels": {"-1": "liver"}}, "the label value '-1' must be a whole number"),
        ({"labels": {"70000": "liver"}}, "the label value '70000' must be a whole number"),
        ({"labels": {"1": ["liver"]}}, "label 1"),
        ({"labels": {"1": None}}, "label 1"),
        ({"labels": {"1": {"name": "liver", "color": [2, 0, 0]}}}, "colour of label 1 must be three numbers"),
        ({"labels": {"1": {"name": "liver", "color": "red"}}}, "colour of label 1 must be three numbers"),
        ({"labels": {"1": {"name": "liver", "color": 1}}}, "colour of label 1 must be three numbers"),
        ({"labels": {"1": "liver", "01": "spleen"}}, "the label value 1 is declared twice"),
        ({"labels": {"1": "liver", "2": "liver"}}, "two labels are called 'liver'"),
        ({"labels": {str(n): f"s{n}" for n in range(1, 300)}}, "at most 255"),
        ({"channels": ["T1", "T2"]}, "The case a_image has 1 image, but the dataset has 2 channels (T1, T2)"),
        ({"channels": 3}, '"channels" must be a list of names'),
    ],
)
def test_mistakes_in_json(folder, changes, words):
    assert words in sentence(write(folder, **changes))


@pytest.mark.parametrize("text, line", [('// mine\n{"training": []}', 1), ('{"training":\n["a.nrrd",]}', 2)])
def test_json_with_comments_or_a_last_comma(tmp_path, text, line):
    file = tmp_path / "list.json"
    file.write_text(text, encoding="utf-8")
    assert f"in line {line}, column" in sentence(file) and "no comma after the last entry" in sentence(file)


def test_one_channel_may_be_a_name(folder):
    assert load_dataset(write(folder, channels="T1")).channels == ("T1",)


@pytest.mark.parametrize("text", ["{", "[]", '"list"', "\xff"])
def test_what_is_no_json(tmp_path, text):
    file = tmp_path / "list.json"
    file.write_bytes(text.encode("latin-1"))
    assert sentence(file).startswith("The dataset list.json ")


@pytest.mark.parametrize(
    "text, words",
    [
        ("split,image\nteaching,a_image.nrrd\n", "list.csv, line 2: the split 'teaching' must be one of training"),
        ("split,image\ntraining,a_image.nrrd\ntest,gone.nrrd\n", "list.csv, line 3: the file"),
        ("picture,label\na_image.nrrd,\n", 'list.csv, line 2: a case needs an "image"'),
        ("image,image2\na_image.nrrd,a_second.nrrd\nb_image.nrrd,\n", "has 1 image, but the dataset has 2"),
    ],
)
def test_mistakes_in_csv(folder, text, words):
    file = folder / "list.csv"
    file.write_text(text, encoding="utf-8")
    assert words in sentence(file)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_csv_as_spreadsheets_write_it(folder, encoding, separator, line_end):
    """Semicolons where the comma is the decimal point, tabs, and the encoding of older Windows programs."""
    lines = [["image", "site", "name"], ["a_image.nrrd", "Zürich", '"a; b, c"'], ["b_image.nrrd", "Bern", ""]]
    file = folder / "list.csv"
    file.write_bytes((line_end.join(separator.join(line) for line in lines) + line_end).encode(encoding))
    dataset = load_dataset(file)
    assert [(c.name, c.site) for c in dataset.training] == [("a; b, c", "Zürich"), ("b_image", "Bern")]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_json_as_editors_write_it(folder, encoding):
    file = write(folder, training=[case("a", site="Zürich")])
    content = json.loads(file.read_text(encoding="utf-8"))
    file.write_bytes(json.dumps(content, ensure_ascii=False).encode(encoding))
    assert load_dataset(file).training[0].site == "Zürich"


def test_what_is_no_dataset(tmp_path):
    (tmp_path / "list.txt").touch()
    (tmp_path / "empty" / "images").mkdir(parents=True)
    (tmp_path / "empty" / "labels").mkdir()
    assert "does not exist" in sentence(tmp_path / "gone.json")
    assert "neither .json nor .csv nor a folder" in sentence(tmp_path / "list.txt")
    assert "is not a dataset" in sentence(tmp_path)
    assert "contains no label images" in sentence(tmp_path / "empty")


def test_folder_with_a_label_without_image(tmp_path):
    (tmp_path / "images").mkdir()
    write_labels(tmp_path / "labels" / "a.nrrd", 1)
    assert "has no image for the label file a.nrrd" in sentence(tmp_path)


def test_classes_are_sorted_by_value():
    assert [s.value for s in parse_classes({"20": "b", "3": "a"}, "here")] == [3, 20]


def write_labels(path: Path, value: int) -> None:
    labels = np.zeros((4, 4, 4), np.uint8)
    labels[1, 2, 1] = value
    write_image(path, labels, np.eye(4))
