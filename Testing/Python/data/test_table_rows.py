"""One table as a dataset, and a folder for each class: what is read, what is left out, and what is said of it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from ClassifyModuleLib.task import TASK
from MedDeepLib.data.dataset import load_dataset, with_validation
from MedDeepLib.data.sources.image import write_image
from MedDeepLib.errors import UserError

ROWS = [
    "patient,site,class,volume,sex,age,id",
    "P1,Basel,benign,3.5,f,60,1",
    "P2,Bern,malignant,9.1,m,71,2",
    "P3,Bern,benign,2.0,f,,3",
]


def write(folder, lines, name="features.csv"):
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / name


def test_every_row_is_a_case(tmp_path):
    dataset = load_dataset(write(tmp_path, ROWS), TASK)
    first = dataset.training[0]
    assert dataset.classes == ("benign", "malignant") and dataset.channels == ()
    assert (first.patient, first.site, first.targets["class"].value) == ("P1", "Basel", "benign")
    assert first.inputs["table"].value.row == 0
    assert first.inputs["table"].value.columns == ("volume", "age"), "neither text, nor the number of the case"
    notes = " ".join(dataset.notes)
    assert "sex" in notes and "text" in notes and "identifies" in notes


def test_a_json_file_names_columns_that_are_called_otherwise(tmp_path):
    write(tmp_path, [line.replace("class", "diagnosis").replace("patient", "subject") for line in ROWS])
    named = {"table": "features.csv", "class": "diagnosis", "patient": "subject", "ignore": ["age"]}
    (tmp_path / "list.json").write_text(json.dumps(named), encoding="utf-8")
    dataset = load_dataset(tmp_path / "list.json", TASK)
    assert [case.patient for case in dataset.training] == ["P1", "P2", "P3"]
    assert dataset.training[0].inputs["table"].value.columns == ("volume",)
    (tmp_path / "list.json").write_text(json.dumps(named | {"class": "grade"}), encoding="utf-8")
    with pytest.raises(UserError, match="no column 'grade'"):
        load_dataset(tmp_path / "list.json", TASK)


def test_a_row_that_cannot_be_read_is_named_by_its_line(tmp_path):
    with pytest.raises(UserError, match="line 3.*'many' in the column 'volume'"):
        load_dataset(write(tmp_path, [line.replace("9.1", "many") for line in ROWS]), TASK)
    with pytest.raises(UserError, match="line 4: there are 3 cells"):
        load_dataset(write(tmp_path, [*ROWS[:3], "P3,Bern,benign"]), TASK)


def test_rows_without_a_class_are_counted(tmp_path):
    dataset = load_dataset(write(tmp_path, [*ROWS, "P4,Bern,,4.0,f,50,4"]), TASK)
    assert "class" not in dataset.training[3].targets
    assert any("1 of 4 rows have no class or value (line 5)" in note for note in dataset.notes)


def test_a_list_of_files_stays_a_list(tmp_path):
    write(tmp_path, ["volume", "3"], "a.csv")
    dataset = load_dataset(write(tmp_path, ["table,class,patient", "a.csv,benign,P1"], "list.csv"), TASK)
    assert dataset.training[0].files("table")[0].name == "a.csv" and dataset.training[0].inputs["table"].value is None


def image(file):
    file.parent.mkdir(parents=True, exist_ok=True)
    write_image(file, np.arange(8, dtype=np.float32).reshape(2, 2, 2), np.eye(4))


def test_a_folder_for_each_class(tmp_path):
    for name in ("benign/1.nrrd", "benign/image_0001.nrrd", "malignant/1.nrrd"):
        image(tmp_path / "cohort" / name)
    dataset = load_dataset(tmp_path / "cohort", TASK)
    assert dataset.classes == ("benign", "malignant")
    assert [case.targets["class"].value for case in dataset.training] == ["benign", "benign", "malignant"]
    assert len({case.patient for case in dataset.training}) == 3, "equal file names are not one patient"
    assert any("patient" in note for note in dataset.notes)


def test_folders_of_splits_and_of_channels(tmp_path):
    for split in ("train", "test"):
        for name in ("a/1_0000", "a/1_0001", "a/2_0000", "a/2_0001", "b/3_0000", "b/3_0001", "b/4_0000", "b/4_0001"):
            image(tmp_path / split / f"{name}.nrrd".replace("/", f"/{split}"))
    dataset = load_dataset(tmp_path, TASK)
    assert (len(dataset.training), len(dataset.test)) == (4, 4)
    assert all(len(case.files("image")) == 2 for case in dataset.cases())


def test_an_empty_folder_of_a_class_is_said(tmp_path):
    image(tmp_path / "benign" / "1.nrrd")
    (tmp_path / "malignant").mkdir()
    with pytest.raises(UserError, match="malignant contains no image"):
        load_dataset(tmp_path, TASK)


def test_validation_patients_are_of_all_classes(tmp_path):
    lines = ["patient,class,volume", *(f"P{n},{'rare' if n % 10 == 0 else 'common'},{n + 0.5}" for n in range(40))]
    dataset = load_dataset(write(tmp_path, [*lines, "P99,single,1.5"]), TASK)
    split = with_validation(dataset, 0.25, 3, lambda case: case.targets["class"].value)
    classes = [case.targets["class"].value for case in split.validation]
    assert (classes.count("rare"), classes.count("common"), classes.count("single")) == (1, 9, 0)
    assert with_validation(dataset, 0.25, 3, lambda case: case.targets["class"].value) == split
