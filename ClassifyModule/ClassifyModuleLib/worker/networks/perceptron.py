"""A perceptron whose connections can be switched off: pruned, or not grown yet."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from ClassifyModuleLib.worker.networks.classifier import Classifier


class MaskedLinear(nn.Linear):
    """A linear layer of which some weights are held at 0 by a mask of the same shape, saved with them."""

    mask: torch.Tensor

    def __init__(self, inputs: int, outputs: int):
        super().__init__(inputs, outputs)
        self.register_buffer("mask", torch.ones(outputs, inputs))

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return F.linear(input, self.weight * self.mask, self.bias)


class Perceptron(Classifier):
    """Hidden layers with ReLU and dropout, and a linear head; (B, inputs) to (B, outputs)."""

    def __init__(self, inputs: int, hidden: Sequence[int], outputs: int, dropout: float):
        layers: list[nn.Module] = []
        width = inputs
        for units in hidden:
            layers += [MaskedLinear(width, units), nn.ReLU(), nn.Dropout(dropout)]
            width = units
        super().__init__(nn.Sequential(*layers), width, outputs)
        self.head = MaskedLinear(width, outputs)

    @property
    def layers(self) -> list[MaskedLinear]:
        return [layer for layer in self.modules() if isinstance(layer, MaskedLinear)]

    @property
    def kept(self) -> int:
        """How many weights are not masked, without biases."""
        return int(sum(float(layer.mask.sum()) for layer in self.layers))

    @property
    def connections(self) -> int:
        """How many weights there are, without biases."""
        return sum(layer.weight.numel() for layer in self.layers)

    @torch.no_grad()
    def prune(self, count: int) -> None:
        """Keep the ``count`` weights of the largest magnitude, over all layers; those pruned before stay so.

        Every layer is divided by its typical magnitude first, or a wide layer, whose weights are small, would vanish.
        """
        sizes = [
            (
                layer.weight.abs()
                / (layer.weight * layer.mask).pow(2).sum().div(layer.mask.sum()).sqrt().clamp_min(1e-12)
            )
            .mul(layer.mask)
            .flatten()
            for layer in self.layers
        ]
        threshold = torch.cat(sizes).sort(descending=True).values[max(0, min(count, self.kept) - 1)]
        for layer, size in zip(self.layers, sizes, strict=True):
            layer.mask.copy_(((size >= threshold) & (size > 0)).reshape(layer.mask.shape))

    @torch.no_grad()
    def use_units(self, count: int) -> None:
        """Let only the first ``count`` units of the only hidden layer take part.

        Units that join begin with outgoing weights of 0, so that what was learned before is not disturbed.
        """
        hidden, head = self.layers
        joining = (head.mask[0] == 0) & (torch.arange(head.in_features, device=head.mask.device) < count)
        head.weight[:, joining] = 0
        active = (torch.arange(head.in_features, device=head.mask.device) < count).float()
        head.mask.copy_(active.expand_as(head.mask))
        hidden.mask.copy_(active[:, None].expand_as(hidden.mask))

    def embed(self, inputs: torch.Tensor) -> torch.Tensor:
        features = self.backbone(inputs)
        return features * (self.head.mask.amax(0) > 0) if isinstance(self.head, MaskedLinear) else features
