"""Random training patches with the boxes that lie in them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from MedDeepLib.core.stages import Sample
from MedDeepLib.training.dense.augmentation import Augmentation
from MedDeepLib.training.dense.patches import CachedCase, boxes_in_patch, cut, made
from MedDeepLib.training.randomness import random_state
from MedDeepLib.training.samplers import EachOnce, ErrorWeighted

from DetectModuleLib.worker.boxes import faces
from DetectModuleLib.worker.cases import IMAGE, boxes_of

_PLAIN = Augmentation(probability=0.0, intensity=0.0)
_POOL = 256  # places that selective sampling chooses from


class BoxPatches:
    """What training sample ``number`` is made from: a pure function of the seed, the number and the sampler's weights.

    A sample has, besides what :func:`~MedDeepLib.training.dense.patches.cut` makes, "boxes" (N, 2 D), corners in voxels
    of the patch, lowest first, "classes" (N,), and "ignored" (M, 2 D): boxes of which less than half can be seen, which
    are neither findings nor background.

    Attributes:
        weighted: the sampler of selective sampling, for a stage's ``state``; None where places are drawn evenly.
    """

    def __init__(
        self,
        cases: Sequence[CachedCase],
        size: tuple[int, int, int],
        augmentation: Augmentation,
        seed: int,
        share: float = 0.5,
        selective: bool = False,
    ):
        """
        Args:
            cases: as :class:`~DetectModuleLib.worker.cases.DetectionData` has them.
            size: voxels of a patch; K is 1 in 2D.
            share: of the patches that are cut around a finding, every class equally often.
        """
        self._cases, self._size, self._augmentation, self._seed, self._share = cases, size, augmentation, seed, share
        findings = [
            (number, place, kind)
            for number, case in enumerate(cases)
            for kind in sorted(case.voxels)
            for place in (case.voxels[kind] if kind else ())
        ]
        self._findings: dict[int, list[tuple[int, np.ndarray]]] = {}
        for number, place, kind in findings:
            self._findings.setdefault(kind, []).append((number, place))
        self._order = EachOnce(len(cases), seed)
        self._places = self._pool() if selective else []
        self.weighted = None
        if self._places:
            wanted = [len(self._places)] if findings else []
            self.weighted = ErrorWeighted(range(len(self._places)), seed, wanted, share)

    def __call__(self, number: int) -> Sample:
        random = random_state(self._seed, 3, number)
        chosen, place = self._place(number, random)
        case = self._cases[chosen]
        sample = cut(case, self._whole(case, place, random), self._size, self._augmentation, random)
        return sample | self._targets(sample, case)

    def plain(self, number: int) -> torch.Tensor:
        """The patch (C, I, J[, K]) around a place of the pool, not changed at random."""
        chosen, place = self._places[number]
        sample = cut(self._cases[chosen], place, self._size, _PLAIN, random_state(self._seed, 5, number))
        return made(sample, torch.Generator())[IMAGE]

    def _place(self, number: int, random: np.random.RandomState) -> tuple[int, np.ndarray]:
        """The case and the voxel (3,) that a patch is cut around."""
        if self.weighted is not None:
            index = self.weighted(number)
            if index < len(self._places):
                return self._places[index]
        if self._findings and (self.weighted is not None or random.uniform() < self._share):
            kinds = list(self._findings)
            own = self._findings[kinds[random.randint(len(kinds))]]
            return own[random.randint(len(own))]
        chosen = self._order(number)
        return chosen, _background(self._cases[chosen], random)

    def _whole(self, case: CachedCase, place: np.ndarray, random: np.random.RandomState) -> np.ndarray:
        """The place, in 2D in any of the slices that the finding there covers."""
        if self._size[2] > 1 or case.shape[2] == 1:
            return place
        rows, _ = boxes_of(case)
        inside = rows[(np.abs(rows[:, :3] - place) <= np.maximum(rows[:, 3:] / 2, 0.5)).all(1)] if len(rows) else rows
        if not len(inside):
            return place
        low, high = (float(values[0, 2]) for values in faces(inside[:1].astype(np.float64)))
        first, last = max(0, int(np.ceil(low))), min(case.shape[2] - 1, int(np.floor(high)))
        return np.array([*place[:2], random.randint(first, max(first, last) + 1)])

    def _pool(self) -> list[tuple[int, np.ndarray]]:
        random = random_state(self._seed, 6)
        chosen = [int(random.randint(len(self._cases))) for _ in range(_POOL)]
        return [(number, _background(self._cases[number], random)) for number in chosen]

    def _targets(self, sample: Sample, case: CachedCase) -> Sample:
        rows, classes = boxes_of(case)
        axes = 3 if self._size[2] > 1 else 2
        low, high = faces(boxes_in_patch(sample, rows.astype(np.float64)))
        last = np.array(self._size) - 0.5
        seen_low, seen_high = np.maximum(low, -0.5), np.minimum(high, last)
        seen = np.clip(seen_high - seen_low, 0, None)[:, :axes].prod(1) / (high - low)[:, :axes].prod(1)
        if axes == 2:  # boxes of which the slice shows something
            within = np.maximum((high - low)[:, 2] / 2, 0.5)
            seen = np.where(np.abs((low + high)[:, 2] / 2) <= within, seen, 0.0)
        corners = np.concatenate([seen_low[:, :axes], seen_high[:, :axes]], 1).astype(np.float32)
        findings, ignored = seen >= 0.5, (seen > 0) & (seen < 0.5)
        return {
            "boxes": torch.from_numpy(corners[findings]),
            "classes": torch.from_numpy(classes[findings]),
            "ignored": torch.from_numpy(corners[ignored]),
        }


def finished(sample: Sample, generator: torch.Generator) -> Sample:
    """``augment`` of a stage: the patch of a sample, with its boxes."""
    return made(sample, generator) | {name: sample[name] for name in ("boxes", "classes", "ignored")}


def _background(case: CachedCase, random: np.random.RandomState) -> np.ndarray:
    """A place without a finding; anywhere where the findings leave none."""
    places = case.voxels.get(0)
    if places is None or not len(places):
        return np.array([random.randint(length) for length in case.shape])
    return places[random.randint(len(places))]
