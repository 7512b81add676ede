"""Calcifications: bright pieces of a CT that one network finds and another tells from look-alikes, and their scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from MedDeepLib.core import Context
from MedDeepLib.data.preparation import Prepared
from MedDeepLib.data.sources.image import Image
from MedDeepLib.inference.progress import TileProgress
from MedDeepLib.inference.sinks import Scores
from MedDeepLib.training.dense.patches import CachedCase
from MedDeepLib.training.randomness import random_state
from scipy import ndimage

from DetectModuleLib.findings import Finding, Mask
from DetectModuleLib.worker.agatston import CalciumScore, calcium_score
from DetectModuleLib.worker.boxes import to_space
from DetectModuleLib.worker.candidates import Candidates
from DetectModuleLib.worker.cascade import discriminate
from DetectModuleLib.worker.cascade_prediction import SCREENING, CascadePredictor, warning
from DetectModuleLib.worker.cases import boxes_of
from DetectModuleLib.worker.prediction import FindingsPrediction
from DetectModuleLib.worker.screening import Proposing, Screen, Search, screened
from DetectModuleLib.worker.windows import Pool, inside_boxes

AGATSTON, VOLUME = "Agatston score", "volume in mm3"
_VOXELS = 8  # of a piece that are judged: their mean is its score
_IN_BOX = 30  # voxels of a lesion that training draws from


@dataclass(frozen=True, eq=False)
class Pieces:
    """Bright pieces of a case on the network's grid.

    Attributes:
        labels: (I, J, K) int32, 0 or the number of the piece, from 1.
        scores: (N,) mean probability of each piece by the screening, falling.
        voxels: (N, _VOXELS, 3) some voxels of each.
    """

    labels: np.ndarray
    scores: np.ndarray
    voxels: np.ndarray


class BrightPieces(Search):
    """Candidates are voxels of connected pieces that are bright and that the screening takes for calcium."""

    def __init__(self, level: float):
        """``level``: of the network's input, from which voxels are bright."""
        self.level = level

    def places(self, case: CachedCase, number: int, most: int, seed: int) -> Pool:
        """Bright voxels: in the boxes, lesions; outside, whatever else is bright; the background if nothing is."""
        bright = (case["image"][0] >= self.level).numpy()
        boxes, classes = boxes_of(case)
        random, pools = random_state(seed, 13, number), []
        for box, index in zip(boxes, classes, strict=True):
            low = np.maximum(np.ceil(box[:3] - box[3:] / 2).astype(int), 0)
            high = np.maximum(np.floor(box[:3] + box[3:] / 2).astype(int) + 1, low)
            voxels = np.argwhere(bright[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]) + low
            pools.append(Pool.of(number, voxels[random.permutation(len(voxels))[:_IN_BOX]], index + 1))
        others = np.argwhere(bright)
        others = others[random.permutation(len(others))[: 4 * most]]
        others = others[~inside_boxes(case, others, 1.5)][:most]
        if not len(others):
            others = case.voxels.get(0, np.zeros((0, 3)))[:most]
        return sum([*pools, Pool.of(number, others, 0)], Pool.empty())

    def propose(
        self,
        screen: Screen | None,
        prepared: Prepared,
        how: Proposing,
        context: Context,
        warn: Callable[[str], None],
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Candidates:
        pieces = self.pieces(screen, prepared, how, context, warn, progress)
        voxels = pieces.voxels.reshape(-1, 3)
        points = voxels @ prepared.affine[:3, :3].T + prepared.affine[:3, 3]
        return Candidates.at(points, np.repeat(pieces.scores, _VOXELS))

    def pieces(
        self,
        screen: Screen | None,
        prepared: Prepared,
        how: Proposing,
        context: Context,
        warn: Callable[[str], None],
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Pieces:
        """The pieces of a case, ``how.most`` at most."""
        assert screen is not None
        shape = tuple(prepared.image.shape[1:])
        own_grid = replace(prepared, native_shape=shape, scale=np.ones(3), offset=np.zeros(3))
        air = Scores([0], "softmax", blend=False, dtype=np.float16, outside=1.0)
        lesion = 1 - screened(screen, own_grid, air, how, context, warn, progress)[0]
        mask = (prepared.image[0].numpy() >= self.level) & (lesion >= how.threshold)
        found: Any = ndimage.label(mask, np.ones((3, 3, 3)))
        labels, count = found
        scores = np.atleast_1d(ndimage.mean(lesion.astype(np.float32), labels, range(1, count + 1)))[:count]
        order = np.argsort(-scores, kind="stable")[: how.most]
        if count > how.most:
            warn(
                f"{count} bright pieces look like calcium: only the {how.most} likeliest are kept. A higher threshold "
                "leaves fewer."
            )
        boxes = ndimage.find_objects(labels)
        renumbered = np.zeros(count + 1, np.int32)
        renumbered[order + 1] = np.arange(1, len(order) + 1)
        voxels = np.zeros((len(order), _VOXELS, 3), int)
        for number, piece in enumerate(order):
            inside = np.argwhere(labels[boxes[piece]] == piece + 1) + [cut.start for cut in boxes[piece]]
            voxels[number] = inside[np.linspace(0, len(inside) - 1, _VOXELS).round().astype(int)]
        return Pieces(renumbered[labels], scores[order], voxels)


@dataclass(eq=False)
class CalciumPrediction(FindingsPrediction):
    """Findings whose facts are their part of the calcium scores."""

    def score(self) -> CalciumScore:
        """Of all findings that are not left out."""
        agatston, volume = (
            float(sum(finding.facts[name] for finding in self.findings)) for name in (AGATSTON, VOLUME)
        )
        return CalciumScore(agatston, volume)

    def summary(self) -> dict[str, Any]:
        score = self.score()
        scores = {AGATSTON: round(score.agatston, 1), VOLUME: round(score.volume, 1), "risk category": score.risk}
        return super().summary() | scores


class CalciumPredictor(CascadePredictor):
    """Finds calcifications with their voxels on the case's own grid, and scores them there."""

    search: BrightPieces

    def __init__(self, *arguments: Any, threshold: float, minimum_area: float):
        """``threshold`` in HU, ``minimum_area`` in mm2; the others as of :class:`CascadePredictor`."""
        super().__init__(*arguments)
        self._threshold, self._minimum_area = threshold, minimum_area

    def predict(self, images: Sequence[Image], context: Context, wanted=()) -> CalciumPrediction:
        found = super().predict(images, context, wanted)
        return CalciumPrediction(**vars(found))

    def find(self, prepared: Prepared, image: Image, context: Context) -> tuple[list[Finding], str]:
        context.report("phase", phase="Screening")
        how = self.how(prepared)
        pieces = self.search.pieces(self.screen, prepared, how, context, warning(context), TileProgress(context))
        if not len(pieces.scores):
            return [], ""
        context.report("phase", phase=f"Judging {len(pieces.scores)} candidates")
        fused = discriminate(self.looks, prepared.image, pieces.voxels.reshape(-1, 3), context)
        fused = fused.reshape(len(pieces.scores), _VOXELS, -1).mean(1)
        labels = self._on_own_grid(pieces.labels, prepared, image)
        score = calcium_score(image.array[0], image.affine, labels, self._threshold, self._minimum_area)
        findings = []
        for number, box in enumerate(ndimage.find_objects(labels), start=1):
            if box is not None:
                voxels = np.argwhere(labels[box] == number) + [cut.start for cut in box]
                findings.append(
                    self._finding(voxels, fused[number - 1], pieces.scores[number - 1], image, score.lesions[number])
                )
        return findings, ""

    def _on_own_grid(self, labels: np.ndarray, prepared: Prepared, image: Image) -> np.ndarray:
        """The pieces (I, J, K) where the image itself is bright, from those on the network's grid."""
        for axis, (length, scale, offset) in enumerate(
            zip(prepared.native_shape, prepared.scale, prepared.offset, strict=True)
        ):
            index = np.rint(np.arange(length) * scale + offset).astype(int)
            labels = labels.take(np.clip(index, 0, labels.shape[axis] - 1), axis)
        labels = prepared.to_native(labels)
        return np.where(image.array[0] >= self._threshold, labels, 0)

    def _finding(
        self, voxels: np.ndarray, fused: np.ndarray, screening: float, image: Image, score: CalciumScore
    ) -> Finding:
        low, high = voxels.min(0) - 0.5, voxels.max(0) + 0.5
        row = np.concatenate([(low + high) / 2, high - low])
        name = self.model.classes[int(fused[1:].argmax())]
        (box,) = to_space(row[None], image.affine, [name], [float(np.clip(1 - fused[0], 0, 1))])
        facts: Mapping[str, float] = {SCREENING: float(screening), AGATSTON: score.agatston, VOLUME: score.volume}
        return Finding(box, Mask(voxels, image.affine), facts=facts)
