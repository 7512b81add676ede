"""Datasets that cannot be trained on or evaluated with: one plain sentence, nothing written, exit code 2."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from MedDeepLib.data.sources.image import write_image
from toy_cases import toy_affine, toy_image


def image(path: Path, array=None, affine=None) -> Path:
    write_image(path, toy_image(9)[0] if array is None else array, toy_affine() if affine is None else affine)
    return path


def dataset(folder: Path, **changes) -> Path:
    entries = []
    for number in range(2):
        voxels, labels = toy_image(number)
        image(folder / f"i{number}.nrrd", voxels)
        image(folder / f"l{number}.nrrd", labels)
        entries.append({"image": f"i{number}.nrrd", "label": f"l{number}.nrrd", "patient": f"P{number}"})
    content = {"labels": {"1": "bright", "2": "dark"}, "training": entries}
    file = folder / "list.json"
    file.write_text(json.dumps(content | changes), encoding="utf-8")
    return file


def test_no_dataset(train, tmp_path):
    assert "does not exist" in train(tmp_path / "gone.json")


def test_a_dataset_without_training_cases(train, tmp_path):
    file = dataset(tmp_path, training=[], test=[{"image": "i0.nrrd"}])
    assert "has no training cases" in train(file)


def test_a_label_on_another_grid(train, tmp_path):
    file = dataset(tmp_path)
    image(tmp_path / "l0.nrrd", toy_image(0)[1][::2, ::2, ::2].copy(), toy_affine((4, 4, 5)))
    text = train(file)
    assert "l0.nrrd" in text and "grid" in text and "resample_labels" in text


def test_resampling_when_asked_for(segment, tmp_path):
    """The suggested remedy works: labels at half the resolution are resampled and learned."""
    file = dataset(tmp_path)
    image(tmp_path / "l0.nrrd", toy_image(0)[1][::2, ::2, ::2].copy(), toy_affine((4, 4, 6)))
    settings = {"steps": 1, "features": "8,8,8", "patch_size": "16,16,16", "resample_labels": "yes"}
    flags = [argument for key, value in settings.items() for argument in ("--set", f"{key}={value}")]
    code, _, errors = segment(
        "train", "--dataset", file, "--method", "unet", "--output", tmp_path / "run", "--device", "cpu", *flags
    )
    assert code == 0, errors
    assert (tmp_path / "run" / "model" / "models" / "model.pt").is_file()


def test_label_values_that_no_class_declares(train, tmp_path):
    file = dataset(tmp_path, labels={"1": "bright"})
    assert "has the label value 2, which the dataset does not declare" in train(file)


def test_empty_labels_alone(train, tmp_path):
    file = dataset(tmp_path)
    for number in range(2):
        image(tmp_path / f"l{number}.nrrd", toy_image(number)[1] * 0)
    assert "is empty: draw the structures" in train(file)
    assert "The labels of all 2 training cases are empty" in train(file, "--set", "validation_fraction=0")


def test_structures_in_the_case_set_aside_alone(train, tmp_path):
    file = dataset(tmp_path)
    image(tmp_path / "l0.nrrd", toy_image(0)[1] * 0)
    content = json.loads(file.read_text(encoding="utf-8"))
    content |= {"training": content["training"][:1], "validation": content["training"][1:]}
    file.write_text(json.dumps(content), encoding="utf-8")
    assert "only validation cases have structures" in train(file)


def test_a_label_that_is_an_image(train, tmp_path):
    file = dataset(tmp_path)
    image(tmp_path / "l1.nrrd", toy_image(1)[0])
    assert "l1.nrrd" in train(file)


def test_a_label_of_another_place(train, tmp_path):
    file = dataset(tmp_path)
    affine = toy_affine()
    affine[:3, 3] += np.array([2, 2, 2.5]) * 200
    image(tmp_path / "l1.nrrd", toy_image(1)[1], affine)
    assert "l1.nrrd" in train(file)


def test_the_same_patient_in_training_and_test(train, tmp_path):
    entries = [{"image": "i0.nrrd", "label": "l0.nrrd", "patient": "A"}]
    assert "The patient 'A' is both in training and in test" in train(dataset(tmp_path, training=entries, test=entries))


def test_a_patient_to_be_tested_who_was_trained_on(refused, toy_run, tmp_path):
    entries = [{"image": "i0.nrrd", "label": "l0.nrrd", "patient": "P1"}]
    file = dataset(tmp_path, training=[], test=entries)
    text = refused("evaluate", "--model", toy_run, "--dataset", file, "--output", tmp_path / "report.csv")
    assert "The patient 'P1' is in the test list and was trained on" in text


def test_nothing_to_evaluate(refused, toy_run, tmp_path):
    file = dataset(tmp_path, test=[{"image": "i0.nrrd", "patient": "other"}])
    text = refused("evaluate", "--model", toy_run, "--dataset", file, "--output", tmp_path / "report.csv")
    assert "has no test cases with labels" in text


def test_settings_that_fit_no_network(train, toy_dataset):
    assert "30 x 30 x 30 cannot be halved 2 times" in train(toy_dataset, "--set", "patch_size=30,30,30")
    assert "There is no parameter 'stepps'" in train(toy_dataset, "--set", "stepps=3")


def test_a_run_folder_that_cannot_be_made(segment, toy_dataset, tmp_path):
    (tmp_path / "file").touch()
    code, _, errors = segment(
        "train", "--dataset", toy_dataset, "--method", "unet", "--output", tmp_path / "file" / "run"
    )
    assert code == 2 and "cannot be written" in errors
