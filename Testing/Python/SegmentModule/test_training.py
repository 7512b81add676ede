"""Training through the worker: networks learn, and stop when they must."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from MedDeepLib.data.sources.image import write_image
from MedDeepLib.jobs import Job, JobFolder, State
from scipy import ndimage
from toy_cases import TRAINING, failure, run_job, run_worker

CPU = {"device": "cpu", "threads": 1}


def job(dataset, **parameters) -> Job:
    return Job("segment", "train", method="unet", parameters=TRAINING | parameters, dataset=str(dataset), seed=3, **CPU)


def best_dice(events) -> float:
    return max(e["values"]["validation Dice"] for e in events if "validation Dice" in e.get("values", {}))


def test_the_toy_network_learns_and_an_untrained_one_knows_nothing(toy_run, toy_dataset, tmp_path):
    assert best_dice(JobFolder(toy_run).events()) > 0.8
    code, events = run_job(tmp_path / "untrained", job(toy_dataset, steps=1, learning_rate=0.0))
    assert code == 0 and best_dice(events) < 0.3


@pytest.mark.slow
def test_segresnet_learns_too(toy_dataset, tmp_path):
    parameters = {key: value for key, value in TRAINING.items() if key not in ("features", "resolution")}
    parameters |= {"filters": 8, "blocks": [1, 1, 1], "learning_rate": 0.01}
    request = Job("segment", "train", method="segresnet", parameters=parameters, dataset=str(toy_dataset), **CPU)
    code, events = run_job(tmp_path / "run", request)
    assert code == 0, events[-1]
    assert best_dice(events) > 0.7


def test_a_loss_that_is_not_finite_is_a_failure_with_a_remedy(toy_dataset, tmp_path):
    code, events = run_job(tmp_path / "run", job(toy_dataset, learning_rate=1e30, validate_every=1))
    assert code == 3
    assert "The loss became" in failure(events) and "try a lower learning rate" in failure(events)
    assert not (tmp_path / "run" / "model").exists()


def test_a_full_disk_keeps_the_last_good_checkpoint_and_the_run_goes_on(toy_dataset, tmp_path, monkeypatch):
    run = tmp_path / "run"
    original, calls = torch.save, [0]

    def full_at_the_third(content, file, *arguments, **options):
        calls[0] += 1
        if calls[0] == 3:
            file.write(b"half")
            raise OSError(28, "No space left on device")
        return original(content, file, *arguments, **options)

    request = job(toy_dataset, steps=12, validate_every=4)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full_at_the_third)
        code, events = run_job(run, request)
    assert code == 2
    assert "the disk is full" in failure(events) and "last good checkpoint is kept" in failure(events)
    folder = JobFolder(run)
    folder.worker_file.unlink()  # the worker was this process, which is still alive
    assert folder.can_resume() and folder.state() is State.FAILED and not list(run.glob("*.part"))
    folder.prepare_restart()
    assert run_worker(run) == 0
    undisturbed = tmp_path / "undisturbed"
    assert run_job(undisturbed, request)[0] == 0
    first, second = (torch.load(r / "model/models/model.pt", weights_only=True) for r in (run, undisturbed))
    assert all(torch.equal(first[key], second[key]) for key in first)


def touching_discs(number: int) -> tuple[np.ndarray, np.ndarray]:
    """A slice of bright discs that touch, each with a thin dark rim; the label leaves the rims out."""
    random = np.random.default_rng(number)
    image, label = random.normal(0, 8, (96, 96)), np.zeros((96, 96), np.uint8)
    i, j = np.indices(image.shape)
    for row in range(5):
        for column in range(5):
            center = np.array([10 + 18 * row, 10 + 18 * column]) + random.uniform(-0.5, 0.5, 2)
            distance = np.hypot(i - center[0], j - center[1])
            image[distance < 9.5] = random.normal(60, 8, int((distance < 9.5).sum()))
            image[distance < 8.2] += 60
            label[distance < 8.2] = 1
    return image.astype(np.float32), label


@pytest.mark.parametrize("separation_weight", [pytest.param(0.0, marks=pytest.mark.slow), 10.0])
def test_a_network_for_slices_tells_touching_discs_apart(tmp_path, separation_weight):
    entries = []
    for number in range(5):
        image, label = touching_discs(number)
        for name, array in (("i", image), ("l", label)):
            write_image(tmp_path / f"{name}{number}.nrrd", array[..., None], np.eye(4))
        entries.append({"image": f"i{number}.nrrd", "label": f"l{number}.nrrd"})
    file = tmp_path / "list.json"
    content = {"labels": {"1": "cell"}, "training": entries[:3], "validation": entries[3:4]}
    file.write_text(json.dumps(content), encoding="utf-8")
    parameters = {"dimensions": 2, "patch_size": [64, 64], "steps": 200, "batch_size": 4, "flips": "all"}
    parameters |= {"separation_weight": separation_weight, "separation_sigma": 2.0}
    code, events = run_job(tmp_path / "run", job(file, **parameters))
    assert code == 0, events[-1]
    assert best_dice(events) > 0.9
    from MedDeepLib.bundles.model import open_model
    from MedDeepLib.core import Context
    from MedDeepLib.data.sources.image import read_image
    from SegmentModuleLib.parameters import ApplyParameters

    model, context = open_model(tmp_path / "run", "segment"), Context(torch.device("cpu"))
    predictor = model.make_method().predictor(model, context, ApplyParameters(largest_component=False))
    found = predictor.predict([read_image(tmp_path / "i4.nrrd")], context).labels[..., 0]
    count = ndimage.label(found == 1)[1]
    assert abs(count - 25) <= 2, "discs apart"
