"""Average precision of boxes, with the matching rules of COCO (https://cocodataset.org/#detection-eval).

Findings of a class choose their reference in the order of their scores, each the free one with which it has the highest
intersection over union (IoU), if that reaches the threshold. What finds no free reference is a false positive, unless
an ignored box covers it. Unlike COCO, which reads the precision at 101 recalls, the area under the curve is exact
(all-points interpolation as in Pascal VOC 2010, doi 10.1007/s11263-014-0733-5), and findings of one score count
together, since their order means nothing. Low thresholds suit lesions of few voxels: .1 to .5 are those of nnDetection
(Baumgartner et al. 2021, doi 10.1007/978-3-030-87240-3_51).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from MedDeepLib.evaluation.box_overlap import BoxLike, intersection_over_union

THRESHOLDS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5)
"""Of the IoU, at which a finding counts as right."""
FINDINGS_PER_CASE = 100
"""How many findings of a case and class count; COCO's and nnDetection's limit."""

MATCHED, UNMATCHED, IGNORED = "m", "f", "i"


@dataclass(frozen=True, eq=False)
class CaseBoxes:
    """How the boxes of one class in one case were matched.

    Attributes:
        scores: (N,) of all findings.
        outcomes: (N, T) for each threshold "m" (matched), "f" (false positive) or "i" (ignored).
        references: (N, T) index of the matched reference, -1 where there is none.
        reference_count: of the references that are not ignored.
    """

    scores: np.ndarray
    outcomes: np.ndarray
    references: np.ndarray
    reference_count: int


@dataclass(frozen=True, eq=False)
class AveragePrecision:
    """Attributes:
    thresholds: (T,) of the IoU.
    values: (T,) the average precision at each, NaN without references.
    mean: over the thresholds.
    """

    thresholds: np.ndarray
    values: np.ndarray
    mean: float

    def at(self, threshold: float) -> float:
        """The value at one of the thresholds. Raises KeyError when it is none of them."""
        found = np.flatnonzero(np.isclose(self.thresholds, threshold))
        if not len(found):
            raise KeyError(threshold)
        return float(self.values[found[0]])


def match_boxes(
    boxes: Sequence[BoxLike],
    scores: Sequence[float],
    references: Sequence[BoxLike],
    ignored: Sequence[BoxLike] = (),
    thresholds: Sequence[float] = THRESHOLDS,
    limit: int | None = FINDINGS_PER_CASE,
) -> CaseBoxes:
    """Match the findings of one class in one case.

    Args:
        boxes: N findings, in mm.
        scores: (N,) of the findings.
        references: R boxes of the same class.
        ignored: boxes whose findings are neither right nor wrong.
        thresholds: of the IoU.
        limit: findings below the ``limit`` strongest are ignored, as if they had not been made.

    Raises ValueError where scores and boxes do not belong together or a score is not finite.
    """
    found = np.asarray(scores, float).reshape(-1)
    if len(found) != len(boxes) or not np.isfinite(found).all():
        raise ValueError(f"{len(boxes)} boxes need as many finite scores, not {len(found)}.")
    order = np.argsort(-found, kind="stable")[:limit]
    overlap = intersection_over_union([boxes[n] for n in order], references)
    covered = intersection_over_union([boxes[n] for n in order], ignored)
    outcomes = np.full((len(found), len(thresholds)), IGNORED)
    matched = np.full((len(found), len(thresholds)), -1)
    for t, threshold in enumerate(thresholds):
        choices = _greedy(overlap, threshold)
        matched[order, t] = choices
        wrong = np.where((covered >= threshold).any(1), IGNORED, UNMATCHED)
        outcomes[order, t] = np.where(choices >= 0, MATCHED, wrong)
    return CaseBoxes(found, outcomes, matched, len(references))


def _greedy(overlap: np.ndarray, threshold: float) -> np.ndarray:
    """Index (N,) of each finding's reference, -1 without one; the findings come in the order of their scores."""
    free = np.ones(overlap.shape[1], bool)
    choices = np.full(len(overlap), -1)
    for n, own in enumerate(overlap):
        candidates = np.where(free & (own >= threshold) & (own > 0), own, -1.0)
        if candidates.size and candidates.max() >= 0:
            choices[n] = candidates.argmax()
            free[choices[n]] = False
    return choices


def average_precision(cases: Sequence[CaseBoxes], thresholds: Sequence[float] = THRESHOLDS) -> AveragePrecision:
    """The average precision of one class over all cases; ``thresholds`` are those of the matching."""
    scores = np.concatenate([np.empty(0), *(case.scores for case in cases)])
    outcomes = np.concatenate([np.empty((0, len(thresholds)), "U1"), *(case.outcomes for case in cases)])
    return average_precision_of(scores, outcomes, sum(case.reference_count for case in cases), thresholds)


def average_precision_of(
    scores: np.ndarray, outcomes: np.ndarray, reference_count: int, thresholds: Sequence[float] = THRESHOLDS
) -> AveragePrecision:
    """The average precision of findings with scores (N,) and outcomes (N, T)."""
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order], outcomes[order] == MATCHED, outcomes[order] != IGNORED
    values = [np.nan] * len(thresholds)
    if reference_count:
        curves = (
            _curve(ordered[0], *columns, reference_count) for columns in zip(ordered[1].T, ordered[2].T, strict=True)
        )
        values = [_area(precision, recall) for precision, recall, _ in curves]
    return AveragePrecision(np.asarray(thresholds, float), np.array(values), float(np.mean(values)))


def precision_recall(
    scores: np.ndarray, outcomes: np.ndarray, reference_count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision, recall and thresholds (P,) of the curve, from the highest score down.

    ``outcomes`` (N,): "m", "f" or "i" for each score (N,). The recall is NaN without references.
    """
    order = np.argsort(-scores, kind="stable")
    return _curve(scores[order], outcomes[order] == MATCHED, outcomes[order] != IGNORED, reference_count)


def _curve(
    scores: np.ndarray, right: np.ndarray, counted: np.ndarray, reference_count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As :func:`precision_recall`, of scores (N,) in falling order."""
    scores, right = scores[counted], right[counted]
    last = np.flatnonzero(np.append(scores[1:] != scores[:-1], True)) if len(scores) else np.empty(0, int)
    hits = np.cumsum(right)[last]
    with np.errstate(invalid="ignore"):
        return hits / (last + 1), hits / np.float64(reference_count), scores[last]


def _area(precision: np.ndarray, recall: np.ndarray) -> float:
    if not len(recall):
        return 0.0
    highest = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall, prepend=0) * highest))
