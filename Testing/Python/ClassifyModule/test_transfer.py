"""Weights of others: their architecture is read off, names and channels are adapted, objects are never made."""

from __future__ import annotations

import pytest
import torch
from ClassifyModuleLib.worker.networks.convolutional import image_network
from ClassifyModuleLib.worker.networks.pretrained import parts, pretrained_network, read_source, take_weights
from MedDeepLib.errors import UserError


def of_torchvision(weights):
    """Names as torchvision has them: without MONAI's "layers" within dense blocks."""
    return {name.replace(".layers.", "."): tensor for name, tensor in weights.items()}


@pytest.mark.parametrize("name, spatial", [("densenet121", 2), ("resnet18", 2), ("resnet50", 2), ("resnet10", 3)])
def test_files_of_others_give_the_same_features(tmp_path, name, spatial):
    torch.manual_seed(0)
    given = image_network(name, str(spatial), 3, 7, 0.0).eval()
    weights = of_torchvision(given.backbone.state_dict()) | {"fc.weight": torch.zeros(7, 4)}
    wrapped = (
        {"state_dict": {f"module.{name}": tensor for name, tensor in weights.items()}} if spatial == 3 else weights
    )
    torch.save(wrapped, tmp_path / "weights.pth", _use_new_zipfile_serialization=spatial == 3)
    architecture, found = read_source(str(tmp_path / "weights.pth"))
    image = torch.randn(2, 1, *[48] * spatial)
    colours = pretrained_network(architecture, str(spatial), 3, 2)
    take_weights(colours, found)
    grey_as_colours = image.expand(-1, 3, *image.shape[2:])
    expected = given.embed(grey_as_colours)
    assert torch.allclose(colours.eval().embed(grey_as_colours), expected, atol=1e-4)
    grey = pretrained_network(architecture, str(spatial), 1, 2)
    take_weights(grey, found)
    assert torch.allclose(grey.eval().embed(image), expected, atol=1e-3), "grey sees what three equal colours would"


def test_frozen_parts_keep_weights_and_normalisation():
    network = image_network("resnet10", "2", 1, 2, 0.0)
    found = parts(network)
    network.freeze(found[:2])
    network.train()
    assert not found[1].training and found[-1].training and network.head.weight.requires_grad
    assert not any(parameter.requires_grad for parameter in found[0].parameters())


def test_other_files_are_refused_in_a_sentence(tmp_path):
    torch.save({"encoder.weight": torch.zeros(3)}, tmp_path / "other.pt")
    with pytest.raises(UserError, match="no network that is known here"):
        read_source(str(tmp_path / "other.pt"))
    torch.save({"weights": Foreign()}, tmp_path / "objects.pt")
    with pytest.raises(UserError, match="never executed"):
        read_source(str(tmp_path / "objects.pt"))


class Foreign:
    """What a file of weights may not hold."""
