"""Errors of values, and limits of agreement against the published example."""

from __future__ import annotations

import math

import numpy as np
import pytest
from MedDeepLib.evaluation.regression import (
    bland_altman,
    mean_absolute_error,
    pooled_regression,
    r_squared,
    regression_row,
    root_mean_square_error,
)

# Bland and Altman 1986, doi 10.1016/S0140-6736(86)90837-8: first readings of peak expiratory flow, l/min, by the Wright
# and the mini Wright meter in 17 subjects. Data and results are quoted from memory; they agree with each other.
WRIGHT = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
MINI = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]


def test_the_published_example():
    found = bland_altman(WRIGHT, MINI, spread=2)
    assert found.bias[0] == pytest.approx(-2.1, abs=0.05) and found.deviation == pytest.approx(38.8, abs=0.05)
    assert (found.lower[0], found.upper[0]) == pytest.approx((-79.7, 75.5), abs=0.1)
    assert found.bias[1:] == pytest.approx((-22.0, 17.8), abs=0.1)
    assert found.lower[1:] == pytest.approx((-114.3, -45.1), abs=0.2)
    assert found.upper[1:] == pytest.approx((40.9, 110.1), abs=0.2)
    assert found.means[0] == 503 and found.differences[0] == -18


def test_the_limits_hold_what_they_promise():
    random, inside = np.random.default_rng(0), 0
    for _ in range(400):
        found = bland_altman(random.normal(0, 1, 40), np.zeros(40))
        inside += found.upper[1] <= 1.96 <= found.upper[2]
    assert 365 <= inside <= 395


def test_errors_by_hand():
    predictions, references = [1.0, 2.0, 6.0], [2.0, 2.0, 4.0]
    assert mean_absolute_error(predictions, references) == 1
    assert root_mean_square_error(predictions, references) == pytest.approx(math.sqrt(5 / 3))
    assert r_squared(predictions, references) == pytest.approx(1 - 5 / (8 / 3))
    assert r_squared(references, references) == 1 and r_squared([8 / 3] * 3, references) == pytest.approx(0)


def test_few_cases():
    assert math.isnan(mean_absolute_error([], [])) and math.isnan(root_mean_square_error([], []))
    assert math.isnan(r_squared([1.0], [2.0])) and math.isnan(r_squared([], []))
    assert bland_altman([1.0, 2.0], [1.0, 1.0]).lower == (None, None, None)
    assert bland_altman([1.0], [3.0]).bias == (-2, None, None)
    with pytest.raises(ValueError, match="no cases"):
        bland_altman([], [])
    with pytest.raises(ValueError, match="one for each case"):
        r_squared([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="finite"):
        mean_absolute_error([np.nan], [1.0])


def test_rows():
    rows = [regression_row(p, r) for p, r in zip(WRIGHT, MINI, strict=True)]
    assert rows[0] == {"prediction": 494, "reference": 512, "absolute_error": 18}
    found = pooled_regression(rows)
    assert list(found) == ["mae", "rmse", "r2", "bias", "lower_limit", "upper_limit"]
    assert found["mae"] == np.mean([row["absolute_error"] for row in rows])
    assert found["lower_limit"] == pytest.approx(-78.1, abs=0.1)
    assert pooled_regression([]) == {} and math.isnan(pooled_regression(rows[:1])["upper_limit"])
