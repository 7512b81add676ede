"""Whether probabilities mean what they say: reliability curve, calibration error, Brier score, temperature scaling, and
what decisions by them are worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from MedDeepLib.evaluation.intervals import Interval, proportion_with_interval
from MedDeepLib.evaluation.roc import Labels, Scores, checked

BINS = 10
_TEMPERATURES = (0.05, 20.0)


@dataclass(frozen=True, eq=False)
class Reliability:
    """Cases in bins of equal probability, without empty bins.

    Attributes:
        counts: (B,) cases.
        mean_probabilities: (B,) what the model says.
        observed: B shares that have the condition, with Wilson's 95 % interval.
    """

    counts: np.ndarray
    mean_probabilities: np.ndarray
    observed: tuple[Interval, ...]

    @property
    def shares(self) -> np.ndarray:
        """(B,) observed shares."""
        return np.array([share for share, _, _ in self.observed], float)

    @property
    def expected_calibration_error(self) -> float:
        """Mean distance of what was said from what was observed, weighted by cases (Naeini et al. 2015, doi
        10.1609/aaai.v29i1.9602). It depends on the bins and is above 0 by chance in small samples."""
        return float(np.average(np.abs(self.shares - self.mean_probabilities), weights=self.counts))


@dataclass(frozen=True)
class BrierParts:
    """``score = reliability - resolution + uncertainty``.

    Attributes:
        score: mean squared distance of the probability from what happened; 0 is perfect.
        reliability: mean squared distance of the bins' probabilities from their observed shares; 0 is perfect.
        resolution: how far the forecasts part cases that differ; more is better. It includes what lies within bins
            (Stephenson et al. 2008, doi 10.1175/2007WAF2006116.1), so that the sum is exact.
        uncertainty: the score of a model that always says the prevalence.
    """

    score: float
    reliability: float
    resolution: float
    uncertainty: float


@dataclass(frozen=True, eq=False)
class DecisionCurve:
    """Net benefit (Vickers and Elkin 2006, doi 10.1177/0272989X06295361) in true positives per case.

    Attributes:
        thresholds: (T,) the probability from which one would treat.
        model, treat_all: (T,) of treating by the model, and of treating everybody; treating nobody has 0.
    """

    thresholds: np.ndarray
    model: np.ndarray
    treat_all: np.ndarray


def reliability(labels: Labels, probabilities: Scores, bins: int = BINS, equal_counts: bool = False) -> Reliability:
    """The reliability curve of cases with labels (N,) and probabilities (N,).

    For several classes give whether the most probable class was right, and its probability.

    Args:
        equal_counts: bins with about as many cases each, instead of bins of equal width. Cases of the same probability
            stay together.

    Raises ValueError where a probability lies outside 0 to 1 or there are no cases.
    """
    truth, values = _probable(labels, probabilities)
    index = _bin_index(values, bins, equal_counts)
    of_bin = [(values[index == n], truth[index == n]) for n in np.unique(index)]
    return Reliability(
        np.array([len(own) for own, _ in of_bin]),
        np.array([own.mean() for own, _ in of_bin]),
        tuple(proportion_with_interval(int(own.sum()), len(own)) for _, own in of_bin),
    )


def brier(labels: Labels, probabilities: Scores, bins: int = BINS) -> BrierParts:
    """The Brier score (1950) and its parts (Murphy 1973, doi 10.1175/1520-0450(1973)012<0595:ANVPOT>2.0.CO;2)."""
    truth, values = _probable(labels, probabilities)
    index = _bin_index(values, bins, False)
    counts = np.bincount(index).astype(float)
    used = counts > 0
    said = np.bincount(index, values)[used] / counts[used]
    seen = np.bincount(index, truth)[used] / counts[used]
    prevalence, total = truth.mean(), len(truth)
    score = float(np.mean((values - truth) ** 2))
    of_bins = float(np.sum(counts[used] * (said - seen) ** 2) / total)
    uncertainty = float(prevalence * (1 - prevalence))
    return BrierParts(score, of_bins, of_bins + uncertainty - score, uncertainty)


def fit_temperature(logits: np.ndarray, classes: np.ndarray | Sequence[int]) -> float:
    """The temperature that makes the probabilities of validation cases as likely as possible (Guo et al. 2017,
    https://proceedings.mlr.press/v70/guo17a.html); above 1 where the model is too sure.

    Args:
        logits: (N, K), or logarithms of probabilities; of a single logit z give the columns 0 and z.
        classes: (N,) index of the true class.

    Returns:
        From 0.05 to 20. It never changes which class is the most probable one.

    Raises ValueError for other shapes, without cases, and for values that are not finite.
    """
    values, truth = np.asarray(logits, float), np.asarray(classes)
    if values.ndim != 2 or truth.shape != values.shape[:1] or not len(truth):
        raise ValueError(f"Logits {values.shape} must be (N, K) for N cases, not {truth.shape}.")
    if not np.isfinite(values).all() or not ((truth >= 0) & (truth < values.shape[1])).all():
        raise ValueError("Logits must be finite, and classes must be indices of their columns.")
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    def loss(logarithm: float) -> float:
        return -float(log_softmax(values / np.exp(logarithm), 1)[np.arange(len(truth)), truth].mean())

    found: Any = minimize_scalar(loss, bounds=np.log(_TEMPERATURES), method="bounded")
    return float(np.exp(found.x))


def at_temperature(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities (N, K) of logits (N, K) at a temperature."""
    from scipy.special import softmax

    return softmax(np.asarray(logits, float) / temperature, axis=1)


def decision_curve(
    labels: Labels, probabilities: Scores, thresholds: Sequence[float] = tuple(np.arange(1, 100) / 100)
) -> DecisionCurve:
    """Net benefit of treating whose probability reaches a threshold; thresholds lie between 0 and 1."""
    truth, values = _probable(labels, probabilities)
    odds = np.asarray(thresholds, float)
    if not ((odds > 0) & (odds < 1)).all():
        raise ValueError("Thresholds of a decision curve lie between 0 and 1.")
    odds = odds / (1 - odds)
    treated = values[None] >= np.asarray(thresholds, float)[:, None] - 1e-12
    model = (treated & truth).mean(1) - (treated & ~truth).mean(1) * odds
    return DecisionCurve(np.asarray(thresholds, float), model, truth.mean() - (~truth).mean() * odds)


def _probable(labels: Labels, probabilities: Scores) -> tuple[np.ndarray, np.ndarray]:
    truth, values = checked(labels, probabilities)
    if not len(truth):
        raise ValueError("There are no cases.")
    if values.min() < -1e-9 or values.max() > 1 + 1e-9:
        raise ValueError("Probabilities lie between 0 and 1.")
    return truth, np.clip(values, 0, 1)


def _bin_index(values: np.ndarray, bins: int, equal_counts: bool) -> np.ndarray:
    """Number (N,) of each value's bin; the upper edge belongs to the last bin."""
    if not equal_counts:
        return np.minimum((values * bins).astype(int), bins - 1)
    return np.searchsorted(np.quantile(values, np.arange(1, bins) / bins), values, side="right")
