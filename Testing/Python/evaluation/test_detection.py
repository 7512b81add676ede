"""Rows of a detection's report, and the metrics that come of them."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from MedDeepLib.core import Metric
from MedDeepLib.data.sources.boxes import Box
from MedDeepLib.evaluation.average_precision import average_precision, match_boxes
from MedDeepLib.evaluation.detection import (
    average_precision_of_rows,
    counts_at,
    detection_rows,
    froc_of_rows,
    pooled_detection,
    sensitivity_by_size,
)
from MedDeepLib.evaluation.froc import froc, match_luna16
from MedDeepLib.evaluation.report import summarise

SIZE = 10.0


def box(center) -> Box:
    return Box(np.asarray(center, float), np.full(3, SIZE), np.eye(3))


def matched(random, count=5):
    """A case with ``count`` references, a finding near each and three elsewhere."""
    references = random.uniform(0, 200, (count, 3))
    centers = np.concatenate([references + random.normal(0, 2, references.shape), random.uniform(0, 200, (3, 3))])
    scores = np.concatenate([random.uniform(0.4, 1, count), random.uniform(0, 0.8, 3)])
    hits = match_luna16((centers, scores), (references, np.full(count, SIZE / 2)))
    return hits, match_boxes([box(c) for c in centers], scores, [box(c) for c in references])


def in_case(rows, name) -> list[dict]:
    return [{"case": name, "patient": name, "site": "", "class": "nodule", **row} for row in rows]


def cohort(count=12):
    random = np.random.default_rng(2)
    matchings = [matched(random, int(random.integers(0, 4))) for _ in range(count)]
    rows = [row for n, pair in enumerate(matchings) for row in in_case(detection_rows(*pair), f"p{n}")]
    return matchings, rows


def test_rows_say_what_the_matching_says():
    matchings, rows = cohort()
    whole, from_rows = froc([hits for hits, _ in matchings]), froc_of_rows(rows)
    assert from_rows.sensitivities == pytest.approx(whole.sensitivities) and 0 < whole.cpm < 1
    assert from_rows.curve_thresholds.tolist() == whole.curve_thresholds.tolist()
    precision = average_precision([boxes for _, boxes in matchings])
    assert average_precision_of_rows(rows).values == pytest.approx(precision.values) and 0 < precision.mean < 1
    found = pooled_detection(rows)
    assert list(found) == ["cpm", *(f"sensitivity_at_{r}" for r in ("0.125", "0.25", "0.5", 1, 2, 4, 8)), "ap", "ap50"]
    assert found["ap"] == pytest.approx(precision.mean) and found["ap50"] == pytest.approx(precision.at(0.5))
    assert json.loads(json.dumps(rows)) == rows


def test_a_finding_that_hits_two_references_is_one_box():
    hits = match_luna16(([[0, 0, 0]], [0.9]), ([[-1, 0, 0], [1, 0, 0]], [5, 5]))
    boxes = match_boxes([box((0, 0, 0))], [0.9], [box((-1, 0, 0)), box((1, 0, 0))])
    rows = in_case(detection_rows(hits, boxes), "a")
    assert [row["outcome"] for row in rows] == ["hit", "hit"] and [row["iou_outcomes"] for row in rows] == ["m" * 9, ""]
    assert froc_of_rows(rows).cpm == 1 and average_precision_of_rows(rows).mean == 0.5


def test_average_precision_is_the_mean_over_classes():
    hit = match_boxes([box((0, 0, 0))], [0.9], [box((0, 0, 0))])
    wrong = match_boxes([box((50, 0, 0))], [0.95], [box((0, 0, 0))])
    spheres = ([[0, 0, 0]], [5])
    first = in_case(detection_rows(match_luna16(([[0, 0, 0]], [0.9]), spheres), hit), "a")
    second = in_case(detection_rows(match_luna16(([[50, 0, 0]], [0.95]), spheres), wrong), "a")
    assert average_precision_of_rows([*first, *(row | {"class": "cyst"} for row in second)]).mean == 0.5
    assert average_precision_of_rows([*first, *second]).mean == pytest.approx(1 / 2 * 1 / 2), "one class"
    empty = detection_rows(match_luna16(((), ()), ((), ())), match_boxes([], [], []))
    assert average_precision_of_rows([*first, *in_case(empty, "a"), {**empty[0], "class": "cyst"}]).mean == 1


def test_a_case_with_nothing_is_a_scan():
    nothing = detection_rows(match_luna16(((), ()), ((), ())))
    assert [row["outcome"] for row in nothing] == ["nothing"]
    one = detection_rows(match_luna16(([[0, 0, 0], [50, 0, 0]], [0.5, 0.9]), ([[0, 0, 0]], [5])))
    assert pooled_detection(in_case(one, "a"))["sensitivity_at_0.5"] == 0
    assert pooled_detection(in_case(one, "a") + in_case(nothing, "b"))["sensitivity_at_0.5"] == 1
    assert "ap" not in pooled_detection(in_case(one, "a")), "points have no boxes"
    assert math.isnan(pooled_detection(in_case(nothing, "b"))["cpm"])


def test_boxes_of_other_findings():
    with pytest.raises(ValueError, match="cannot be those"):
        detection_rows(match_luna16(((), ()), ((), ())), match_boxes([box((0, 0, 0))], [0.5], []))


def test_counts_at_a_threshold():
    hits = match_luna16(
        ([[0, 0, 0], [1, 0, 0], [50, 0, 0], [60, 0, 0], [90, 0, 0]], [0.6, 0.9, 0.7, 0.2, 0.8]),
        ([[0, 0, 0], [200, 0, 0]], [5, 5]),
        ([[90, 0, 0]], [5]),
    )
    rows = in_case(detection_rows(hits), "a")
    assert counts_at(rows, 0.5) == {"hit": 1, "missed": 1, "false positive": 1, "ignored": 2, "scans": 1}
    assert counts_at(rows, 0.9) == {"hit": 1, "missed": 1, "false positive": 0, "ignored": 0, "scans": 1}
    assert counts_at(rows, 0.95) == {"hit": 0, "missed": 2, "false positive": 0, "ignored": 0, "scans": 1}


def test_sensitivity_by_lesion_size():
    centers = [[100 * n, 0, 0] for n in range(4)]
    hits = match_luna16((centers[1:], [0.9, 0.4, 0.9]), (centers, [1, 2.9, 3, 6]))
    found = sensitivity_by_size(in_case(detection_rows(hits), "a"), 0.5)
    assert {edges: counts[:2] for edges, counts in found.items()} == {
        (0, 3): (1, 0),
        (3, 6): (1, 1),
        (6, 10): (1, 0),
        (10, math.inf): (1, 1),
    }
    share, low, high = found[3, 6][2]
    assert share == 1 and low == pytest.approx(0.2065, abs=1e-4) and high == 1
    assert sensitivity_by_size([], 0.5, (0, 1)) == {(0, 1): (0, 0, (None, None, None))}


def test_the_report_bootstraps_over_patients():
    class Detection:
        metrics = {"cpm": Metric(direction=1, pooled=True)}
        group = "class"
        judged = "cases with findings"
        pooled = staticmethod(pooled_detection)

    line = summarise(cohort()[1], 1, Detection())[-1]
    assert 0 <= line["cpm_low"] < line["cpm"] < line["cpm_high"] <= 1
    assert line["ap_low"] < line["ap"] < line["ap_high"]
