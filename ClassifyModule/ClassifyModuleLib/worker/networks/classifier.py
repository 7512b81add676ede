"""What every classifying network is: a backbone that describes a case by features, and a linear head."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


class Classifier(nn.Module):
    """Scores (B, outputs) of inputs (B, ...) through features (B, F).

    Attributes:
        evidence_layer: the name of the layer whose maps Grad-CAM weights; empty where there is none.
    """

    def __init__(
        self, backbone: nn.Module, features: int, outputs: int, dropout: float = 0.0, evidence_layer: str = ""
    ):
        super().__init__()
        self.backbone = backbone
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(features, outputs)
        self.evidence_layer = evidence_layer
        self._frozen: tuple[nn.Module, ...] = ()

    def freeze(self, parts: Sequence[nn.Module]) -> None:
        """Keep the weights and the normalisation of these parts as they are; all others are trained."""
        self.requires_grad_(True)
        self._frozen = tuple(parts)
        for part in parts:
            part.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Classifier:
        super().train(mode)
        for part in self._frozen:
            part.eval()
        return self

    def embed(self, inputs: torch.Tensor) -> torch.Tensor:
        """The features (B, F) by which cases are compared."""
        return self.backbone(inputs)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.head(self.dropout(self.embed(inputs)))
