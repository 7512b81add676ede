"""Average precision of boxes: matching and curve by hand, and against slow code."""

from __future__ import annotations

import math

import numpy as np
import pytest
from MedDeepLib.data.sources.boxes import Box
from MedDeepLib.evaluation.average_precision import (
    THRESHOLDS,
    average_precision,
    average_precision_of,
    match_boxes,
    precision_recall,
)
from MedDeepLib.evaluation.box_overlap import intersection_over_union


def cube(x: float, size: float = 10) -> Box:
    return Box(np.array([x, 0.0, 0.0]), np.full(3, float(size)), np.eye(3))


def letters(matching, threshold: float) -> str:
    return "".join(matching.outcomes[:, THRESHOLDS.index(threshold)])


def test_the_thresholds():
    assert tuple(np.round(np.arange(0.1, 0.51, 0.05), 2).tolist()) == THRESHOLDS


def test_the_stronger_finding_chooses_first():
    """At .1 the strong finding (IoU 7/13) takes the reference from the better placed one; above .5385 it cannot."""
    matching = match_boxes([cube(0), cube(3)], [0.5, 0.9], [cube(0)], thresholds=(0.1, 0.5, 0.6))
    assert matching.outcomes.T.tolist() == [["f", "m"], ["f", "m"], ["m", "f"]]
    assert matching.references.T.tolist() == [[-1, 0], [-1, 0], [0, -1]]


def test_a_finding_chooses_the_reference_that_it_covers_best():
    matching = match_boxes([cube(3)], [0.9], [cube(0), cube(5)])
    assert set(matching.references.ravel().tolist()) == {1}


def test_a_threshold_is_reached_by_equality():
    """Shifted by half: IoU 1/3."""
    matching = match_boxes([cube(5)], [0.9], [cube(0)], thresholds=(1 / 3 - 1e-9, 0.35))
    assert matching.outcomes.tolist() == [["m", "f"]]


def test_what_is_covered_by_an_ignored_box():
    matching = match_boxes([cube(0), cube(50), cube(100)], [0.9, 0.8, 0.7], [cube(0)], [cube(1), cube(51)])
    assert letters(matching, 0.5) == "mif"


def test_a_limit_of_findings():
    matching = match_boxes([cube(50), cube(0), cube(99)], [0.2, 0.3, 0.1], [cube(50)], limit=1)
    assert letters(matching, 0.5) == "ifi" and matching.reference_count == 1


def test_no_findings_and_no_references():
    nothing = match_boxes([], [], [])
    assert math.isnan(average_precision([nothing]).mean) and math.isnan(average_precision([]).mean)
    assert average_precision([match_boxes([], [], [cube(0)])]).mean == 0
    assert math.isnan(average_precision([match_boxes([cube(0)], [0.5], [])]).mean)
    assert average_precision([match_boxes([cube(0)], [0.5], [cube(0)]), nothing]).mean == 1


def test_scores_that_do_not_belong_to_the_boxes():
    for scores in ([0.5, 0.6], [np.nan]):
        with pytest.raises(ValueError, match="as many finite scores"):
            match_boxes([cube(0)], scores, [])


def test_a_curve_worked_out_by_hand():
    """m f m f m of four references: precisions 1, 1/2, 2/3, 2/4, 3/5 at recalls 1/4, 1/4, 2/4, 2/4, 3/4."""
    scores, outcomes = np.array([0.9, 0.8, 0.7, 0.6, 0.5]), np.array(list("mfmfm"))
    precision, recall, thresholds = precision_recall(scores, outcomes, 4)
    assert precision == pytest.approx([1, 1 / 2, 2 / 3, 2 / 4, 3 / 5])
    assert recall.tolist() == [0.25, 0.25, 0.5, 0.5, 0.75] and thresholds.tolist() == scores.tolist()
    found = average_precision_of(scores, outcomes[:, None], 4, (0.5,))
    assert found.at(0.5) == found.mean == pytest.approx((1 + 2 / 3 + 3 / 5) / 4)
    with pytest.raises(KeyError):
        found.at(0.3)


def test_equal_scores_are_one_point():
    for order in ("mf", "fm"):
        assert average_precision_of(np.array([0.5, 0.5]), np.array([[c] for c in order]), 1, (0.5,)).mean == 0.5


def test_ignored_findings_count_for_nothing():
    scores, outcomes = np.array([0.9, 0.8, 0.7]), np.array([["i"], ["m"], ["i"]])
    assert average_precision_of(scores, outcomes, 1, (0.5,)).mean == 1


def slow_average_precision(cases, threshold: float) -> float:
    """Highest precision at or beyond each reference's recall, averaged over the references; ``cases``: (boxes, scores,
    references)."""
    flagged = []
    for boxes, scores, references in cases:
        free = set(range(len(references)))
        for n in sorted(range(len(boxes)), key=lambda n: -scores[n]):
            overlaps = {m: intersection_over_union([boxes[n]], [references[m]])[0, 0] for m in free}
            best = max(overlaps, key=overlaps.get, default=None)
            right = best is not None and overlaps[best] >= threshold
            free -= {best} if right else set()
            flagged.append((scores[n], right))
    flagged.sort(reverse=True)
    total = sum(len(references) for _, _, references in cases)
    precisions = {}
    for count in range(1, len(flagged) + 1):
        hits = sum(right for _, right in flagged[:count])
        precisions[hits] = max(precisions.get(hits, 0), hits / count)
    return sum(max((p for h, p in precisions.items() if h >= k), default=0) for k in range(1, total + 1)) / total


@pytest.mark.parametrize("seed", range(6))
def test_against_slow_code(seed):
    random = np.random.default_rng(seed)

    def some(count, around=None):
        centers = random.uniform(0, 40, (count, 3)) if around is None else around
        return [Box(c, random.uniform(5, 15, 3), np.linalg.qr(random.normal(size=(3, 3)))[0]) for c in centers]

    cases = []
    for _ in range(4):
        references = some(random.integers(0, 5))
        centers = [reference.center + random.normal(0, 2, 3) for reference in references for _ in range(2)]
        boxes = some(5) + some(0, centers)
        cases.append((boxes, random.permutation(len(boxes)) / 7 + random.uniform(0, 1e-3), references))
    cases.append((some(1), [0.5], some(1)))
    found = average_precision([match_boxes(*case) for case in cases])
    for threshold, value in zip(found.thresholds, found.values, strict=True):
        assert value == pytest.approx(slow_average_precision(cases, threshold))
    assert found.mean == pytest.approx(np.mean(found.values))
