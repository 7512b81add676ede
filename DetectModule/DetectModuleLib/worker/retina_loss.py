"""The loss of a RetinaNet: which anchors are findings, how wrong their scores are, and how far off their boxes.

Matching is ATSS (Zhang et al. 2020, 10.1109/CVPR42600.2020.00978), the loss of the scores focal (Lin et al. 2017,
10.1109/ICCV.2017.324) or cross-entropy on hard negatives (as MONAI and nnDetection do); the parts are MONAI's. A patch
without a finding is legal: all its anchors are negative, and its boxes cost nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from MedDeepLib.core.stages import Sample
from monai.apps.detection.utils.ATSS_matcher import ATSSMatcher
from monai.apps.detection.utils.box_coder import BoxCoder
from monai.apps.detection.utils.hard_negative_sampler import HardNegativeSampler
from monai.losses.focal_loss import sigmoid_focal_loss

from DetectModuleLib.worker.anchors import Layout

_CANDIDATES = 4  # places per level that may match a finding
_FOCUS, _BALANCE = 2.0, 0.25  # gamma and alpha of the focal loss
_HARD = {"batch_size_per_image": 64, "positive_fraction": 0.33, "pool_size": 20, "min_neg": 16}
_BETA = 1 / 9  # below it the loss of a box is quadratic
_THINNEST = 0.5  # voxels; the logarithm of no size is needed


class RetinaLoss:
    """``loss(output, batch)`` of a stage.

    A batch has three lists with an entry for each patch: "boxes" (N, 2 D), corners in voxels, "classes" (N,), their
    indices, and "ignored" (M, 2 D), boxes whose anchors are neither findings nor background.
    """

    def __init__(self, layout: Layout, classes: int, kind: str):
        """``kind`` is "focal" or "hard negatives"."""
        self._layout, self._classes = layout, classes
        self._matcher = ATSSMatcher(_CANDIDATES, center_in_gt=False)
        self._sampler = HardNegativeSampler(**_HARD) if kind == "hard negatives" else None

    def __call__(self, output: dict[str, list[torch.Tensor]], batch: Sample) -> torch.Tensor:
        scores, codes = flattened(output, self._classes, self._layout.dimensions)
        maps = [tuple(one.shape[2:]) for one in output["classification"]]
        anchors = self._layout.anchors(maps, scores.device)
        per_level = [int(torch.tensor(size).prod()) for size in maps]
        wrong, off, found = scores.new_zeros(()), scores.new_zeros(()), 0
        for number in range(len(scores)):
            matches = self._matches(batch, number, anchors, per_level)
            positive = matches >= 0
            found += int(positive.sum())
            wrong = wrong + self._wrong_scores(scores[number], matches, batch["classes"][number])
            boxes = _thick(batch["boxes"][number])[matches[positive]]
            target = coder(self._layout.dimensions).encode_single(boxes, anchors[positive])
            off = off + F.smooth_l1_loss(codes[number][positive], target, beta=_BETA, reduction="sum")
        return (wrong + off) / max(1, found)

    def _matches(self, batch: Sample, number: int, anchors: torch.Tensor, per_level: Sequence[int]) -> torch.Tensor:
        """For each anchor (N,) the index of its finding, -1 for background, -2 for neither."""
        boxes, ignored = _thick(batch["boxes"][number]), batch["ignored"][number]
        _, matches = self._matcher(boxes, anchors, per_level, self._layout.anchors_per_place)
        matches = matches.to(anchors.device)
        if len(ignored):
            middle = (anchors[:, : self._layout.dimensions] + anchors[:, self._layout.dimensions :]) / 2
            low, high = ignored.chunk(2, 1)
            inside = ((middle[:, None] >= low) & (middle[:, None] <= high)).all(-1).any(1)
            matches[inside & (matches < 0)] = -2
        return matches

    def _wrong_scores(self, scores: torch.Tensor, matches: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        positive = matches >= 0
        target = torch.zeros_like(scores)
        target[positive, classes[matches[positive]]] = 1.0
        counted = matches != -2
        if self._sampler is not None:
            labels = torch.where(positive, 1, torch.where(counted, 0, -1))
            chosen, hard = self._sampler([labels], scores.detach().sigmoid().amax(1))
            counted = chosen[0].bool() | hard[0].bool()
            return F.binary_cross_entropy_with_logits(scores[counted], target[counted], reduction="sum")
        return sigmoid_focal_loss(scores[counted], target[counted], _FOCUS, _BALANCE).sum()


def flattened(
    output: dict[str, list[torch.Tensor]], classes: int, dimensions: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores before the sigmoid (B, N, classes) and codes (B, N, 2 D) of all anchors, from the maps of the network."""
    scores = [_by_anchor(one, classes) for one in output["classification"]]
    codes = [_by_anchor(one, 2 * dimensions) for one in output["box_regression"]]
    return torch.cat(scores, 1), torch.cat(codes, 1)


def coder(dimensions: int) -> BoxCoder:
    """Between boxes and the codes of the network."""
    return BoxCoder((1.0,) * (2 * dimensions))


def _by_anchor(maps: torch.Tensor, values: int) -> torch.Tensor:
    """(B, anchors * values, I, J[, K]) to (B, places * anchors, values)."""
    return maps.unflatten(1, (-1, values)).flatten(3).permute(0, 3, 1, 2).flatten(1, 2)


def _thick(boxes: torch.Tensor) -> torch.Tensor:
    """Boxes of which no edge is too short for a logarithm."""
    low, high = boxes.chunk(2, 1)
    middle, half = (low + high) / 2, ((high - low) / 2).clamp_min(_THINNEST / 2)
    return torch.cat([middle - half, middle + half], 1)
