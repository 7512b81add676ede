"""User-written registration methods, one file each: a learned metric, a radiograph with a volume, mistakes."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import itk
import numpy as np
import pytest
import tiny_register
import torch
from MedDeepLib.core import Context, get
from MedDeepLib.data.sources.image import Image, write_image
from toy_pairs import GRIDS, draw, inner_points, matrix_of, moved_by, write

OWN_METHODS = Path(__file__).resolve().parents[1] / "own_methods"

RADIOGRAPH = '''
from RegisterModuleLib.method import RegistrationMethod
from MedDeepLib.core.method import NoParameters

class Radiograph(RegistrationMethod):
    """Where the volume's middle is on the ray through the radiograph's."""

    name, title, summary = "radiograph", "Radiograph", "Pose of a volume in a radiograph."
    trainable, needs_overlap, Parameters = False, False, NoParameters

    def check_pair(self, fixed, moving):
        """Takes what it is here to take: an image of one slice and a volume."""

    def align(self, alignment, networks, model, options):
        shift = alignment.moving.affine[:3, :3] @ (0.5 * (alignment.pair.moving.array.shape[1] - 1), 0, 0)
        alignment.matrix[:3, 3] = shift
        alignment.figures["beams"] = 1
'''

TWO_AXES = '''
from RegisterModuleLib.methods.morph import Morph as Base

class TwoAxes(Base):
    """Forgets an axis."""

    name = "two-axes"

    def build(self, plan, channels):
        from torch import nn

        return super().build(plan, channels) | {"field": nn.Conv3d(2 * channels, 2, 3, 2, 1)}

class OneImage(Base):
    """Forgets that there are two images."""

    name = "one-image"

    def build(self, plan, channels):
        from torch import nn

        return super().build(plan, channels) | {"field": nn.Conv3d(1, 3, 3, 2, 1)}
'''


@pytest.mark.slow
def test_a_learned_metric_is_one_file(register, tmp_path, monkeypatch):
    """Once trained, it finds a shift and a rotation by its own gradients, and is evaluated like any other method."""
    monkeypatch.setenv("MEDDEEP_METHODS", str(OWN_METHODS))
    assert len((OWN_METHODS / "learned_metric.py").read_text(encoding="utf-8").splitlines()) < 60
    dataset, run = tiny_register.write_dataset(tmp_path), tmp_path / "run"
    code, shown, _ = register("methods", "learned-metric")
    assert code == 0 and "6.0" in shown, "the default of an inherited parameter"
    chosen = ("--dataset", dataset, "--method", "learned-metric", "--output", run, "--device", "cpu", "--seed", 1)
    code, _, errors = register("train", *chosen)
    assert code == 0, errors

    truth = matrix_of((0, 0, 6), (6, -4, 3))
    fixed = write(tmp_path / "fixed.nrrd", "plain")
    moving = write(tmp_path / "moving.nrrd", "plain", lambda points: moved_by(np.linalg.inv(truth), points))
    options = ("--device", "cpu", "--set", "finest_spacing=6", "--set", "matrix_steps=30")
    pair = ("--fixed", fixed, "--moving", moving, "--output-transform", tmp_path / "found.h5")
    code, shown, errors = register("apply", "--model", run, *pair, *options)
    assert code == 0, errors
    before, after = map(float, re.search(r"Similarity ([.\d]+) before, ([.\d]+) after", shown).groups())
    assert after > before + 0.1
    (transform,) = itk.transformread(str(tmp_path / "found.h5"))
    flip, points = np.array([-1, -1, 1.0]), inner_points(50)
    found = np.array([transform.TransformPoint((point * flip).tolist()) for point in points]) * flip
    wanted = moved_by(truth, points)
    assert np.linalg.norm(found - wanted, axis=1).mean() < 0.4 * np.linalg.norm(points - wanted, axis=1).mean()

    report = tmp_path / "report.csv"
    code, _, errors = register("evaluate", "--model", run, "--dataset", dataset, "--output", report, *options)
    assert code == 0, errors
    rows = list(csv.DictReader(report.open(encoding="utf-8")))
    whole = next(row for row in rows if row["structure"] == "whole image")
    assert float(whole["similarity_after"]) > float(whole["similarity_before"]) + 0.02


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Writes a file of methods where the registry finds it."""

    def write_methods(name: str, code: str) -> None:
        folder = tmp_path / "methods"
        folder.mkdir()
        (folder / f"{name}.py").write_text(code, encoding="utf-8")
        monkeypatch.setenv("MEDDEEP_METHODS", str(folder))

    return write_methods


def test_a_method_takes_the_pairs_that_it_says_it_takes(register, refused, own, tmp_path):
    """A radiograph and a distant volume, without a network or training; other methods still refuse them."""
    own("radiograph", RADIOGRAPH)
    affine = GRIDS["plain"][0].copy()
    affine[:3, 3] += 700
    write_image(tmp_path / "xray.nrrd", draw("plain")[:, :, 18:19].astype(np.float32), affine)
    volume = write(tmp_path / "ct.nrrd", "plain")
    assert "is a single slice and ct.nrrd is a volume" in refused(tmp_path / "xray.nrrd", volume)
    pair = ("--fixed", tmp_path / "xray.nrrd", "--moving", volume, "--output-transform", tmp_path / "pose.tfm")
    code, shown, errors = register("apply", "--model", "radiograph", *pair, "--device", "cpu")
    assert code == 0, errors
    assert "Points move by" in shown and "Similarity" not in shown and (tmp_path / "pose.tfm").exists()
    dataset = tiny_register.write_dataset(tmp_path)
    code, _, errors = register("train", "--dataset", dataset, "--method", "radiograph", "--output", tmp_path / "run")
    assert code == 2 and "Radiograph is not trained: apply it by its name" in errors


@pytest.mark.parametrize(
    ("method", "sentence"),
    [
        ("two-axes", "The network 'field' gives 2 channels, but 3 channels (the velocity along each axis) are needed"),
        ("one-image", "The network 'field' was built for 1 channel, but one of its convolutions gets 2 channels"),
    ],
)
def test_a_network_of_other_channels_is_named_at_the_first_step(register, own, tmp_path, method, sentence):
    own("channels", TWO_AXES)
    dataset, run = tiny_register.write_dataset(tmp_path), tmp_path / "run"
    chosen = ("--dataset", dataset, "--method", method, "--output", run, "--device", "cpu")
    settings = ("spacing=8", "point_steps=0", "steps=2", "features=4,8,8", "points=8")
    code, _, errors = register("train", *chosen, *(part for one in settings for part in ("--set", one)))
    assert code == 2 and sentence in errors and "unexpectedly" not in errors


class Seen:
    """A metric with state for each resolution, like one that computes features of the fixed image once."""

    def __init__(self):
        self.spacings, self.calls = [], 0

    def prepare(self, fixed, spacing):
        self.spacings.append(float(spacing.max()))
        features = fixed * 2

        def metric(same, moving, weight):
            assert torch.equal(same, fixed)
            self.calls += 1
            return (weight * (features - 2 * moving) ** 2).sum() / weight.sum()

        return metric

    def __call__(self, fixed, moving, weight):
        raise AssertionError("a metric that is prepared is not used unprepared")


def test_a_metric_may_prepare_itself_for_each_resolution():
    from RegisterModuleLib.parameters import ApplyParameters
    from RegisterModuleLib.worker.alignment import Alignment
    from RegisterModuleLib.worker.inputs import Pair
    from RegisterModuleLib.worker.transforms import SpatialTransform

    arrays = draw("plain"), draw("plain", lambda points: points - (5, -4, 3))
    pair = Pair(*(Image(one.astype(np.float32)[None], GRIDS["plain"][0]) for one in arrays), SpatialTransform())
    alignment, metric = Alignment(pair, ApplyParameters(finest_spacing=3.0), Context(torch.device("cpu"))), Seen()
    alignment.start()
    alignment.refine_matrix("rigid", 25, metric, to_finest=False)
    assert np.abs(alignment.matrix[:3, 3] - (5, -4, 3)).max() < 1.0
    assert metric.spacings[-2:] == sorted(metric.spacings, reverse=True)[-2:] and len(set(metric.spacings)) == 2
    doubled = tuple(type(scan)(scan.values**2, scan.affine) for scan in (alignment.fixed, alignment.moving))
    before = metric.calls
    alignment.refine_field(2, metric, images=doubled)
    assert metric.calls > before and "similarity_after" in alignment.result().figures


def test_a_trainable_method_without_stages_is_a_mistake_of_its_author():
    morph = get("register", "morph")
    method = type("Bare", (morph.__mro__[1],), {"name": "bare", "align": lambda self, *arguments: None})()
    with pytest.raises(NotImplementedError, match="yields no stages"):
        method.stages(None, Context(torch.device("cpu")))
