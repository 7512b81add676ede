"""A RetinaNet with a small backbone (Lin et al. 2017, 10.1109/ICCV.2017.324): heads and pyramid are MONAI's."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from monai.apps.detection.networks.retinanet_network import RetinaNet
from monai.networks.blocks.feature_pyramid_network import FeaturePyramidNetwork
from monai.networks.layers.factories import Conv
from torch import nn

_GROUPS = 8  # of MONAI's heads


def retina_net(channels: int, classes: int, strides: Sequence[Sequence[int]], anchors: int, width: int) -> RetinaNet:
    """The network: (B, channels, I, J[, K]) to scores and codes of the anchors at every place of every level.

    Args:
        strides: of the levels along each axis, the finest first.
        anchors: at each place.
        width: channels of the first resolution, and a multiple of 8: twice as many in the pyramid and the heads.
    """
    extractor = Pyramid(channels, strides, width)
    return RetinaNet(len(strides[0]), classes, anchors, extractor)


class Pyramid(nn.Module):
    """A residual backbone and a feature pyramid: an image to one feature map for each level, the finest first.

    The backbone has one resolution more than the pyramid has levels, for the context around a finding.
    """

    def __init__(self, channels: int, strides: Sequence[Sequence[int]], width: int):
        super().__init__()
        dimensions = len(strides[0])
        steps, self.first = _steps(strides)
        widths = [width * (n + 1) for n in range(len(steps))]
        inputs = [channels, *widths[:-1]]
        self.stages = nn.ModuleList(
            nn.Sequential(_Down(dimensions, a, b, step), _Residual(dimensions, b))
            for a, b, step in zip(inputs, widths, steps, strict=True)
        )
        self.out_channels = 2 * width
        self.levels = len(strides)
        self.pyramid = FeaturePyramidNetwork(dimensions, widths[self.first :], self.out_channels)
        self.pyramid.layer_blocks[-1] = nn.Identity()  # the context is no level

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        features, maps = image, []
        for stage in self.stages:
            features = stage(features)
            maps.append(features)
        named = OrderedDict((str(n), features) for n, features in enumerate(maps[self.first :]))
        return list(self.pyramid(named).values())[: self.levels]


class _Down(nn.Sequential):
    """A convolution that halves the resolution along some axes."""

    def __init__(self, dimensions: int, channels: int, width: int, step: Sequence[int]):
        convolution = Conv[Conv.CONV, dimensions](channels, width, 3, stride=tuple(step), padding=1, bias=False)
        super().__init__(convolution, nn.GroupNorm(_GROUPS, width), nn.ReLU())


class _Residual(nn.Module):
    """Two convolutions beside a short cut (He et al. 2016, 10.1109/CVPR.2016.90)."""

    def __init__(self, dimensions: int, width: int):
        super().__init__()
        convolution = Conv[Conv.CONV, dimensions]
        self.layers = nn.Sequential(
            convolution(width, width, 3, padding=1, bias=False),
            nn.GroupNorm(_GROUPS, width),
            nn.ReLU(),
            convolution(width, width, 3, padding=1, bias=False),
            nn.GroupNorm(_GROUPS, width),
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return torch.relu(features + self.layers(features))


def _steps(strides: Sequence[Sequence[int]]) -> tuple[list[tuple[int, ...]], int]:
    """The strides of the backbone's stages, and the number of the stage that the finest level is taken from."""
    at = [1] * len(strides[0])
    steps: list[tuple[int, ...]] = []
    first = 0
    for level, wanted in enumerate([*strides, [2 * stride for stride in strides[-1]]]):
        while True:
            step = tuple(2 if 2 * a <= w else 1 for a, w in zip(at, wanted, strict=True))
            if max(step) == 1 and (steps or level):
                break
            steps.append(step)
            at = [a * s for a, s in zip(at, step, strict=True)]
            if max(step) == 1 or at == list(wanted):
                break
        if level == 0:
            first = len(steps) - 1
    return steps, first
