"""A user's method whose network has the wrong number of channels: one sentence names it at the first step."""

from __future__ import annotations

import pytest
import tiny_segment
from MedDeepLib.errors import UserError
from MedDeepLib.training.channels import channels_in_words, giving_channels

METHOD = """
from torch import nn
from SegmentModuleLib.methods.unet import UNet

class Own(UNet):
    name = "own"

    def network(self, channels, classes):
        return nn.Conv3d({inputs}, {outputs}, 3, padding=1)
"""


@pytest.mark.parametrize(
    ("inputs", "outputs", "sentence"),
    [
        (
            "3",
            "classes",
            "The network was built for 3 channels, but one of its convolutions gets 1 channel:",
        ),
        (
            "channels",
            "classes - 1",
            "The network 'network' gives 2 channels, but 3 channels (background and 2",
        ),
        (
            "channels",
            "classes + 1",
            "The network 'network' gives 4 channels, but 3 channels (background and 2",
        ),
    ],
)
def test_a_network_of_other_channels(segment, tmp_path, monkeypatch, inputs, outputs, sentence):
    folder = tmp_path / "methods"
    folder.mkdir()
    (folder / f"{tmp_path.name}.py").write_text(METHOD.format(inputs=inputs, outputs=outputs), encoding="utf-8")
    monkeypatch.setenv("MEDDEEP_METHODS", str(folder))
    dataset = tiny_segment.write_dataset(tmp_path / "data")
    settings = ("batch_size=1", "patch_size=16,16,16", "spacing=2,2,2.5", "features=4,8,8", "steps=2")
    code, _, errors = segment(
        *("train", "--dataset", dataset, "--method", "own", "--output", tmp_path / "run", "--device", "cpu"),
        *(part for one in settings for part in ("--set", one)),
    )
    assert code == 2 and sentence in errors and "unexpectedly" not in errors


def test_the_network_is_named_wherever_its_convolution_lies():
    import torch

    networks = {"first": torch.nn.Conv2d(1, 4, 1), "second": torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1))}
    image = torch.zeros(1, 1, 8, 8)
    named = "The network 'second' was built for 3 channels, but .* gets 4 channels"
    with pytest.raises(UserError, match=named), channels_in_words(networks):
        networks["second"](networks["first"](image))
    with pytest.raises(RuntimeError, match="something else"), channels_in_words(networks):
        raise RuntimeError("something else")
    batch = {"image": image}
    assert giving_channels(4)(networks, batch).shape == (1, 4, 8, 8)
    with pytest.raises(UserError, match="The network 'first' gives 4 channels, but 2 channels are needed"):
        giving_channels(2)(networks, batch)
