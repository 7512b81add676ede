"""Free-response ROC of a detection by the rules of the LUNA16 challenge.

Source: Setio et al. 2017, doi 10.1016/j.media.2017.06.015, and the challenge's evaluation script; the competition
performance metric (CPM): Niemeijer et al. 2011, doi 10.1109/TMI.2010.2072789.

``monai.metrics.compute_froc_score`` follows CAMELYON16 instead, so its numbers are not comparable with these. Its
default rates are 1/4 to 8, six and not seven. A hit is a point on a voxel of the reference's mask, not one within its
radius. A reference that is missed has the score 0, so that scores must be positive; where none is missed, the curve
lacks the point of the lowest score. A scan has no limit of findings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""False positives per scan at which LUNA16 reads the sensitivity; the CPM is their mean."""
FINDINGS_PER_SCAN = 100
"""How many findings of a scan LUNA16 takes into account."""
_UNKNOWN_RADIUS = 5.0  # mm; the challenge takes a diameter of 10 mm where the excluded annotations have none

HIT, DUPLICATE, IGNORED, FALSE_POSITIVE, BEYOND_LIMIT = "hit", "duplicate", "ignored", "false positive", "beyond limit"

Positioned = tuple[Any, Any]
"""Centres (N, D) in mm with scores (N,), or with radii (N,) in mm."""


@dataclass(frozen=True, eq=False)
class CaseHits:
    """What the findings of one case hit.

    Attributes:
        scores: (M,) of what counts: the best finding of each reference that was hit, then the false positives.
        is_hit: (M,) whether the score is that of a hit.
        reference_sizes: (R,) diameters in mm.
        reference_scores: (R,) the highest score of the findings that hit a reference, NaN where none does.
        reference_findings: (R,) index of that finding, -1 where none does.
        outcomes: (N,) for each finding one of "hit", "duplicate" (another finding of the same reference has a higher
            score), "ignored" (in an excluded region), "false positive", "beyond limit".
        finding_scores: (N,) of all findings.
    """

    scores: np.ndarray
    is_hit: np.ndarray
    reference_sizes: np.ndarray
    reference_scores: np.ndarray
    reference_findings: np.ndarray
    outcomes: np.ndarray
    finding_scores: np.ndarray

    @property
    def reference_count(self) -> int:
        return len(self.reference_sizes)

    @property
    def hit_sizes(self) -> np.ndarray:
        """Diameters in mm of the references that were hit."""
        return self.reference_sizes[self.reference_findings >= 0]

    @property
    def missed_sizes(self) -> np.ndarray:
        """Diameters in mm of the references that no finding hits."""
        return self.reference_sizes[self.reference_findings < 0]


@dataclass(frozen=True, eq=False)
class Froc:
    """Sensitivity against false positives per scan.

    Attributes:
        rates: (K,) false positives per scan.
        sensitivities: (K,) at these rates, interpolated; NaN without references.
        cpm: their mean.
        thresholds: (K,) the lowest score that keeps the false positives per scan at or below the rate; the curve's
            sensitivity there is at most the interpolated one.
        curve_rates, curve_sensitivities, curve_thresholds: (P,) the whole curve, beginning at (0, 0, infinity).
    """

    rates: np.ndarray
    sensitivities: np.ndarray
    cpm: float
    thresholds: np.ndarray
    curve_rates: np.ndarray
    curve_sensitivities: np.ndarray
    curve_thresholds: np.ndarray


def match_luna16(
    findings: Positioned,
    references: Positioned,
    excluded: Positioned | tuple[()] = (),
    limit: int | None = FINDINGS_PER_SCAN,
) -> CaseHits:
    """What the findings of one case hit, by LUNA16's rules.

    A finding hits every reference to whose centre it is nearer than the reference's radius (strictly). Of several
    findings that hit a reference, the one with the highest score counts and the others are neither true nor false
    positives. A finding that hits no reference but an excluded region is ignored. Of more than ``limit`` findings only
    those with a higher score than the next one are kept.

    Args:
        findings: centres (N, D) in mm and scores (N,).
        references: centres (R, D) in mm and radii (R,) in mm; a negative radius is unknown and taken as 5 mm, as the
            challenge's script does.
        excluded: regions like references, e.g. lesions on which readers disagree.
        limit: None takes all findings into account.

    Raises ValueError where the arrays do not belong together or a number is not finite.
    """
    centers, scores = _positioned(findings)
    reference_centers, radii = _positioned(references)
    kept = _strongest(scores, limit)
    reached = _within(centers, reference_centers, radii) & kept[:, None]
    outcomes = np.full(len(scores), FALSE_POSITIVE, object)
    if excluded:
        outcomes[_within(centers, *_positioned(excluded)).any(1)] = IGNORED
    outcomes[reached.any(1)] = DUPLICATE
    found = reached.any(0)
    best = np.full(len(radii), -1)
    if found.any():
        best[found] = np.where(reached, scores[:, None], -np.inf)[:, found].argmax(0)
    outcomes[best[found]] = HIT
    outcomes[~kept] = BEYOND_LIMIT
    hits, wrong = scores[best[found]], scores[outcomes == FALSE_POSITIVE]
    reference_scores = np.full(len(radii), np.nan)
    reference_scores[found] = hits
    return CaseHits(
        np.concatenate([hits, wrong]),
        np.arange(len(hits) + len(wrong)) < len(hits),
        2 * _known(radii),
        reference_scores,
        best,
        outcomes.astype(str),
        scores,
    )


def froc(cases: Sequence[CaseHits], rates: Sequence[float] = RATES) -> Froc:
    """The curve of all cases together; a case without findings and references counts as a scan, too."""
    scores = np.concatenate([np.empty(0), *(case.scores for case in cases)])
    is_hit = np.concatenate([np.empty(0, bool), *(case.is_hit for case in cases)])
    return froc_of_scores(scores, is_hit, sum(case.reference_count for case in cases), len(cases), rates)


def froc_of_scores(
    scores: np.ndarray, is_hit: np.ndarray, reference_count: int, scan_count: int, rates: Sequence[float] = RATES
) -> Froc:
    """The curve of the scores (M,) of hits, one for each reference that was hit, and of false positives.

    Sensitivities are read between the curve's points by linear interpolation, and past its end as at its end; where
    several points share a rate the highest counts. That is what the challenge's script does.
    """
    order = np.argsort(-scores, kind="stable")
    scores, is_hit = scores[order], is_hit[order].astype(bool)
    last = np.flatnonzero(np.append(scores[1:] != scores[:-1], True)) if len(scores) else np.empty(0, int)
    thresholds = np.append(np.inf, scores[last])
    false = np.append(0, np.cumsum(~is_hit)[last]) / max(1, scan_count)
    with np.errstate(invalid="ignore"):
        sensitivity = np.append(0, np.cumsum(is_hit)[last]) / np.float64(reference_count)
    read = np.interp(rates, false, sensitivity)
    allowed = thresholds[np.searchsorted(false, rates, side="right") - 1]
    return Froc(np.asarray(rates, float), read, float(read.mean()), allowed, false, sensitivity, thresholds)


def _positioned(positioned: Positioned) -> tuple[np.ndarray, np.ndarray]:
    centers, values = (np.asarray(part, float) for part in positioned)
    if centers.size == 0:
        centers = centers.reshape(0, centers.shape[1] if centers.ndim == 2 else 3)
    if centers.ndim != 2 or values.shape != (len(centers),):
        raise ValueError(f"Centres {centers.shape} must be (N, D) and have N scores or radii, not {values.shape}.")
    if not (np.isfinite(centers).all() and np.isfinite(values).all()):
        raise ValueError("Centres, scores and radii must be finite numbers.")
    return centers, values


def _strongest(scores: np.ndarray, limit: int | None) -> np.ndarray:
    if limit is None or len(scores) <= limit:
        return np.ones(len(scores), bool)
    return scores > np.sort(scores)[::-1][limit]


def _known(radii: np.ndarray) -> np.ndarray:
    return np.where(radii < 0, _UNKNOWN_RADIUS, radii)


def _within(centers: np.ndarray, others: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """(N, R) whether a centre lies in a sphere; squares are compared, as in the challenge's script."""
    if not len(centers) or not len(others):
        return np.zeros((len(centers), len(others)), bool)
    from scipy.spatial.distance import cdist

    return cdist(centers, others, "sqeuclidean") < _known(radii) ** 2
