"""The networks: every setting either builds a network that accepts its patches, or is refused in one sentence."""

from __future__ import annotations

import pytest
import torch
from MedDeepLib.core import from_mapping, get
from MedDeepLib.errors import UserError

FEATURES = {"features": "4,8,8"}
CUBIC = {**FEATURES, "strides": "1x1x1, 2x2x2, 2x2x2"}
FLAT = {**FEATURES, "strides": "1x1x1, 2x2x1, 2x2x1"}


def make(name: str, **values):
    method_class = get("segment", name)
    return method_class(from_mapping(method_class.Parameters, values))


def check(method, channels: int = 2, classes: int = 3) -> None:
    """One training step and one prediction with the method's patch size."""
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
        ("unet", {**FLAT, "patch_size": "16,16,5", "kernels": "3x3x1 3x3x1 3x3x3"}),
        ("unet", {**FLAT, "patch_size": "16,16,5", "strides": "2x2x1, 2x2x1, 2x2x1"}),
        ("unet", {"features": "4,8,8", "patch_size": "16,8", "dimensions": 2, "strides": "2x1 2x2 2x1"}),
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
        ("unet", {**CUBIC, "patch_size": "16,18,16"}, "patch_size must be multiples of 4 for U-Net, not 18"),
        ("unet", {**FLAT, "strides": "1x1x1 2x2x1 2x2x2", "patch_size": "8,8,7"}, "of 2 for U-Net along superior"),
        ("unet", {**FEATURES, "patch_size": "16,16"}, "patch_size needs 3 numbers, not 2"),
        ("unet", {**FEATURES, "patch_size": "16", "dimensions": 2}, "patch_size needs 2 numbers, not 1"),
        ("unet", {**CUBIC, "patch_size": "4,4,4"}, "patch_size must be larger than 4 along one axis"),
        ("unet", {"strides": "1x1 2x2 2x1", "patch_size": "4,2", "dimensions": 2}, "larger than 4 x 2 along one axis"),
        ("unet", {"features": "4,0,8"}, "or 0 alone to have it chosen"),
        ("unet", {"strides": "2x2x2, 2x2x2"}, "strides needs three to eight entries, one per resolution, not 2"),
        ("unet", {**FEATURES, "kernels": "3x3x3, 3x3x3"}, "kernels has 2 entries for 3 resolutions"),
        ("unet", {"strides": "1x1x1, 2x2, 2x2x2"}, "strides needs 3 numbers .* such as 2x2x2, not '2x2'"),
        ("unet", {"strides": "1x1x1, 3x3x3, 2x2x2"}, "not '3x3x3'"),
        ("unet", {"kernels": "3x3x1, 3x3x2, 3x3x3"}, "kernels needs 3 numbers .1 or 3. .* not '3x3x2'"),
        ("unet", {**CUBIC, "resolution": "half"}, "resolution is half, but strides begin with 1x1x1"),
        ("segresnet", {"filters": 12}, "filters must be a multiple of 8, not 12"),
        ("segresnet", {"blocks": "1"}, "blocks needs at least two numbers"),
        ("segresnet", {"blocks": "1,1,1,1,1,1", "patch_size": "16,16,16"}, "patch_size must be multiples of 32"),
    ],
)
def test_settings_that_make_none_are_refused(name, values, words):
    with pytest.raises(UserError, match=words):
        make(name, **values)


def test_a_network_that_is_not_decided_yet_cannot_be_built():
    with pytest.raises(UserError, match="has no features: its settings are incomplete"):
        make("unet").network(1, 2)


@pytest.mark.parametrize("name", ["unet", "segresnet"])
def test_the_same_seed_builds_the_same_network(name):
    def weights():
        torch.manual_seed(5)
        return make(name, **({"filters": 8} if name == "segresnet" else FEATURES)).network(1, 2).state_dict()

    first, second = weights(), weights()
    assert all(torch.equal(first[key], second[key]) for key in first)
