"""What every classifying network is: a backbone that describes a case by features, and a linear head."""

from __future__ import annotations

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

    def embed(self, inputs: torch.Tensor) -> torch.Tensor:
        """The features (B, F) by which cases are compared."""
        return self.backbone(inputs)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.head(self.dropout(self.embed(inputs)))
