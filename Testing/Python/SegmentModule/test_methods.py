"""The networks: every setting either builds a network that takes its patches, or is refused in a sentence."""

from __future__ import annotations

import pytest
import torch
from MedDeepLib.errors import UserError
from MedDeepLib.methods import from_mapping, get

FEATURES = {"features": "4,8,8"}


def make(name: str, **values):
    method_class = get("segment", name)
    return method_class(from_mapping(method_class.Parameters, values))


def check(method, channels: int = 2, classes: int = 3) -> None:
    """One step of training and one prediction with the method's own patch."""
    size = method._patch_size()[: method.dimensions]
    network = method.network(channels, classes)
    image = torch.randn(1, channels, *size)
    scores = network.train()(image)
    assert scores.shape == (1, classes, *size)
    scores.mean().backward()
    with torch.inference_mode():
        assert network.eval()(image).shape == (1, classes, *size)


@pytest.mark.parametrize(
    "name, values",
    [
        ("unet", {**FEATURES, "patch_size": "16,16,16"}),
        ("unet", {**FEATURES, "patch_size": "8,16,24"}),
        ("unet", {**FEATURES, "patch_size": "16,16", "dimensions": 2}),
        ("unet", {**FEATURES, "patch_size": "16,16,16", "dimensions": 2}),
        ("unet", {**FEATURES, "patch_size": "16,16,16", "resolution": "half"}),
        ("unet", {**FEATURES, "patch_size": "16,16", "resolution": "half", "dimensions": 2}),
        ("unet", {"features": "2,2,2,2,2,2", "patch_size": "64,64", "dimensions": 2}),
        ("unet", {**FEATURES, "patch_size": "16,16,16", "dropout": 0.5}),
        ("segresnet", {"filters": 8, "patch_size": "16,16,16"}),
        ("segresnet", {"filters": 8, "blocks": "1,1", "patch_size": "4,4,4"}),
        ("segresnet", {"filters": 16, "blocks": "1,1,1,1,1", "patch_size": "32,16,32", "dropout": 0.2}),
    ],
)
def test_settings_that_make_a_network(name, values):
    check(make(name, **values))


@pytest.mark.parametrize(
    "name, values, words",
    [
        ("unet", {"features": "8,16"}, "features needs three to eight numbers"),
        ("unet", {"features": "8,8,8,8,8,8,8,8,8", "patch_size": "256,256,256"}, "features needs three to eight"),
        ("unet", {**FEATURES, "patch_size": "16,18,16"}, "patch_size must be multiples of 4 for U-Net, not 18"),
        ("unet", {**FEATURES, "patch_size": "16,16"}, "patch_size needs 3 numbers, not 2"),
        ("unet", {**FEATURES, "patch_size": "16", "dimensions": 2}, "patch_size needs 2 numbers, not 1"),
        ("unet", {**FEATURES, "patch_size": "4,4,4"}, "patch_size"),
        ("unet", {**FEATURES, "patch_size": "4,4", "dimensions": 2}, "patch_size"),
        ("segresnet", {"filters": 12}, "filters must be a multiple of 8, not 12"),
        ("segresnet", {"blocks": "1"}, "blocks needs at least two numbers"),
        ("segresnet", {"blocks": "1,1,1,1,1,1", "patch_size": "16,16,16"}, "patch_size must be multiples of 32"),
    ],
)
def test_settings_that_make_none_are_refused(name, values, words):
    with pytest.raises(UserError, match=words):
        make(name, **values)


@pytest.mark.parametrize("name", ["unet", "segresnet"])
def test_the_same_seed_builds_the_same_network(name):
    def weights():
        torch.manual_seed(5)
        return make(name, **({"filters": 8} if name == "segresnet" else FEATURES)).network(1, 2).state_dict()

    first, second = weights(), weights()
    assert all(torch.equal(first[key], second[key]) for key in first)
