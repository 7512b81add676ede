"""Operating points, predictive values, confusion matrices and reports of classifications."""

from __future__ import annotations

import math

import numpy as np
import pytest
from MedDeepLib.core import Metric
from MedDeepLib.evaluation.classification import (
    OperatingPoint,
    balanced_accuracy,
    choose_threshold,
    class_aucs,
    classification_row,
    confusion_matrix,
    macro_auc,
    operating_point,
    pooled_classification,
    predictive_values,
)
from MedDeepLib.evaluation.intervals import proportion_with_interval
from MedDeepLib.evaluation.report import summarise


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_published_wilson_intervals(count, total, low, high):
    """Newcombe 1998, doi 10.1002/(SICI)1097-0258(19980430)17:8<857::AID-SIM777>3.0.CO;2-E, table I, method 3. Quoted
    from memory; the numbers agree with the formula."""
    share, *interval = proportion_with_interval(count, total)
    assert share == count / total and interval == pytest.approx([low, high], abs=5e-5)


def test_wilson_by_its_formula():
    z, n, p = 1.959963984540054, 50, 0.9
    centre, reach = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    expected = [(centre + sign * reach) / (1 + z * z / n) for sign in (-1, 1)]
    assert proportion_with_interval(45, 50)[1:] == pytest.approx(tuple(expected))
    assert proportion_with_interval(0, 0) == (None, None, None)


def test_counts_at_a_threshold():
    point = operating_point([1, 1, 1, 0, 0, 0, 0], [0.9, 0.5, 0.1, 0.5, 0.4, 0.3, 0.2], 0.5)
    assert point == OperatingPoint(0.5, 2, 1, 3, 1)
    assert point.sensitivity[0] == 2 / 3 and point.specificity[0] == 3 / 4
    assert point.ppv[0] == 2 / 3 and point.npv[0] == 3 / 4 and point.accuracy[0] == 5 / 7


def test_proportions_of_nothing():
    point = operating_point([1, 1], [0.1, 0.2], 0.5)
    assert point.specificity == point.ppv == (None, None, None) and point.npv[0] == 0
    assert predictive_values(point, 0.1) == ((None, None, None), (None, None, None))


def test_thresholds_for_an_operating_point():
    labels, scores = [0, 0, 0, 1, 0, 1, 1, 1], [0.1, 0.2, 0.3, 0.35, 0.4, 0.6, 0.7, 0.9]
    assert choose_threshold(labels, scores, sensitivity=0.75) == 0.6
    assert choose_threshold(labels, scores, sensitivity=0.76) == 0.35
    assert choose_threshold(labels, scores, specificity=1.0) == 0.6
    assert choose_threshold(labels, scores, specificity=0.7) == 0.35
    assert choose_threshold(labels, scores) in (0.6, 0.35), "Youden's index is 3/4 for both"
    with pytest.raises(ValueError, match="not by both"):
        choose_threshold(labels, scores, 0.9, 0.9)


def test_predictive_values_by_bayes():
    """A test with sensitivity and specificity .9: in a population with 1 % ill, 1 of 12 called positive is ill."""
    point = OperatingPoint(0.5, 90, 10, 90, 10)
    (ppv, low, high), (npv, npv_low, npv_high) = predictive_values(point, 0.01)
    assert ppv == pytest.approx(0.009 / (0.009 + 0.099)) and npv == pytest.approx(0.891 / (0.891 + 0.001))
    assert low < ppv < high and npv_low < npv < npv_high
    at_own = predictive_values(point, 0.5)
    assert (at_own[0][0], at_own[1][0]) == pytest.approx((point.ppv[0], point.npv[0]))
    with pytest.raises(ValueError, match="between 0 and 1"):
        predictive_values(point, 0)


def test_the_interval_of_a_predictive_value_holds_what_it_promises():
    random, inside = np.random.default_rng(0), 0
    truth = 0.8 * 0.1 / (0.8 * 0.1 + 0.15 * 0.9)
    for _ in range(500):
        ill, well = random.binomial(60, 0.8), random.binomial(90, 0.85)
        (_, low, high), _ = predictive_values(
            OperatingPoint(0.5, int(ill), 90 - int(well), int(well), 60 - int(ill)), 0.1
        )
        inside += low <= truth <= high
    assert 455 <= inside <= 493


def test_no_interval_at_the_edge():
    (ppv, low, high), (npv, *_) = predictive_values(OperatingPoint(0.5, 10, 2, 8, 0), 0.5)
    assert ppv == pytest.approx(1 / 1.2) and (low, high) == (None, None) and npv == 1


def test_confusion_matrix():
    matrix = confusion_matrix(list("aabbbc"), list("abbbcc"), list("abcd"))
    assert matrix.tolist() == [[1, 1, 0, 0], [0, 2, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    assert balanced_accuracy(matrix) == pytest.approx((1 / 2 + 2 / 3 + 1) / 3), "d does not occur"
    with pytest.raises(ValueError, match="'e' is none of the classes"):
        confusion_matrix(["e"], ["a"], ["a"])


def test_several_classes():
    truth = list("aabbcc")
    probabilities = np.array([[8, 1, 1], [5, 4, 1], [6, 3, 1], [1, 8, 1], [2, 2, 6], [1, 5, 4]]) / 10
    areas = class_aucs(truth, probabilities, list("abc"))
    assert [areas[name][0] for name in "abc"] == [7 / 8, 6 / 8, 1], "by counting pairs"
    assert macro_auc(truth, probabilities, list("abc")) == pytest.approx(np.mean([areas[name][0] for name in "abc"]))
    from sklearn.metrics import roc_auc_score

    expected = roc_auc_score(truth, probabilities, multi_class="ovr")
    assert macro_auc(truth, probabilities, list("abc")) == pytest.approx(expected)
    assert class_aucs(["a"], np.array([[1.0, 0.0]]), ["a", "b"])["b"] == (None, None, None)


def rows_of(count=60):
    random = np.random.default_rng(3)
    rows = []
    for n in range(count):
        ill = n % 3 == 0
        said = 1 / (1 + math.exp(-random.normal(1.0 if ill else -1.0)))
        row = classification_row("ill" if ill else "well", {"ill": said, "well": 1 - said})
        rows.append({"case": f"c{n}", "patient": f"p{n}", "site": "", "class": row["truth"], **row})
    return rows


def test_rows_and_what_they_give_together():
    row = classification_row("ill", {"ill": 0.4, "well": 0.6})
    assert row == {
        "truth": "ill",
        "predicted": "well",
        "accuracy": 0.0,
        "brier": pytest.approx(0.36),
        "probability_ill": 0.4,
        "probability_well": 0.6,
    }
    with pytest.raises(ValueError, match="no probability of 'dead'"):
        classification_row("dead", {"ill": 1.0})
    found = pooled_classification(rows_of())
    assert 0.8 < found["auc"] < 1 and 0.7 < found["balanced_accuracy"] < 1
    one_class = pooled_classification([row for row in rows_of() if row["truth"] == "ill"])
    assert math.isnan(one_class["auc"]) and math.isnan(one_class["balanced_accuracy"])
    assert math.isnan(pooled_classification([])["auc"])


def test_the_report_bootstraps_over_patients():
    class Grading:
        metrics = {"auc": Metric(direction=1, chance=0.5, pooled=True)}
        group = "class"
        judged = "cases with a class"
        pooled = staticmethod(pooled_classification)

    line = summarise(rows_of(), 1, Grading())[-1]
    assert line["auc_low"] < line["auc"] < line["auc_high"] <= 1
