"""95 % confidence intervals: over patients by bootstrap, and of a proportion."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

_FEWEST_PATIENTS = 5
_RESAMPLES = 1000
_FEWEST_RESAMPLES = 0.5  # of them must allow a pooled metric, or its interval would describe a selection of patients

Interval = tuple[float | None, float | None, float | None]
"""A value with the lower and upper end of its interval; None where they do not exist."""


def mean_with_interval(values: Iterable[tuple[str, float | None]], seed: int) -> Interval:
    """The mean over patients of their means, with a BCa interval; without one for fewer than five patients.

    ``values``: (patient, value), any number for each patient; None and NaN are left out.
    """
    by_patient: dict[str, list[float]] = {}
    for patient, value in values:
        if value is not None and value == value:
            by_patient.setdefault(patient, []).append(value)
    means = np.array([np.mean(own) for own in by_patient.values()])
    if not means.size:
        return None, None, None
    if means.size < _FEWEST_PATIENTS or np.ptp(means) == 0:
        return float(means.mean()), None, None
    from scipy.stats import bootstrap

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a degenerate resample gives NaN, handled below
        interval = bootstrap((means,), np.mean, rng=np.random.default_rng(seed)).confidence_interval
    low, high = (_finite(end) for end in interval)
    return float(means.mean()), low, high


def pooled_with_intervals(
    rows: Sequence[dict[str, Any]], pooled: Callable[[Sequence[dict[str, Any]]], Mapping[str, float]], seed: int
) -> dict[str, Interval]:
    """Metrics of many rows together, with percentile intervals over patients resampled with replacement.

    A patient who is drawn twice counts as two: "patient" and "case" of the rows are then numbered. An interval is left
    out for fewer than five patients, and where less than half of the resamples allow the metric, such as an AUC with
    one class only.
    """
    found = {name: _finite(value) for name, value in pooled(rows).items()}
    of_patient: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        of_patient.setdefault(row["patient"], []).append(row)
    if not found or len(of_patient) < _FEWEST_PATIENTS:
        return {name: (value, None, None) for name, value in found.items()}
    random, patients = np.random.default_rng(seed), list(of_patient)
    drawn: dict[str, list[float]] = {name: [] for name in found}
    for _ in range(_RESAMPLES):
        chosen = random.integers(len(patients), size=len(patients))
        values = pooled([row for n, i in enumerate(chosen) for row in _numbered(of_patient[patients[i]], n)])
        for name in found:
            value = _finite(values.get(name))
            drawn[name] += [] if value is None else [value]
    return {name: (value, *_percentiles(drawn[name], value)) for name, value in found.items()}


def proportion_with_interval(count: int, total: int) -> Interval:
    """``count`` of ``total`` with Wilson's score interval (Wilson 1927, doi 10.1080/01621459.1927.10502953); None
    where ``total`` is 0."""
    if not total:
        return None, None, None
    from scipy.stats import binomtest

    interval = binomtest(count, total).proportion_ci(0.95, "wilson")
    return count / total, float(interval.low), float(interval.high)


def _numbered(rows: Sequence[dict[str, Any]], number: int) -> list[dict[str, Any]]:
    return [
        {**row, "patient": f"{row['patient']} #{number}", "case": f"{row.get('case', '')} #{number}"} for row in rows
    ]


def _percentiles(values: list[float], value: float | None) -> tuple[float | None, float | None]:
    if value is None or len(values) < _FEWEST_RESAMPLES * _RESAMPLES or np.ptp(values) == 0:
        return None, None
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)


def _finite(value: Any) -> float | None:
    return float(value) if value is not None and np.isfinite(value) else None
