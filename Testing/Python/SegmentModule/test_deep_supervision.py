"""A deeply supervised U-Net: its coarser outputs exist and learn in training; otherwise it has only the finest."""

from __future__ import annotations

import json

import pytest
import torch
from MedDeepLib.bundles.model import open_model
from MedDeepLib.jobs import Job
from SegmentModuleLib.methods.unet import UNet, UNetParameters
from toy_cases import TRAINING, run_job


@pytest.mark.parametrize("resolution", ["full", "half"])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_outputs_in_training_and_otherwise(resolution, dimensions):
    settings = {"dimensions": dimensions, "resolution": resolution, "features": (4, 8, 8, 8)}
    image = torch.zeros(2, 1, *[32] * dimensions)
    network = UNet(UNetParameters(deep_supervision=True, **settings)).network(1, 3)
    outputs = network.train()(image)
    assert [tuple(scores.shape) for scores in outputs] == [(2, 3, *[32] * dimensions)] * 3
    assert network.eval()(image).shape == outputs[0].shape
    assert isinstance(UNet(UNetParameters(**settings)).network(1, 3).train()(image), torch.Tensor)


@pytest.mark.parametrize("steps, learned", [(2, 0.0), pytest.param(100, 0.7, marks=pytest.mark.slow)])
def test_the_coarser_outputs_learn_too(toy_dataset, tmp_path, steps, learned):
    settings = TRAINING | {"deep_supervision": True, "features": [8, 16, 16, 16], "steps": steps}
    settings |= {"validate_every": steps // 2}
    code, events = run_job(tmp_path / "run", Job("segment", "train", "unet", settings, str(toy_dataset), seed=3))
    assert code == 0, events[-1]
    dice = [event["values"]["validation Dice"] for event in events if "validation Dice" in event.get("values", {})]
    assert len(dice) == 2 and max(dice) >= learned
    model = open_model(tmp_path / "run", "segment")
    used = json.loads((tmp_path / "run" / "parameters.json").read_text(encoding="utf-8"))["used"]
    assert used["deep_supervision"] is True
    torch.manual_seed(3)
    untrained = model.make_method().network(1, 3).state_dict()
    trained = model.load_weights()["network"]
    heads = [name for name in trained if "supervision_heads." in name and name.endswith("weight")]
    assert len(heads) == 2 and all(not torch.equal(trained[name], untrained[name]) for name in heads)
