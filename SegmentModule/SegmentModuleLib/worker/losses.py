"""Losses of segmentation networks: Dice, cross-entropy, both; with a weight for every voxel if there is one."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from MedDeepLib.core.stages import Sample
from MedDeepLib.training import ranks


class SegmentationLoss:
    """Loss of class scores (B, classes, ...) against class indices ``batch["label"]`` (B, 1, ...).

    Where the batch has a ``weight`` (B, 1, ...), cross-entropy is weighted by it and voxels of weight 0 are ignored in
    both parts. Dice is taken over the foreground classes that occur in the batch; where several processes train
    together, in the batches of all of them.
    """

    def __init__(self, name: str):
        self._dice = name in ("dice", "dice_ce")
        self._cross_entropy = name in ("cross_entropy", "dice_ce")

    def __call__(self, scores: torch.Tensor, batch: Sample) -> torch.Tensor:
        label, weight = batch["label"][:, 0].long(), batch.get("weight")
        loss = scores.new_zeros(())
        if self._cross_entropy:
            loss = loss + _cross_entropy(scores, label, weight)
        if self._dice:
            loss = loss + _dice(scores, label, weight)
        return loss


def _cross_entropy(scores, label, weight) -> torch.Tensor:
    if weight is None:
        return F.cross_entropy(scores, label)
    losses = F.cross_entropy(scores, label, reduction="none") * weight[:, 0]
    losses, weights = ranks.summed(torch.stack([losses.sum(), weight.sum()]))
    return losses / weights.clamp_min(1e-6)


def _dice(scores, label, weight) -> torch.Tensor:
    probability = scores.softmax(1)
    truth = torch.zeros_like(probability).scatter_(1, label[:, None], 1)
    if weight is not None:
        counted = (weight > 0).to(probability.dtype)
        probability, truth = probability * counted, truth * counted
    axes = [0, *range(2, scores.ndim)]
    sums = [(probability * truth).sum(axes), (probability + truth).sum(axes), truth.sum(axes)]
    overlap, total, size = ranks.summed(torch.stack(sums))[:, 1:]
    present = (size > 0).to(scores.dtype)
    dice = (2 * overlap + 1e-5) / (total + 1e-5)
    # A structure that is not in the batch says nothing about overlap; cross-entropy punishes its false positives. No
    # value is read back on the way: a GPU would have to finish all queued work first.
    return ((1 - dice) * present).sum() / present.sum().clamp_min(1)
