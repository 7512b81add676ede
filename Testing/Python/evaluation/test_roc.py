"""The area under the ROC curve and DeLong's interval and test, against what pROC publishes and against simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from MedDeepLib.evaluation.roc import auc, auc_with_interval, compare_aucs, roc_curve
from published_asah import NDKA, POOR_OUTCOME, S100B, WFNS

# --- pROC's own tests, https://github.com/xrobin/pROC: tests/testthat/test-roc.test.R, test-ci.auc.R ------------------


def test_published_areas():
    assert (POOR_OUTCOME.sum(), len(POOR_OUTCOME)) == (41, 113)
    assert auc(POOR_OUTCOME, WFNS) == pytest.approx(0.823678861788618, abs=1e-12)
    assert auc(POOR_OUTCOME, S100B) == pytest.approx(0.731368563685637, abs=1e-12)
    assert auc(POOR_OUTCOME, NDKA) == pytest.approx(0.611957994579946, abs=1e-12)


def test_published_interval():
    expected = (0.611957994579946, 0.501244999271703, 0.722670989888189)
    assert auc_with_interval(POOR_OUTCOME, NDKA) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("first", "second", "z", "p", "low", "high"),
    [
        (WFNS, S100B, 2.20898359144091, 0.0271757822291882, 0.0104061769564846, 0.174214419249478),
        (WFNS, NDKA, 2.79777591868904, 0.00514557970691098, 0.0634011709339876, 0.3600405634833566),
        (NDKA, S100B, -1.39077002573558, 0.164295175223054, -0.2876917446341914, 0.0488706064228094),
    ],
)
def test_published_comparisons(first, second, z, p, low, high):
    found = compare_aucs(POOR_OUTCOME, first, second)
    assert (found.z, found.p) == (pytest.approx(z, abs=1e-10), pytest.approx(p, abs=1e-10))
    assert found.difference[1:] == pytest.approx((low, high), abs=1e-10)
    reverse = compare_aucs(POOR_OUTCOME, second, first)
    assert reverse.z == pytest.approx(-z) and reverse.p == pytest.approx(p)


# --- what holds by definition -----------------------------------------------------------------------------------------


def test_a_model_against_itself():
    found = compare_aucs(POOR_OUTCOME, WFNS, WFNS)
    assert (found.difference, found.z, found.p) == ((0, None, None), 0, 1)
    assert compare_aucs(POOR_OUTCOME, WFNS, 2 * WFNS + 3).p == 1, "ranks alone count"


def test_complete_separation_has_no_interval():
    labels = [0, 0, 1, 1]
    assert auc_with_interval(labels, [1, 2, 3, 4]) == (1, None, None)
    found = compare_aucs(labels, [1, 2, 3, 4], [4, 3, 2, 1])
    assert (found.difference[0], found.z, found.p) == (1, None, None)


def test_one_class():
    assert math.isnan(auc([1, 1], [0.5, 0.6])) and auc_with_interval([0, 0], [1, 2]) == (None, None, None)
    assert auc_with_interval([0, 0, 1], [1, 3, 2]) == (0.5, None, None)
    with pytest.raises(ValueError, match="with and without"):
        roc_curve([1, 1], [0.5, 0.6])
    with pytest.raises(ValueError, match="two cases"):
        compare_aucs([0, 0, 1], [1, 3, 2], [1, 2, 3])


@pytest.mark.parametrize(
    ("labels", "scores", "complaint"),
    [([0, 1], [1], "one for each"), ([0, 2], [1, 2], "true or false"), ([0, 1], [1, np.nan], "finite")],
)
def test_what_is_no_score(labels, scores, complaint):
    with pytest.raises(ValueError, match=complaint):
        auc_with_interval(labels, scores)


def test_area_is_the_share_of_pairs_in_order():
    random = np.random.default_rng(0)
    labels, scores = random.random(60) < 0.4, np.round(random.normal(size=60), 1)
    pairs = scores[labels][:, None] - scores[~labels]
    assert auc(labels, scores) == pytest.approx(np.mean((pairs > 0) + 0.5 * (pairs == 0)))
    curve = roc_curve(labels, scores)
    assert np.trapezoid(curve.sensitivities, curve.false_positive_rates) == pytest.approx(auc(labels, scores))


def test_the_interval_holds_what_it_promises():
    """Of 400 experiments about 95 % have the true area, .7602 for normal scores one deviation apart."""
    random, inside = np.random.default_rng(1), 0
    labels = np.arange(80) < 40
    for _ in range(400):
        _, low, high = auc_with_interval(labels, random.normal(labels * 1.0))
        inside += low <= 0.76025 <= high
    assert 365 <= inside <= 395


def test_the_test_is_wrong_as_often_as_it_says():
    random, significant = np.random.default_rng(2), 0
    labels = np.arange(80) < 40
    for _ in range(400):
        common = random.normal(labels * 1.0)
        found = compare_aucs(labels, common + random.normal(size=80), common + random.normal(size=80))
        significant += found.p < 0.05
    assert 8 <= significant <= 36
