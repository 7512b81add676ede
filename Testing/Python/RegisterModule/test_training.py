"""Training: a network trained on small cases learns to register similar ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from MedDeepLib.bundles.model import open_model
from MedDeepLib.core import Context, from_mapping, get
from MedDeepLib.data.sources.image import Image, write_image
from RegisterModuleLib.worker.inputs import Labels, Pair
from RegisterModuleLib.worker.transforms import SpatialTransform
from toy_pairs import GRIDS, body, draw, inner_points, matrix_of, moved_by, random_bend, structures, write_label_dataset

PAINTED = {
    "spacing": 5, "features": "8,16,24", "structure_steps": 300, "steps": 300, "smoothness": 0.02,
    "learning_rate": 0.005, "elastic": 1.5, "validate_every": 125, "intensity": 0.3, "rotation": 5, "shift": 4,
}  # fmt: skip


def painted(folder: Path, **changes) -> Path:
    """The run of a model trained on painted images of a few bodies."""
    from MedDeepLib.jobs import Job
    from toy_cases import run_job

    dataset = write_label_dataset(folder / "data", 6)
    job = Job("register", "train", "morph", PAINTED | changes, dataset=str(dataset), device="cpu", threads=1)
    code, events = run_job(folder / "run", job)
    assert code == 0, events[-1]
    return folder / "run"


@pytest.fixture(scope="module")
def painted_model(tmp_path_factory):
    return painted(tmp_path_factory.mktemp("painted"))


def unseen(contrast: int) -> tuple[Pair, np.ndarray]:
    """Two bodies that were not trained on, in two contrasts, with the fixed one's labels."""
    bends = random_bend(50, 8.0), random_bend(51, 8.0)
    fixed = draw("plain", bends[0], lambda p: body(p, seed=3))
    moving = draw("plain", bends[1], lambda p: body(p, seed=4, contrast=contrast))
    affine = GRIDS["plain"][0]
    images = [Image(one.astype(np.float32)[None], affine) for one in (fixed, moving)]
    labels = Labels(draw("plain", bends[1], structures), affine, [])
    return Pair(*images, SpatialTransform(), labels), draw("plain", bends[0], structures)


def overlap(labels: np.ndarray, truth: np.ndarray) -> float:
    scores = [
        2 * ((labels == v) & (truth == v)).sum() / ((labels == v).sum() + (truth == v).sum()) for v in range(1, 6)
    ]
    return float(np.mean(scores))


@pytest.mark.slow
@pytest.mark.parametrize("contrast", [0, 11])
def test_a_network_alone_aligns_bodies_of_any_contrast(painted_model, contrast):
    pair, truth = unseen(contrast)
    model = open_model(painted_model, "register")
    method = model.make_method()
    options = from_mapping(method.ApplyParameters, {"steps": 0, "matrix_steps": 0})
    prediction = method.predictor(model, Context(torch.device("cpu")), options).predict(
        pair, Context(torch.device("cpu"))
    )
    before = overlap(pair.labels.array, truth)
    after = overlap(prediction.warped_labels(pair.labels), truth)
    assert after > before + 0.05, (before, after)
    assert prediction.summary()["folded_percent"] < 0.01


def test_a_model_of_another_size_warns(tmp_path):
    """A body twice as large is unlike the training data, however little the model has learned."""
    little = painted(tmp_path, structure_steps=2, steps=2, validate_every=2)
    twice = matrix_of(scale=(0.4, 0.4, 0.4))
    grid = (np.diag([7.0, 7, 7, 1]) + np.array([[0, 0, 0, -126]] * 3 + [[0] * 4]), (37, 43, 37))
    image = Image(draw(grid, lambda p: moved_by(twice, p)).astype(np.float32)[None], grid[0])
    other = Image(draw(grid, lambda p: moved_by(twice, p + 5)).astype(np.float32)[None], grid[0])
    events = []
    context = Context(torch.device("cpu"), report=lambda event, **fields: events.append((event, fields)))
    model = open_model(little, "register")
    method = model.make_method()
    options = from_mapping(method.ApplyParameters, {"steps": 0, "matrix_steps": 0})
    method.predictor(model, context, options).predict(Pair(image, other, SpatialTransform()), context)
    assert any(
        "another part of the body" in fields.get("message", "") for event, fields in events if event == "warning"
    )


@pytest.mark.slow
def test_images_without_labels_train_by_their_correlation(tmp_path):
    from MedDeepLib.jobs import Job
    from toy_cases import run_job

    entries = write_images(tmp_path, 8)
    content = {"name": "cohort", "training": entries[:6], "validation": entries[6:]}
    (tmp_path / "data.json").write_text(json.dumps(content), encoding="utf-8")
    parameters = {
        "spacing": 6, "features": "8,16,24", "point_steps": 0, "steps": 250, "smoothness": 0.02, "learning_rate": 0.004,
        "elastic": 0, "rotation": 3, "shift": 3, "scaling": 0.03, "intensity": 0.1, "validate_every": 20,
    }  # fmt: skip
    job = Job("register", "train", "morph", parameters, dataset=str(tmp_path / "data.json"), device="cpu", threads=1)
    code, events = run_job(tmp_path / "run", job)
    assert code == 0, events[-1]
    figures = [e["values"]["validation correlation"] for e in events if "validation correlation" in e.get("values", {})]
    assert max(figures) > figures[0] + 0.02, figures


@pytest.mark.parametrize("layout", ["pairs", "cohort", "atlas"])
def test_what_makes_a_pair(tmp_path, layout):
    """Listed pairs are kept, an atlas is always the fixed image, and a cohort pairs any two patients."""
    from dataclasses import replace

    from MedDeepLib.core.registry import task
    from MedDeepLib.data.dataset import load_dataset
    from RegisterModuleLib.worker.training import Changes, PairSampler
    from RegisterModuleLib.worker.training_data import load_training

    entries = write_images(tmp_path, 4)
    content = {"name": layout, "training": entries}
    if layout == "pairs":
        pair = {"fixed": entries[0]["image"], "moving": entries[3]["image"]}
        content = {"name": layout, "training": [pair, {"fixed": entries[2]["image"], "moving": entries[1]["image"]}]}
    if layout == "atlas":
        content = {"name": layout, "atlas": entries[0], "training": entries[1:]}
    (tmp_path / "data.json").write_text(json.dumps(content), encoding="utf-8")
    dataset = load_dataset(tmp_path / "data.json", task("register"))
    method = get("register", "morph")
    settings = replace(method.Parameters(), spacing=6.0)
    data, validation, plan = load_training(settings, dataset, Context(torch.device("cpu")))
    assert validation is None and not plan["painted"]
    names = [image.name for image in data.images]
    sampler = PairSampler(data, Changes(5, 0.05, 5, 0.2, 0, 0.2, 0.5), seed=0)
    if layout == "pairs":
        assert [(names[a], names[b]) for a, b in data.pairs] == [
            ("body0 and body3", "body3"),
            ("body2 and body1", "body1"),
        ]
    elif layout == "atlas":
        assert {(names[a], names[b]) for a, b in data.pairs} == {("body0", f"body{n}") for n in (1, 2, 3)}
    else:
        drawn = {sampler._pair(number, np.random.RandomState(number)) for number in range(60)}
        assert len(drawn) == 12 and all(a != b for a, b in drawn)
    one, again = sampler(7), sampler(7)
    assert torch.equal(one["image"], again["image"]) and not torch.equal(one["image"], sampler(8)["image"])


@pytest.mark.slow
def test_a_network_alone_finds_the_matrix_of_bodies_of_any_contrast(tmp_path):
    from MedDeepLib.jobs import Job
    from toy_cases import run_job

    dataset = write_label_dataset(tmp_path / "data", 6)
    parameters = {
        "spacing": 5, "features": "8,16,24", "steps": 300, "learning_rate": 0.005, "elastic": 1.5, "intensity": 0.3,
        "rotation": 20, "shift": 8, "validate_every": 150,
    }  # fmt: skip
    job = Job("register", "train", "global", parameters, dataset=str(dataset), device="cpu", threads=1)
    code, events = run_job(tmp_path / "run", job)
    assert code == 0, events[-1]
    truth = matrix_of((8, -6, 12), (7, -5, 4))
    images = [
        Image(draw("plain", values=lambda p: body(p, seed=3)).astype(np.float32)[None], GRIDS["plain"][0]),
        Image(
            draw("oblique", lambda p: moved_by(np.linalg.inv(truth), p), lambda p: body(p, 3, 11)).astype(np.float32)[
                None
            ],
            GRIDS["oblique"][0],
        ),
    ]
    model = open_model(tmp_path / "run", "register")
    method = model.make_method()
    options = from_mapping(method.ApplyParameters, {"matrix_steps": 0, "transform": "rigid"})
    context = Context(torch.device("cpu"))
    found = method.predictor(model, context, options).predict(Pair(*images, SpatialTransform()), context).transform
    points = inner_points()
    before = np.linalg.norm(points - moved_by(truth, points), axis=1).mean()
    after = np.linalg.norm(found.of_points(points) - moved_by(truth, points), axis=1).mean()
    assert after < 0.65 * before, (before, after)


@pytest.mark.slow
def test_a_network_of_points_learns_from_images_without_labels(tmp_path):
    from MedDeepLib.jobs import Job
    from toy_cases import run_job

    entries = write_images(tmp_path, 6)
    content = {"name": "cohort", "training": entries[:4], "validation": entries[4:]}
    (tmp_path / "data.json").write_text(json.dumps(content), encoding="utf-8")
    parameters = {
        "spacing": 3, "steps": 300, "learning_rate": 0.003, "elastic": 0.0, "validate_every": 15, "intensity": 0.1,
        "rotation": 15, "shift": 10, "scaling": 0.05, "points": 12,
    }  # fmt: skip
    job = Job("register", "train", "global", parameters, dataset=str(tmp_path / "data.json"), device="cpu", threads=1)
    code, events = run_job(tmp_path / "run", job)
    assert code == 0, events[-1]
    figures = [e["values"]["minus the error in mm"] for e in events if "minus the error in mm" in e.get("values", {})]
    assert max(figures) > 0.85 * figures[0], figures


def write_images(folder: Path, count: int) -> list[dict]:
    """Images of bodies, each with its own deformation, and their entries in a list."""
    for number in range(count):
        image = draw("plain", random_bend(number, 12.0))
        write_image(folder / f"body{number}.nrrd", image.astype(np.float32), GRIDS["plain"][0])
    return [{"image": f"body{number}.nrrd", "patient": f"p{number}"} for number in range(count)]


def test_a_batch_of_cases_with_and_without_labels_goes_without():
    from RegisterModuleLib.worker.stages import _collated

    plain = {"image": torch.zeros(2, 4, 4, 4), "truth": torch.eye(4)}
    labelled = plain | {"fixed_shares": torch.ones(3, 4, 4, 4), "moving_shares": torch.ones(3, 4, 4, 4)}
    assert set(_collated([labelled, plain])) == set(_collated([plain, labelled])) == {"image", "truth"}
    batch = _collated([labelled, labelled])
    assert batch["fixed_shares"].shape == (2, 3, 4, 4, 4) and set(batch) == set(labelled)
