"""Realistic labels: structures in several pieces or absent from some cases, and healthy cases without any."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from MedDeepLib.data.sources.image import read_image, write_image
from MedDeepLib.data.sources.labels import read_segmentation
from MedDeepLib.jobs import Job, JobFolder
from SegmentModuleLib.worker.postprocessing import (
    are_single_pieces,
    count_pieces,
    keep_largest_components,
    removal_in_words,
)
from toy_cases import TRAINING, failure, run_job, run_worker, toy_affine, toy_image, write_toy_dataset

SHORT = TRAINING | {"steps": 4, "validate_every": 2}
CLASSES = ("bright ball", "dark ball")


def change_label(dataset: Path, number: int, change) -> None:
    file = dataset.parent / f"label{number}.nii.gz"
    label = read_image(file).array[0].astype(np.uint8)
    write_image(file, change(label), toy_affine())


def without(value: int):
    return lambda label: np.where(label == value, 0, label).astype(np.uint8)


def empty(label: np.ndarray) -> np.ndarray:
    return np.zeros_like(label)


def train(dataset: Path, run: Path, parameters=SHORT) -> tuple[int, list[dict]]:
    return run_job(run, Job("segment", "train", "unet", parameters, dataset=str(dataset), device="cpu", threads=1))


def said(events: list[dict]) -> str:
    return "\n".join(event["message"] for event in events if event["event"] in ("message", "warning"))


def stored(run: Path) -> dict[str, bool]:
    return json.loads((run / "model/configs/metadata.json").read_text(encoding="utf-8"))["meddeep"]["single_piece"]


# --- the labels decide on post-processing -----------------------------------------------------------------------------


@pytest.fixture
def two_balls(tmp_path) -> Path:
    """An image with a second, smaller bright ball away from the first."""
    image = toy_image(9)[0]
    distance = np.sqrt(((np.indices(image.shape) - np.array([9, 16, 18])[:, None, None, None]) ** 2).sum(0))
    image[distance < 3.2] = 160
    write_image(tmp_path / "two.nii.gz", image, toy_affine())
    return tmp_path / "two.nii.gz"


@pytest.fixture
def pieces(segment, two_balls, tmp_path):
    """Applies a model with the script; the number of pieces of the bright ball, and the printed text."""

    def run(model: Path, *options) -> tuple[int, str]:
        output = tmp_path / "out.seg.nrrd"
        code, out, errors = segment(
            "apply", "--model", model, "--input", two_balls, "--output", output, "--device", "cpu", *options
        )
        assert code == 0, errors
        return int(count_pieces(np.asarray(read_segmentation(output)[0]), 2)[1]), out

    return run


def test_training_stores_which_classes_are_in_one_piece(tmp_path):
    dataset = write_toy_dataset(tmp_path)

    def with_another_piece(label):
        label[label == 2] = 0
        label[2:5, 2:5, 2:5] = label[30:33, 25:28, 18:21] = 2
        return label

    change_label(dataset, 1, with_another_piece)
    code, events = train(dataset, tmp_path / "run")
    assert code == 0, events[-1]
    assert stored(tmp_path / "run") == {"bright ball": True, "dark ball": False}
    assert "No label has bright ball in more than one piece" in said(events)
    figures = [event["values"] for event in events if "validation Dice" in event.get("values", {})]
    assert all("validation Dice as applied" in values for values in figures), "the rule of apply, before applying"


def test_small_pieces_are_removed_where_labels_have_none_and_that_is_said(toy_run, pieces):
    assert stored(toy_run) == dict.fromkeys(CLASSES, True)
    everything, out = pieces(toy_run, "--set", "largest_component=false")
    assert everything > 1 and "were removed" not in out
    for options in ((), ("--set", "largest_component=automatic"), ("--set", "largest_component=true")):
        count, out = pieces(toy_run, *options)
        assert count == 1
        (sentence,) = [line for line in out.splitlines() if "were removed" in line]
        assert sentence.startswith("Small separate pieces were removed: bright ball ")
        volume = float(sentence.split("bright ball ")[1].split(" ml")[0])
        assert 0.5 < volume < 2.5 and sentence.endswith(" ml.")


def test_a_model_of_an_older_version_keeps_all_pieces(toy_run, pieces, tmp_path):
    model = shutil.copytree(toy_run / "model", tmp_path / "old")
    file = model / "configs/metadata.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    del content["meddeep"]["single_piece"]
    file.write_text(json.dumps(content), encoding="utf-8")
    count, out = pieces(model)
    assert count > 1 and "were removed" not in out
    assert pieces(model, "--set", "largest_component=true")[0] == 1


def test_a_structure_in_two_pieces_stays_whole(toy_run, pieces, tmp_path):
    model = shutil.copytree(toy_run / "model", tmp_path / "lesions")
    file = model / "configs/metadata.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    content["meddeep"]["single_piece"]["bright ball"] = False
    file.write_text(json.dumps(content), encoding="utf-8")
    count, out = pieces(model)
    assert count > 1 and "bright ball" not in out


@pytest.mark.parametrize("old, kept", [(True, 1), (False, 2)])
def test_the_worker_reads_jobs_of_older_versions(toy_run, two_balls, tmp_path, old, kept):
    from MedDeepLib.core import ApplyItem
    from MedDeepLib.data.slots import Source

    output = tmp_path / "out.nii.gz"
    item = ApplyItem({"image": Source("image", (two_balls,))}, {"segmentation": str(output)})
    request = Job("segment", "apply", "", {"largest_component": old}, model=str(toy_run), items=(item,), device="cpu")
    code, events = run_job(tmp_path / "apply", request)
    assert code == 0, events[-1]
    count = count_pieces(read_image(output).array[0].astype(np.uint8), 2)[1]
    assert count == 1 if kept == 1 else count >= 2
    (outcome,) = JobFolder(tmp_path / "apply").result()["outputs"]
    assert ("removed: bright ball" in outcome.get("words", "")) == old


def test_counting_pieces_and_what_is_removed():
    labels = np.zeros((12, 12, 12), np.uint8)
    labels[1:4, 1:4, 1:4] = 1
    labels[4, 4, 4] = 1  # touches by a corner
    labels[8:10, 8:10, 8:10] = 1
    labels[6, 6, 6] = labels[9, 0, 0] = labels[9, 0, 1] = 3
    assert count_pieces(labels, 4).tolist() == [0, 2, 0, 2, 0]
    assert keep_largest_components(labels, 4, only=[3]) == {3: 1}
    assert keep_largest_components(labels, 4) == {1: 8}
    assert keep_largest_components(labels, 4) == {}


def test_one_piece_is_what_occurs_and_never_in_two():
    assert are_single_pieces([[0, 1, 1, 0], [0, 0, 2, 0]]).tolist() == [False, True, False, False]
    assert not are_single_pieces([[0, 1], None]).any(), "a case whose pieces are not known"
    assert not are_single_pieces([]).any()


def test_volumes_in_words():
    assert removal_in_words({}) == ""
    volumes = {"left kidney": 0.4, "liver": 123.4, "spleen": 1e-5}
    expected = "Small separate pieces were removed: left kidney 0.4 ml, liver 123 ml, spleen less than 0.001 ml."
    assert removal_in_words(volumes) == expected


# --- classes that are absent -----------------------------------------------------------------------------------------


def test_a_class_absent_from_validation_and_resume(tmp_path, monkeypatch):
    """False positives of it count, and neither training nor resuming crashes."""
    from SegmentModuleLib.worker import training

    dataset, run, parameters = write_toy_dataset(tmp_path), tmp_path / "run", TRAINING | {"steps": 80}
    change_label(dataset, 4, without(2))
    original, calls = training.mean_dice, []

    def dies_at_the_second(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise ValueError("died")
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(training, "mean_dice", dies_at_the_second)
        assert train(dataset, run, parameters | {"validate_every": 20})[0] != 0
    folder = JobFolder(run)
    folder.worker_file.unlink()  # the worker was this process, which is still alive
    folder.prepare_restart()
    assert run_worker(run) == 0
    prediction, reference, _ = calls[0]
    assert set(np.unique(reference)) == {0, 1}
    best = max(e["values"]["validation Dice"] for e in folder.events() if "validation Dice" in e.get("values", {}))
    assert best < 0.6, "the class that only the prediction has counts as 0"


def test_a_class_absent_from_training_is_reported(tmp_path):
    dataset = write_toy_dataset(tmp_path)
    for number in range(4):
        change_label(dataset, number, without(2))
    code, events = train(dataset, tmp_path / "run")
    assert code == 0, events[-1]
    assert "No training case has dark ball: the network cannot learn to find it." in said(events)
    assert stored(tmp_path / "run")["bright ball"]


# --- healthy cases ---------------------------------------------------------------------------------------------------


def test_healthy_cases_are_learnt_from(tmp_path):
    dataset = write_toy_dataset(tmp_path, cases=7)
    content = json.loads(dataset.read_text(encoding="utf-8"))
    content["validation"].append(content["training"].pop())
    dataset.write_text(json.dumps(content), encoding="utf-8")
    for number in (1, 4):  # one to train on, one to validate with
        change_label(dataset, number, empty)
    code, events = train(dataset, tmp_path / "run")
    assert code == 0, events[-1]
    assert "2 of 6 cases have no structure at all and count as healthy: image1, image4." in said(events)


def test_padding_that_was_taken_for_air_is_reported(tmp_path):
    dataset = write_toy_dataset(tmp_path)
    for number in (0, 2):
        file = tmp_path / f"image{number}.nii.gz"
        image = read_image(file)
        padded = np.full(image.shape, -3024, np.int16)
        inside = (slice(3, -3),) * 3
        padded[inside] = np.clip(image.array[0], -1000, 3000)[inside]
        write_image(file, padded, image.affine)
    code, events = train(dataset, tmp_path / "run")
    assert code == 0, events[-1]
    assert "2 of 5 cases have padding of -3024 around the scanned field: it was treated as air." in said(events)


def test_healthy_cases_alone_validate_nothing(tmp_path):
    """The best network would be one that finds nothing, so the last weights are kept, and a warning says so."""
    dataset = write_toy_dataset(tmp_path)
    change_label(dataset, 4, empty)
    code, events = train(dataset, tmp_path / "run")
    assert code == 0, events[-1]
    assert "No validation case has a structure" in said(events)
    assert not [event for event in events if "validation Dice" in event.get("values", {})]


@pytest.mark.parametrize("layout", ["list", "folder"])
def test_no_structure_in_any_case_is_refused(segment, tmp_path, layout):
    dataset = write_toy_dataset(tmp_path / "data")
    for number in range(6):
        change_label(dataset, number, empty)
    if layout == "folder":
        for kind in ("image", "label"):
            (tmp_path / f"data/{kind}s").mkdir()
            for file in (tmp_path / "data").glob(f"{kind}?.nii.gz"):
                file.rename(tmp_path / f"data/{kind}s/{file.name[-8:]}")
        dataset.unlink()
        dataset = tmp_path / "data"
    code, _, errors = segment(
        "train", "--dataset", dataset, "--method", "unet", "--output", tmp_path / "run", "--device", "cpu",
        "--set", "steps=2", "--set", "features=4,4,4", "--set", "patch_size=16,16,16",
    )  # fmt: skip
    (sentence,) = [line for line in errors.splitlines() if line.startswith("Error")]
    assert code == 2 and "all" in sentence and "empty: draw the structures in" in sentence
    assert "Traceback" not in errors


def test_a_structure_that_the_networks_grid_loses_is_no_healthy_case(tmp_path):
    dataset = write_toy_dataset(tmp_path)
    change_label(dataset, 2, lambda label: np.pad(np.ones((1, 1, 1), np.uint8), [(9, 26), (9, 22), (9, 14)]))
    code, events = train(dataset, tmp_path / "run", SHORT | {"spacing": [6.0, 6.0, 7.5]})
    assert code == 2
    assert "label2.nii.gz are smaller than the network's voxels" in failure(events)


def test_evaluation_with_healthy_cases(toy_run, segment, tmp_path):
    dataset = write_toy_dataset(tmp_path)
    content = json.loads(dataset.read_text(encoding="utf-8"))
    extra = {"image": "image7.nii.gz", "label": "label7.nii.gz", "patient": "P7"}
    body = toy_image(7)[0]
    body[toy_image(7)[1] > 0] = 100  # no ball
    write_image(tmp_path / "image7.nii.gz", body, toy_affine())
    write_image(tmp_path / "label7.nii.gz", np.zeros(body.shape, np.uint8), toy_affine())
    dataset.write_text(json.dumps(content | {"test": [*content["test"], extra]}), encoding="utf-8")
    report = tmp_path / "metrics.csv"
    code, out, errors = segment(
        "evaluate", "--model", toy_run, "--dataset", dataset, "--output", report, "--device", "cpu"
    )
    assert code == 0, errors
    assert "1 of 2 cases has no structure at all" in out
    with report.open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["patient"] == "P7"]
    assert len(rows) == 2
    for row in rows:
        found = float(row["volume_ml"]) > 0
        assert row["dice"] == ("0.0000" if found else ""), "a structure that was wrongly found counts"


def test_patches_of_a_healthy_case_come_from_the_body():
    from MedDeepLib.training.dense.patches import CachedCase, Volume, random_center

    case = CachedCase({"image": Volume(torch.zeros(1, 4, 4, 4))}, {0: np.array([[1, 2, 3]])})
    assert random_center(case, np.random.RandomState(0), 0.8).tolist() == [1, 2, 3]
