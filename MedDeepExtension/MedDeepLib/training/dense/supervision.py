"""Deep supervision: a network's coarser outputs are trained too (Lee et al. 2015, arXiv 1409.5185)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from MedDeepLib.core.stages import Sample

_RESAMPLED = ("label", "weight")


class DeepSupervision:
    """The weighted mean of a loss over all outputs of a network, each half as important as the finer one before it.

    A network with one output (a tensor instead of a list) is trained without deep supervision.
    """

    def __init__(self, loss: Callable[[torch.Tensor, Sample], torch.Tensor], targets: Sequence[str] = _RESAMPLED):
        """
        Args:
            loss: of one output (B, C, ...) and the batch.
            targets: entries (B, C, ...) of the batch that are resampled to the resolution of each output (nearest
                voxel).
        """
        self._loss, self._targets = loss, targets

    def __call__(self, output: Any, batch: Sample) -> torch.Tensor:
        if isinstance(output, torch.Tensor):
            return self._loss(output, batch)
        weights = [0.5**level for level in range(len(output))]
        losses = [self._loss(scores, self._at(batch, scores.shape[2:])) for scores in output]
        total: Any = sum(weight * loss for weight, loss in zip(weights, losses, strict=True))
        return total / sum(weights)

    def _at(self, batch: Sample, size: Sequence[int]) -> Sample:
        resampled = {}
        for name in self._targets:
            if name in batch and batch[name].shape[2:] != size:
                target = batch[name]
                resampled[name] = F.interpolate(target.float(), tuple(size), mode="nearest").to(target.dtype)
        return batch | resampled
