"""Convolutional networks on pictures, stacks of slices and volumes, each as a backbone with a linear head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.networks.nets import DenseNet, EfficientNetBN, ResNet
from torch import nn

from ClassifyModuleLib.worker.networks.classifier import Classifier

_DENSENETS: dict[str, dict[str, Any]] = {
    "densenet": {"init_features": 16, "growth_rate": 12, "block_config": (3, 4, 6, 4)},
    "densenet121": {"init_features": 64, "growth_rate": 32, "block_config": (6, 12, 24, 16)},
}
_RESNETS: dict[str, tuple[str, list[int]]] = {
    "resnet10": ("basic", [1, 1, 1, 1]),
    "resnet18": ("basic", [2, 2, 2, 2]),
    "resnet50": ("bottleneck", [3, 4, 6, 3]),
}
_WIDTHS = (1, 3, 4, 4, 3)  # of AlexNet's convolutions, about
_NEIGHBOURS = 3  # slices that a 2.5-dimensional network sees at once


def image_network(
    name: str, dimensions: str, channels: int, outputs: int, dropout: float, features: int = 24
) -> Classifier:
    """The network called ``name`` for inputs (B, channels, I, J[, K]).

    Args:
        dimensions: "2", "2.5" or "3".
        features: maps of the first convolution of "alexnet".
    """
    spatial = 3 if dimensions == "3" else 2
    seen = channels * _NEIGHBOURS if dimensions == "2.5" else channels
    backbone, count, layer = _backbone(name, spatial, seen, dropout, features)
    if dimensions == "2.5":
        return Classifier(SliceWise(backbone), count, outputs, dropout, f"backbone.backbone.{layer}")
    return Classifier(backbone, count, outputs, dropout, f"backbone.{layer}")


def _backbone(name: str, spatial: int, channels: int, dropout: float, features: int) -> tuple[nn.Module, int, str]:
    """The backbone, the number of its features, and the layer whose maps are evidence."""
    if name == "alexnet":
        network = AlexNet(spatial, channels, features, dropout)
        return network, network.count, "maps"
    if name in _DENSENETS:
        dense: Any = DenseNet(spatial, channels, 1, **_DENSENETS[name])
        count = dense.class_layers.out.in_features
        dense.class_layers.out = nn.Identity()
        return dense, count, "features"
    if name in _RESNETS:
        block, layers = _RESNETS[name]
        planes = [64, 128, 256, 512]
        residual = ResNet(
            block, layers, planes, spatial, channels, conv1_t_stride=2, feed_forward=False, bias_downsample=False
        )
        return residual, planes[-1] * (4 if block == "bottleneck" else 1), "layer4"
    efficient: Any = EfficientNetBN(name, pretrained=False, spatial_dims=spatial, in_channels=channels, num_classes=1)
    count = efficient._fc.in_features
    efficient._fc = nn.Identity()
    return efficient, count, "_bn1"


class AlexNet(nn.Module):
    """AlexNet-like (Krizhevsky et al. 2012): five convolutions with ReLU, overlapping pooling, a dense layer, dropout.

    (B, C, I, J[, K]) to (B, count). Batch normalisation takes the place of its local response normalisation.
    """

    def __init__(self, spatial: int, channels: int, features: int, dropout: float):
        super().__init__()
        conv, pool, norm = (
            (nn.Conv2d, nn.MaxPool2d, nn.BatchNorm2d) if spatial == 2 else (nn.Conv3d, nn.MaxPool3d, nn.BatchNorm3d)
        )
        layers: list[nn.Module] = []
        for number, width in enumerate(features * factor for factor in _WIDTHS):
            kernel = 5 if number < 2 else 3
            stride = 2 if number == 0 else 1
            layers += [conv(channels, width, kernel, stride, kernel // 2, bias=False), norm(width), nn.ReLU()]
            if number in (0, 1):
                layers.append(pool(3, 2, 1))  # windows of 3 every 2 voxels overlap
            channels = width
        self.count = 10 * features
        self.maps = nn.Sequential(*layers)
        self.pool = nn.Sequential(pool(3, 2, 1), nn.AdaptiveAvgPool2d(2) if spatial == 2 else nn.AdaptiveAvgPool3d(2))
        self.dense = nn.Sequential(
            nn.Flatten(), nn.Dropout(dropout), nn.Linear(channels * 2**spatial, self.count), nn.ReLU()
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.dense(self.pool(self.maps(images)))


class SliceWise(nn.Module):
    """2.5 dimensions: a 2D backbone on every slice together with its two neighbours, whose features are averaged.

    (B, C, I, J, K) to (B, F).
    """

    def __init__(self, backbone: nn.Module):
        super().__init__()
        self.backbone = backbone

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        batch, _, _, _, depth = images.shape
        padded = torch.cat([images[..., :1], images, images[..., -1:]], -1)
        slices = padded.unfold(4, _NEIGHBOURS, 1)  # (B, C, I, J, K, 3)
        flat = slices.permute(0, 4, 1, 5, 2, 3).flatten(2, 3).flatten(0, 1)  # (B * K, C * 3, I, J)
        return self.backbone(flat).unflatten(0, (batch, depth)).mean(1)


def evidence_maps(maps: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Maps (N, i, j[, k]) of a layer at the size ``shape`` of the network's input (I, J[, K]): (I, J[, K]).

    Those of 2.5 dimensions are one for each slice, N of them.
    """
    sliced = maps.ndim == 3 and len(shape) == 3
    mode = "trilinear" if maps.ndim == 4 else "bilinear"
    size = tuple(shape[:2]) if sliced else tuple(shape)
    large = nn.functional.interpolate(maps[:, None], size, mode=mode, align_corners=False)[:, 0]
    return large.permute(1, 2, 0) if sliced else large[0]
