"""A detection's report: rows of findings and missed references, and what they give together.

Rows are dictionaries of text and numbers, so that they can be written as a table; the report bootstraps
:func:`pooled_detection` over patients. Each case has, for every class, a row

- for each reference, ``outcome`` "hit" (``score`` is that of its best finding) or "missed";
- for each other finding, ``outcome`` "false positive", "duplicate", "ignored" or "beyond limit";
- or one row with the ``outcome`` "nothing" where it has neither, because it counts as a scan.

``diameter_mm`` is that of the reference. ``iou_outcomes`` has a letter for each IoU threshold of the average precision:
m (matched), f (false positive), i (ignored); it is empty for what is no finding, and where a second reference is hit by
the same finding.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from MedDeepLib.evaluation.average_precision import THRESHOLDS, AveragePrecision, CaseBoxes, average_precision_of
from MedDeepLib.evaluation.froc import FALSE_POSITIVE, HIT, RATES, CaseHits, Froc, froc_of_scores
from MedDeepLib.evaluation.intervals import Interval, proportion_with_interval

MISSED, NOTHING = "missed", "nothing"
SIZE_EDGES = (0.0, 3.0, 6.0, 10.0, math.inf)
"""Diameters in mm that part the bins of lesion size."""

Row = dict[str, Any]


def detection_rows(hits: CaseHits, boxes: CaseBoxes | None = None) -> list[Row]:
    """The rows of one class in one case; ``boxes`` has the same findings in the same order, if they have boxes at all.

    The caller adds the column "class". Raises ValueError where ``boxes`` has another number of findings.
    """
    if boxes is not None and len(boxes.scores) != len(hits.finding_scores):
        raise ValueError(f"{len(boxes.scores)} boxes cannot be those of {len(hits.finding_scores)} findings.")
    letters = ["" for _ in hits.finding_scores] if boxes is None else ["".join(own) for own in boxes.outcomes]
    rows, told = [], set()
    for finding, diameter in zip(hits.reference_findings.tolist(), hits.reference_sizes.tolist(), strict=True):
        if finding < 0:
            rows.append(_row(MISSED, None, diameter, ""))
        else:
            again = finding in told
            told.add(finding)
            rows.append(_row(HIT, float(hits.finding_scores[finding]), diameter, "" if again else letters[finding]))
    for n, outcome in enumerate(hits.outcomes.tolist()):
        if outcome != HIT:
            rows.append(_row(outcome, float(hits.finding_scores[n]), None, letters[n]))
    return rows or [_row(NOTHING, None, None, "")]


def pooled_detection(rows: Sequence[Row], rates: Sequence[float] = RATES) -> dict[str, float]:
    """``cpm``, the sensitivity at each rate (``sensitivity_at_0.125`` ...), and, where the findings have boxes, ``ap``
    (mean over the IoU thresholds .1 to .5) and ``ap50``, of the rows of many cases; NaN without references.

    Findings of several classes make one FROC curve; average precisions are means over classes, as COCO's are.
    """
    curve = froc_of_rows(rows, rates)
    found = {"cpm": curve.cpm}
    found |= {f"sensitivity_at_{rate:g}": float(s) for rate, s in zip(curve.rates, curve.sensitivities, strict=True)}
    if any(row["iou_outcomes"] for row in rows):
        precision = average_precision_of_rows(rows)
        found |= {"ap": precision.mean, "ap50": precision.at(0.5)}
    return found


def froc_of_rows(rows: Sequence[Row], rates: Sequence[float] = RATES) -> Froc:
    """The FROC curve by LUNA16's rules; see :func:`MedDeepLib.evaluation.froc.froc`."""
    counted = [row for row in rows if row["outcome"] in (HIT, FALSE_POSITIVE)]
    scores = np.array([row["score"] for row in counted], float)
    is_hit = np.array([row["outcome"] == HIT for row in counted], bool)
    return froc_of_scores(scores, is_hit, _references(rows), len({row["case"] for row in rows}), rates)


def average_precision_of_rows(rows: Sequence[Row]) -> AveragePrecision:
    """The average precision at the thresholds of the IoU: the mean over the classes, column "class", that have
    references."""
    of_class: dict[Any, list[Row]] = {}
    for row in rows:
        of_class.setdefault(row.get("class"), []).append(row)
    found = [_average_precision(own) for own in of_class.values() if _references(own)]
    values = np.mean([one.values for one in found], axis=0) if found else np.full(len(THRESHOLDS), np.nan)
    return AveragePrecision(np.array(THRESHOLDS), values, float(np.mean(values)))


def _average_precision(rows: Sequence[Row]) -> AveragePrecision:
    found = [row for row in rows if row["iou_outcomes"]]
    texts = {text: n for n, text in enumerate({row["iou_outcomes"] for row in found})}
    letters = np.array([list(text) for text in texts] or np.empty((0, len(THRESHOLDS)), "U1"))
    codes = np.array([texts[row["iou_outcomes"]] for row in found], int)
    return average_precision_of(np.array([row["score"] for row in found], float), letters[codes], _references(rows))


def counts_at(rows: Iterable[Row], threshold: float) -> dict[str, int]:
    """How many references are hit and missed, and how many findings are false positives, at a threshold of the score.

    Keys: "hit", "missed", "false positive", "ignored" (those in excluded regions and duplicates), "scans".
    """
    counts = dict.fromkeys((HIT, MISSED, FALSE_POSITIVE, "ignored"), 0)
    scans = set()
    for row in rows:
        scans.add(row["case"])
        shown, outcome = row["score"] is not None and row["score"] >= threshold, row["outcome"]
        if outcome in (HIT, MISSED):
            counts[HIT if shown else MISSED] += 1
        elif shown:
            counts[outcome if outcome == FALSE_POSITIVE else "ignored"] += 1
    return {**counts, "scans": len(scans)}


def sensitivity_by_size(
    rows: Iterable[Row], threshold: float, edges: Sequence[float] = SIZE_EDGES
) -> dict[tuple[float, float], tuple[int, int, Interval]]:
    """For every bin of diameters in mm, lower edge included: references, how many are hit at the threshold of the
    score, and the sensitivity with its 95 % interval (Wilson).

    The interval takes the references as independent; those of one patient are not, so it is rather too narrow.
    """
    references = [row for row in rows if row["outcome"] in (HIT, MISSED)]
    result = {}
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        own = [row for row in references if low <= row["diameter_mm"] < high]
        hit = sum(row["score"] is not None and row["score"] >= threshold for row in own)
        result[low, high] = (len(own), hit, proportion_with_interval(hit, len(own)))
    return result


def _row(outcome: str, score: float | None, diameter: float | None, letters: str) -> Row:
    return {"outcome": outcome, "score": score, "diameter_mm": diameter, "iou_outcomes": letters}


def _references(rows: Iterable[Mapping[str, Any]]) -> int:
    return len([None for row in rows if row["outcome"] in (HIT, MISSED)])
