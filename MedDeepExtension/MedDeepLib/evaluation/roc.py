"""The ROC curve of a score for one class: its area with DeLong's interval, and DeLong's test between two models.

Sources: DeLong et al. 1988, doi 10.2307/2531595; computed from ranks as in Sun and Xu 2014, doi
10.1109/LSP.2014.2337313. Both take cases as independent. Where patients have several cases, use the report's bootstrap
over patients instead (:mod:`MedDeepLib.evaluation.report`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from MedDeepLib.evaluation.intervals import Interval

_NORMAL_975 = 1.959963984540054  # the 97.5 % quantile of the normal distribution
_NO_VARIANCE = 1e-15

Labels = np.ndarray | Sequence[bool]
Scores = np.ndarray | Sequence[float]


@dataclass(frozen=True, eq=False)
class RocCurve:
    """Attributes:
    false_positive_rates, sensitivities: (P,) from (0, 0) to (1, 1).
    thresholds: (P,) a case is positive whose score is at or above it; the first is infinite.
    """

    false_positive_rates: np.ndarray
    sensitivities: np.ndarray
    thresholds: np.ndarray


@dataclass(frozen=True)
class AucComparison:
    """Two models on the same cases.

    Attributes:
        auc, other_auc: of the two.
        difference: ``auc - other_auc`` with its 95 % interval.
        z, p: DeLong's statistic and its two-sided p; None where both scores rank the cases without any variance.
    """

    auc: float
    other_auc: float
    difference: Interval
    z: float | None
    p: float | None


def roc_curve(labels: Labels, scores: Scores) -> RocCurve:
    """The curve of all thresholds.

    Args:
        labels: (N,) whether a case has the condition.
        scores: (N,) higher where the condition is more likely.

    Raises ValueError where the arrays do not belong together, a score is not finite or a class is missing.
    """
    truth, values = checked(labels, scores)
    if truth.all() or not truth.any():
        raise ValueError("A ROC curve needs cases with and without the condition.")
    from sklearn.metrics import roc_curve as of_sklearn

    return RocCurve(*of_sklearn(truth, values, drop_intermediate=False))


def auc(labels: Labels, scores: Scores) -> float:
    """The probability that a case with the condition has the higher score (ties count half); NaN with one class."""
    truth, values = checked(labels, scores)
    positive = int(truth.sum())
    negative = len(truth) - positive
    if not positive or not negative:
        return float("nan")
    from scipy.stats import rankdata

    return float((rankdata(values)[truth].sum() - positive * (positive + 1) / 2) / (positive * negative))


def auc_with_interval(labels: Labels, scores: Scores) -> Interval:
    """The area with DeLong's 95 % interval, cut at 0 and 1.

    No interval with less than two cases of a class, and none where the scores separate the classes completely: DeLong's
    variance is 0 then, which says nothing about other cases.
    """
    truth, values = checked(labels, scores)
    area = auc(truth, values)
    if not np.isfinite(area):
        return None, None, None
    covariance = _covariance(truth, values[None])
    if covariance is None or covariance[0, 0] < _NO_VARIANCE:
        return area, None, None
    reach = _NORMAL_975 * float(np.sqrt(covariance[0, 0]))
    return area, max(0.0, area - reach), min(1.0, area + reach)


def compare_aucs(labels: Labels, scores: Scores, other_scores: Scores) -> AucComparison:
    """DeLong's test for two models that have scored the same cases.

    Raises ValueError as :func:`roc_curve` does, and with less than two cases of a class.
    """
    truth, values = checked(labels, scores)
    _, other = checked(labels, other_scores)
    covariance = _covariance(truth, np.stack([values, other]))
    if covariance is None:
        raise ValueError("DeLong's test needs two cases with the condition and two without it.")
    first, second = auc(truth, values), auc(truth, other)
    difference = first - second
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    if variance < _NO_VARIANCE:
        same = abs(difference) < _NO_VARIANCE
        return AucComparison(first, second, (difference, None, None), 0.0 if same else None, 1.0 if same else None)
    from scipy.stats import norm

    error = float(np.sqrt(variance))
    interval = (difference, difference - _NORMAL_975 * error, difference + _NORMAL_975 * error)
    return AucComparison(first, second, interval, difference / error, float(2 * norm.sf(abs(difference / error))))


def checked(labels: Labels, scores: Scores) -> tuple[np.ndarray, np.ndarray]:
    """Labels as (N,) bool and scores as (N,) float. Raises ValueError where they are no such thing."""
    truth, values = np.asarray(labels), np.asarray(scores, float)
    if truth.ndim != 1 or truth.shape != values.shape:
        raise ValueError(f"Labels {truth.shape} and scores {values.shape} must be one for each case.")
    if not np.isin(truth, (0, 1)).all():
        raise ValueError("Labels must be true or false.")
    if not np.isfinite(values).all():
        raise ValueError("Scores must be finite numbers.")
    return truth.astype(bool), values


def _covariance(truth: np.ndarray, scores: np.ndarray) -> np.ndarray | None:
    """DeLong's covariance (M, M) of the areas of M models, of scores (M, N); None with less than two of a class."""
    positive, negative = int(truth.sum()), int((~truth).sum())
    if min(positive, negative) < 2:
        return None
    from scipy.stats import rankdata

    together = rankdata(scores, axis=1)
    of_positive = (together[:, truth] - rankdata(scores[:, truth], axis=1)) / negative
    of_negative = 1 - (together[:, ~truth] - rankdata(scores[:, ~truth], axis=1)) / positive
    return np.atleast_2d(np.cov(of_positive)) / positive + np.atleast_2d(np.cov(of_negative)) / negative
