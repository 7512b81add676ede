"""The command "plan": it shows the parameters that a training then uses, and these learn."""

from __future__ import annotations

import json

import numpy as np
import pytest
from MedDeepLib.data.sources.image import write_image
from MedDeepLib.jobs import Job, JobFolder
from toy_cases import run_job, run_worker

CPU = ("--device", "cpu", "--threads", "1")
# Thick slices stacked to the left, as in a sagittal examination of the spine.
SHAPE, SPACING = (12, 56, 48), (5.0, 1.0, 1.0)


def phantom(number: int) -> tuple[np.ndarray, np.ndarray]:
    """A body of intensity 100 in air with a bright ball, round in millimetres, and a dark one in other slices."""
    random = np.random.default_rng(number)
    place = np.indices(SHAPE).astype(np.float64) * np.array(SPACING)[:, None, None, None]
    center = (np.array(SHAPE) - 1) / 2 * SPACING

    def distance(point):
        return np.sqrt(((place - np.asarray(point)[:, None, None, None]) ** 2).sum(0))

    image, label = random.normal(0, 5, SHAPE), np.zeros(SHAPE, np.uint8)
    image[np.abs(place[1] - center[1]) < 26] += 100
    for value, side, brightness in ((1, 1, 170), (2, -1, 40)):
        ball = distance(center + random.uniform(-4, 4, 3) + np.array([side * 12, 0, 0])) < random.uniform(8, 10)
        image[ball] = brightness + random.normal(0, 5, int(ball.sum()))
        label[ball] = value
    return image.astype(np.float32), label


@pytest.fixture(scope="module")
def thick_slices(tmp_path_factory):
    folder = tmp_path_factory.mktemp("thick")
    affine = np.diag([-SPACING[0], -SPACING[1], SPACING[2], 1.0])
    entries = []
    for number in range(6):
        for name, array in zip(("image", "label"), phantom(number), strict=True):
            write_image(folder / f"{name}{number}.nrrd", array, affine)
        entries.append({"image": f"image{number}.nrrd", "label": f"label{number}.nrrd", "patient": f"P{number}"})
    content = {"labels": {"1": "bright", "2": "dark"}, "training": entries[:-2], "validation": entries[-2:]}
    file = folder / "dataset.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    return file


def test_the_plan_says_what_and_why(segment, thick_slices, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code, out, errors = segment("plan", "--dataset", thick_slices, "--method", "unet", *CPU, "--set", "batch_size=3")
    assert code == 0, errors
    for words in (
        "The images: 4 training cases, 1 channel, 2 classes; typically 12 x 56 x 48 voxels of 5 x 1 x 1 mm",
        "5.0 times as coarse along right as along the finest axis",
        "spacing 5 x 1 x 1 mm: the median of the training images; along right the 10th percentile",
        "patch_size 12 x 56 x 48 voxels: a typical image has 12 x 56 x 48 voxels of that size, all of which fit",
        "batch_size 3: as you chose",
        "strides 1x2x2, 1x2x2, 2x2x2: ",
        "kernels 1x3x3, 3x3x3, 3x3x3: 1 along an axis whose neighbours are still twice as far away",
        "Needs about 0.",
        "A step takes about",
    ):
        assert words in out
    assert not list(tmp_path.glob("meddeep-*")), "nothing is left behind"


def test_a_plan_that_cannot_be_made_is_refused(segment, thick_slices, tmp_path):
    code, _, errors = segment("plan", "--dataset", tmp_path / "none.json", "--method", "unet", *CPU)
    assert code == 2 and "does not exist" in errors
    wrong = ("--set", "patch_size=25,25,25")
    code, _, errors = segment("plan", "--dataset", thick_slices, "--method", "unet", *CPU, *wrong)
    assert code == 2 and "A patch of 25 x 25 x 25 cannot be halved" in errors
    code, _, errors = segment("plan", "--dataset", thick_slices, "--method", "unet", *CPU, "--set", "strides=2x2")
    assert code == 2 and "strides needs 3 numbers" in errors


def train(folder, dataset, **parameters) -> tuple[float, dict]:
    """The best validation Dice, and the parameters recorded in parameters.json."""
    wanted = {"steps": 60, "validate_every": 60, "learning_rate": 0.02, "intensity": 0.2, "elastic": 0.0}
    job = Job("segment", "train", "unet", wanted | parameters, dataset=str(dataset), device="cpu", seed=3, threads=1)
    code, events = run_job(folder, job)
    assert code == 0, events[-1]
    dice = max(event["values"].get("validation Dice", 0) for event in events if event["event"] == "metrics")
    return dice, json.loads((folder / "parameters.json").read_text(encoding="utf-8"))["used"]


def test_what_is_chosen_for_thick_slices_learns_and_resumes(thick_slices, tmp_path):
    dice, used = train(tmp_path / "run", thick_slices)
    assert used["strides"] == "1x2x2, 1x2x2, 2x2x2" and used["patch_size"] == [12, 56, 48]
    assert dice > 0.8
    untrained, _ = train(tmp_path / "untrained", thick_slices, steps=1, learning_rate=0.0)
    assert untrained < 0.3


def test_a_resumed_training_keeps_the_plan(thick_slices, tmp_path):
    run = tmp_path / "run"
    _, used = train(run, thick_slices, steps=2, validate_every=1)
    folder = JobFolder(run)
    for file in (folder.result_file, folder.worker_file):
        file.unlink()
    content = json.loads(folder.parameters_file.read_text(encoding="utf-8"))
    content["used"]["batch_size"] = 1  # as if planned for another device
    folder.parameters_file.write_text(json.dumps(content), encoding="utf-8")
    for checkpoint in run.glob("checkpoint*.pt"):
        checkpoint.unlink()
    assert run_worker(run) == 0
    from MedDeepLib.bundles.model import open_model

    kept = open_model(run, "segment").metadata["parameters"]
    assert kept == used | {"batch_size": 1}
