"""Reliability, calibration error, Brier score, temperature and decision curves."""

from __future__ import annotations

import numpy as np
import pytest
from MedDeepLib.evaluation.calibration import at_temperature, brier, decision_curve, fit_temperature, reliability


def forecast(count=4000, seed=0):
    """Probabilities, and events that happen as often as they say."""
    random = np.random.default_rng(seed)
    said = random.beta(0.7, 1.2, count)
    return random.random(count) < said, said


def test_a_curve_by_hand():
    """Three cases at .1, one of them ill; two at .9, one of them ill."""
    curve = reliability([1, 0, 0, 1, 0], [0.1, 0.1, 0.1, 0.9, 0.9], bins=5)
    assert curve.counts.tolist() == [3, 2] and curve.mean_probabilities == pytest.approx([0.1, 0.9])
    assert curve.shares == pytest.approx([1 / 3, 1 / 2])
    assert curve.expected_calibration_error == pytest.approx((3 * (1 / 3 - 0.1) + 2 * 0.4) / 5)
    share, low, high = curve.observed[1]
    assert low < share < high


def test_edges_of_bins():
    curve = reliability([0, 0, 1, 1], [0.0, 0.5, 0.5, 1.0], bins=2)
    assert curve.counts.tolist() == [1, 3]


def test_bins_of_equal_counts():
    labels, said = forecast(1000)
    curve = reliability(labels, said, equal_counts=True)
    assert curve.counts.tolist() == [100] * 10
    assert len(reliability([0, 1, 0, 1], [0.5] * 4, equal_counts=True).counts) == 1


def test_what_means_what_it_says_and_what_does_not():
    labels, said = forecast()
    assert reliability(labels, said).expected_calibration_error < 0.02
    assert reliability(labels, said**3).expected_calibration_error > 0.1


def test_bad_probabilities():
    with pytest.raises(ValueError, match="between 0 and 1"):
        reliability([0, 1], [0.5, 1.5])
    with pytest.raises(ValueError, match="no cases"):
        brier([], [])


def test_brier_parts():
    labels, said = forecast(500)
    parts = brier(labels, said)
    from sklearn.metrics import brier_score_loss

    assert parts.score == pytest.approx(brier_score_loss(labels, said))
    assert parts.score == pytest.approx(parts.reliability - parts.resolution + parts.uncertainty)
    base = np.full(500, labels.mean())
    assert brier(labels, base).resolution == pytest.approx(0, abs=1e-12)
    assert brier(labels, base).score == pytest.approx(parts.uncertainty)


def test_brier_parts_by_murphys_formula():
    """Where all forecasts of a bin are equal, the parts are those of Murphy."""
    labels, said = np.array([0, 0, 0, 1, 0, 1, 1, 1, 1, 0]), np.array([0.2] * 4 + [0.7] * 6)
    parts = brier(labels, said)
    assert parts.reliability == pytest.approx((4 * (0.2 - 1 / 4) ** 2 + 6 * (0.7 - 4 / 6) ** 2) / 10)
    assert parts.resolution == pytest.approx((4 * (1 / 4 - 0.5) ** 2 + 6 * (4 / 6 - 0.5) ** 2) / 10)
    assert parts.uncertainty == 0.25


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_temperature_is_found_again(temperature):
    random = np.random.default_rng(1)
    logits = random.normal(0, 2, (6000, 4))
    classes = (at_temperature(logits, 1).cumsum(1) < random.random((6000, 1))).sum(1)
    found = fit_temperature(logits * temperature, classes)
    assert found == pytest.approx(temperature, rel=0.06)
    scaled = at_temperature(logits * temperature, found)
    assert (scaled.argmax(1) == logits.argmax(1)).all() and scaled.sum(1) == pytest.approx(np.ones(6000))


def test_temperature_mends_calibration():
    random = np.random.default_rng(2)
    z = random.normal(0, 2, 5000)
    labels = random.random(5000) < 1 / (1 + np.exp(-z))
    logits = np.stack([np.zeros(5000), 4 * z], 1)
    before = reliability(labels[:2500], at_temperature(logits, 1)[:2500, 1]).expected_calibration_error
    temperature = fit_temperature(logits[2500:], labels[2500:].astype(int))
    after = reliability(labels[:2500], at_temperature(logits, temperature)[:2500, 1]).expected_calibration_error
    assert temperature == pytest.approx(4, rel=0.1) and after < 0.03 < 0.1 < before


def test_temperature_has_bounds():
    separated = np.array([[5.0, 0.0], [0.0, 5.0]])
    assert 0.05 <= fit_temperature(separated, [0, 1]) < 0.2
    assert 10 < fit_temperature(separated, [1, 0]) <= 20
    for logits, classes in (
        (separated, [0]),
        (np.empty((0, 2)), []),
        (separated, [0, 2]),
        (separated * np.nan, [0, 1]),
    ):
        with pytest.raises(ValueError, match="Logits"):
            fit_temperature(logits, classes)


def test_net_benefit_by_hand():
    """Of ten cases three are ill. From .2 on four are treated, three of them ill: 3/10 - 1/10 * 1/4."""
    labels = np.array([1, 1, 1, 0, 0, 0, 0, 0, 0, 0])
    said = np.array([0.9, 0.8, 0.2, 0.3, 0.1, 0.1, 0.1, 0.1, 0.1, 0.0])
    curve = decision_curve(labels, said, (0.2, 0.5))
    assert curve.model == pytest.approx([3 / 10 - 1 / 10 / 4, 2 / 10])
    assert curve.treat_all == pytest.approx([3 / 10 - 7 / 10 / 4, 3 / 10 - 7 / 10])
    whole = decision_curve(labels, said)
    assert len(whole.thresholds) == 99 and whole.thresholds[[0, -1]].tolist() == [0.01, 0.99]
    with pytest.raises(ValueError, match="between 0 and 1"):
        decision_curve(labels, said, (0.0,))


def test_treating_all_is_worth_nothing_at_the_prevalence():
    labels, said = forecast(1000)
    prevalence = float(labels.mean())
    curve = decision_curve(labels, said, (prevalence,))
    assert curve.treat_all[0] == pytest.approx(0, abs=1e-12) and curve.model[0] > 0
