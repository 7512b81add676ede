"""Segmentation on a device with its own memory: every tensor is on the right device."""

from __future__ import annotations

import pytest
import torch
import toy_cases
from another_device import stand_in, train_one_step
from MedDeepLib.bundles.model import open_model
from MedDeepLib.core import Context, from_mapping, get, methods
from MedDeepLib.core.registry import task
from MedDeepLib.data.dataset import load_dataset
from MedDeepLib.data.slots import Source


@pytest.fixture
def device(monkeypatch) -> torch.device:
    return stand_in(monkeypatch)


@pytest.mark.parametrize("method", sorted(methods("segment")))
def test_a_network_is_trained(device, method, toy_dataset, tmp_path):
    context = Context(device, folder=tmp_path, dataset=load_dataset(toy_dataset, task("segment")))
    kind = get("segment", method)
    trained = kind(from_mapping(kind.Parameters, {})).configured(context)
    for stage in trained.stages(trained.prepare(context), context):
        train_one_step(stage)


def test_an_image_is_segmented(device, toy_dataset, toy_run, tmp_path):
    model, context = open_model(toy_run, "segment"), Context(device, folder=tmp_path)
    method = model.make_method()
    predictor = method.predictor(model, context, from_mapping(method.ApplyParameters, {}))
    inputs = {"image": Source("image", (toy_dataset.parent / "image5.nii.gz",))}
    prediction = predictor.predict(predictor.read(inputs), context)
    assert prediction.labels.shape == toy_cases.SHAPE
