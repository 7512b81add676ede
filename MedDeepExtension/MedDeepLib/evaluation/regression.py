"""A value against its reference: errors, and the limits of agreement of Bland and Altman."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from MedDeepLib.evaluation.intervals import Interval

_SPREAD = 1.96  # standard deviations; covers 95 % of normal differences
_FEWEST = 3
_NONE: Interval = (None, None, None)

Values = np.ndarray | Sequence[float]


@dataclass(frozen=True, eq=False)
class BlandAltman:
    """Agreement of two ways to measure, in the unit of the values (Bland and Altman 1986, doi
    10.1016/S0140-6736(86)90837-8).

    Attributes:
        means, differences: (N,) of each pair, for the plot; a difference is prediction minus reference.
        bias: the mean difference.
        deviation: standard deviation of the differences.
        lower, upper: the limits of agreement.

    Intervals are of 95 % and take differences as normal, independent and of the same spread everywhere. That is not so
    where patients have several cases or errors grow with the value: look at the plot.
    """

    means: np.ndarray
    differences: np.ndarray
    bias: Interval
    deviation: float
    lower: Interval
    upper: Interval


def mean_absolute_error(predictions: Values, references: Values) -> float:
    """In the unit of the values; NaN without cases."""
    differences = _differences(predictions, references)
    return float(np.mean(np.abs(differences))) if len(differences) else float("nan")


def root_mean_square_error(predictions: Values, references: Values) -> float:
    """In the unit of the values; NaN without cases."""
    differences = _differences(predictions, references)
    return float(np.sqrt(np.mean(differences**2))) if len(differences) else float("nan")


def r_squared(predictions: Values, references: Values) -> float:
    """The share of the references' variance that the predictions explain: 1 is perfect, 0 is as good as saying the
    mean of these references, below 0 is worse. NaN where all references are equal. It is no squared correlation."""
    differences = _differences(predictions, references)
    variation = np.sum((np.asarray(references, float) - np.mean(references)) ** 2) if len(differences) else 0.0
    return float(1 - np.sum(differences**2) / variation) if variation > 0 else float("nan")


def bland_altman(predictions: Values, references: Values, spread: float = _SPREAD) -> BlandAltman:
    """Bias and limits of agreement, ``spread`` standard deviations around it; the paper of 1986 takes 2.

    Intervals are left out for fewer than three cases. Raises ValueError without cases.
    """
    differences = _differences(predictions, references)
    count = len(differences)
    if not count:
        raise ValueError("There are no cases.")
    means = (np.asarray(predictions, float) + np.asarray(references, float)) / 2
    bias, deviation = float(differences.mean()), float(differences.std(ddof=1)) if count > 1 else float("nan")
    if count < _FEWEST:
        return BlandAltman(means, differences, (bias, None, None), deviation, _NONE, _NONE)
    from scipy.stats import t

    quantile = float(t.ppf(0.975, count - 1))
    reach, of_limits = quantile * deviation / np.sqrt(count), quantile * deviation * np.sqrt(3 / count)
    low, high = bias - spread * deviation, bias + spread * deviation
    return BlandAltman(
        means, differences, _around(bias, reach), deviation, _around(low, of_limits), _around(high, of_limits)
    )


def regression_row(prediction: float, reference: float) -> dict[str, Any]:
    """The row of one case for a report; the caller adds case, patient and site."""
    return {
        "prediction": float(prediction),
        "reference": float(reference),
        "absolute_error": abs(float(prediction) - float(reference)),
    }


def pooled_regression(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """``mae``, ``rmse``, ``r2``, ``bias`` and the limits of agreement of rows of :func:`regression_row`."""
    if not rows:
        return {}
    predictions, references = ([row[name] for row in rows] for name in ("prediction", "reference"))
    agreement = bland_altman(predictions, references)
    limits = (value if value is not None else float("nan") for value in (agreement.lower[0], agreement.upper[0]))
    return {
        "mae": mean_absolute_error(predictions, references),
        "rmse": root_mean_square_error(predictions, references),
        "r2": r_squared(predictions, references),
        "bias": float(agreement.differences.mean()),
        **dict(zip(("lower_limit", "upper_limit"), limits, strict=True)),
    }


def _around(value: float, reach: float) -> Interval:
    return float(value), float(value - reach), float(value + reach)


def _differences(predictions: Values, references: Values) -> np.ndarray:
    found, truth = np.asarray(predictions, float), np.asarray(references, float)
    if found.ndim != 1 or found.shape != truth.shape:
        raise ValueError(f"Predictions {found.shape} and references {truth.shape} must be one for each case.")
    if not (np.isfinite(found).all() and np.isfinite(truth).all()):
        raise ValueError("Predictions and references must be finite numbers.")
    return found - truth
