"""Suspicious labels: planted errors are found, and the rule of confident learning by hand."""

from __future__ import annotations

import numpy as np
import pytest
from MedDeepLib.evaluation.noise import suspicious_labels


def test_by_hand():
    """Thresholds: class 0 (.9 + .6 + .2) / 3 = .5667, class 1 (.7 + .3) / 2 = .5."""
    of_first = np.array([0.9, 0.6, 0.2, 0.3, 0.7])
    found = suspicious_labels(np.stack([of_first, 1 - of_first], 1), [0, 0, 0, 1, 1])
    assert found.thresholds == pytest.approx([1.7 / 3, 0.5])
    assert found.suggested.tolist() == [0, 0, 1, 1, 0]
    assert found.is_suspicious.tolist() == [False, False, True, False, True]
    assert found.margins == pytest.approx([0.8, 0.2, -0.6, 0.4, -0.4])
    assert found.order.tolist() == [2, 4, 1, 3, 0]
    assert found.joint.tolist() == [[2, 1], [1, 1]]


def test_a_class_of_which_the_model_is_never_sure():
    """.4 is much for class 1, whose cases have .3 on average; .6 is little for class 0."""
    probabilities = np.array([[0.95, 0.05], [0.95, 0.05], [0.6, 0.4], [0.7, 0.3], [0.7, 0.3]])
    found = suspicious_labels(probabilities, [0, 0, 0, 1, 1])
    assert found.is_suspicious.tolist() == [False, False, True, False, False]


def test_a_case_that_reaches_no_threshold_keeps_its_label():
    found = suspicious_labels(np.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5], [0.6, 0.4]]), [0, 1, 0, 1])
    assert not found.is_suspicious[2] and found.joint.sum() == 2


def test_a_class_without_cases_is_never_suggested():
    found = suspicious_labels(np.array([[0.1, 0.8, 0.1], [0.1, 0.1, 0.8]]), [0, 1])
    assert 2 not in found.suggested and np.isnan(found.thresholds[2])


@pytest.mark.parametrize(
    ("probabilities", "labels"),
    [([[0.5, 0.5]], [0, 1]), ([[1.0]], [0]), ([[0.5, 0.5]], [2]), ([[np.nan, 0.5]], [0]), ([0.5], [0])],
)
def test_what_is_no_prediction(probabilities, labels):
    with pytest.raises(ValueError, match="Probabilities"):
        suspicious_labels(np.array(probabilities), labels)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("seed", range(3))
def test_planted_errors_lead_the_list(classes, seed):
    """A fifth of the labels is wrong; at least 70 % of these are in the first 30 % of the list (by chance: 30 %)."""
    from sklearn.datasets import make_classification
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict

    features, truth = make_classification(
        400, 12, n_informative=8, n_redundant=0, n_classes=classes, n_clusters_per_class=1, flip_y=0, random_state=seed
    )
    random = np.random.default_rng(seed)
    wrong = random.permutation(400)[:80]
    labels = truth.copy()
    labels[wrong] = (truth[wrong] + random.integers(1, classes, 80)) % classes
    said = cross_val_predict(LogisticRegression(), features, labels, cv=5, method="predict_proba")
    found = suspicious_labels(said, labels)
    first = found.order[: 3 * 400 // 10]
    assert np.isin(wrong, first).mean() >= 0.7
    assert sorted(found.order.tolist()) == list(range(400))
    flagged = found.is_suspicious
    assert np.isin(np.flatnonzero(flagged), wrong).mean() > 0.5, "a fifth would be chance"
    assert (found.suggested[wrong][flagged[wrong]] == truth[wrong][flagged[wrong]]).mean() > 0.8
