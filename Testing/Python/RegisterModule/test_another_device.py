"""Registration on a device with its own memory: every tensor is on the right device."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from another_device import stand_in, train_one_step
from MedDeepLib.bundles.model import open_model
from MedDeepLib.core import Context, from_mapping, get
from MedDeepLib.core.registry import task
from MedDeepLib.data.dataset import load_dataset
from MedDeepLib.data.sources.image import Image
from RegisterModuleLib.worker.inputs import Pair
from RegisterModuleLib.worker.transforms import SpatialTransform
from toy_pairs import GRIDS, body, displacement, draw, write_label_dataset


@pytest.fixture
def device(monkeypatch) -> torch.device:
    return stand_in(monkeypatch)


def drawn(grid: str) -> Image:
    return Image(draw(grid, lambda points: points, body).astype(np.float32)[None], GRIDS[grid][0])


def test_the_stand_in_is_as_strict_as_a_card(device):
    there = torch.ones(3, device=device)
    with pytest.raises(RuntimeError, match="not on the expected device"):
        there + torch.ones(3)
    with pytest.raises(TypeError, match="can't convert"):
        there.numpy()


@pytest.mark.parametrize("bent", [False, True], ids=["plain", "from a field"])
@pytest.mark.parametrize("name", ["global", "morph", "brain"])
def test_a_pair_is_registered(device, name, bent):
    model, context = open_model(name, "register"), Context(device)
    method = model.make_method()
    options = {"matrix_steps": 2} | ({} if name == "global" else {"steps": 2})
    predictor = method.predictor(model, context, from_mapping(method.ApplyParameters, options))
    initial = SpatialTransform((displacement(size=2.0),) if bent else ())
    prediction = predictor.predict(Pair(drawn("oblique"), drawn("left-handed"), initial), context)
    assert prediction.figures["steps"] > 0 and prediction.warped().shape == GRIDS["oblique"][1]


@pytest.mark.parametrize(
    ("method", "painting"), [("global", "never"), ("global", "always"), ("morph", "never"), ("morph", "always")]
)
def test_a_network_is_trained(device, method, painting, tmp_path):
    listed = write_label_dataset(tmp_path, 4, images=painting == "never")
    dataset = load_dataset(listed, task("register"))
    settings = {"painting": painting, "spacing": 6, "validation_pairs": 1}
    kind = get("register", method)
    context = Context(device, folder=tmp_path, dataset=dataset)
    trained = kind(from_mapping(kind.Parameters, settings)).configured(context)
    losses = {stage.name: train_one_step(stage) for stage in trained.stages(trained.prepare(context), context)}
    assert losses
