"""The FROC curve by LUNA16's rules: worked examples, and a slow implementation that goes finding by finding."""

from __future__ import annotations

import math

import numpy as np
import pytest
from MedDeepLib.evaluation.froc import RATES, CaseHits, froc, froc_of_scores, match_luna16

NOTHING = (np.empty((0, 3)), np.empty(0))


def on_a_line(*positions: float) -> np.ndarray:
    """Points on the first axis, mm."""
    return np.array([[x, 0.0, 0.0] for x in positions]).reshape(-1, 3)


def hits_of(findings: dict[float, float], references: dict[float, float], excluded=(), **options) -> CaseHits:
    """Findings as {position: score}, references as {position: radius}, all on one line."""
    pair = (on_a_line(*findings), np.array(list(findings.values())))
    spheres = (on_a_line(*references), np.array(list(references.values())))
    regions = (on_a_line(*excluded), np.array(list(excluded.values()))) if excluded else ()
    return match_luna16(pair, spheres, regions, **options)


# --- hits -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("distance", "outcome"), [(0.0, "hit"), (2.999, "hit"), (3.0, "false positive")])
def test_a_hit_is_strictly_nearer_than_the_radius(distance, outcome):
    assert hits_of({distance: 0.5}, {0.0: 3.0}).outcomes.tolist() == [outcome]


def test_only_the_best_finding_of_a_reference_counts():
    case = hits_of({0.0: 0.3, 1.0: 0.9, 2.0: 0.5}, {0.0: 3.0})
    assert case.outcomes.tolist() == ["duplicate", "hit", "duplicate"]
    assert case.scores.tolist() == [0.9] and case.is_hit.tolist() == [True]
    assert case.reference_scores.tolist() == [0.9] and case.reference_findings.tolist() == [1]


def test_a_finding_between_two_references_hits_both():
    case = hits_of({0.0: 0.7}, {-1.0: 2.0, 1.0: 2.0})
    assert case.outcomes.tolist() == ["hit"] and case.scores.tolist() == [0.7, 0.7] and case.is_hit.all()


def test_findings_in_excluded_regions_are_ignored_unless_they_hit_a_reference():
    case = hits_of({0.0: 0.9, 20.0: 0.8, 50.0: 0.7}, {0.0: 3.0}, {1.0: 5.0, 21.0: 5.0})
    assert case.outcomes.tolist() == ["hit", "ignored", "false positive"]
    assert case.scores.tolist() == [0.9, 0.7]


def test_an_unknown_radius_is_five_millimetres():
    assert hits_of({4.9: 0.9, 15.0: 0.9}, {20.0: 3.0}, {0.0: -1.0}).outcomes.tolist() == ["ignored", "false positive"]
    assert hits_of({}, {0.0: -1.0}).reference_sizes.tolist() == [10.0]


def test_sizes_of_what_is_hit_and_missed():
    case = hits_of({0.0: 0.9}, {0.0: 3.0, 30.0: 2.0})
    assert (case.hit_sizes.tolist(), case.missed_sizes.tolist(), case.reference_count) == ([6.0], [4.0], 2)
    assert math.isnan(case.reference_scores[1]) and case.reference_findings[1] == -1


def test_only_the_strongest_findings_of_a_scan_count():
    findings = {10.0 * n: 1 - n / 200 for n in range(1, 121)}
    case = hits_of(findings, {0.0: 3.0})
    assert (case.outcomes == "beyond limit").sum() == 20 and len(case.scores) == 100
    assert len(hits_of(findings, {0.0: 3.0}, limit=None).scores) == 120
    tied = hits_of(dict.fromkeys(np.arange(101.0) * 10, 0.5), {0.0: 3.0})
    assert len(tied.scores) == 0, "none is stronger than the 101st"


def test_empty_cases():
    for findings, references in ((NOTHING, NOTHING), (((), ()), ((), ())), (([], []), NOTHING)):
        case = match_luna16(findings, references)
        assert (len(case.scores), case.reference_count) == (0, 0)
    assert match_luna16(NOTHING, (on_a_line(0), [3.0])).missed_sizes.tolist() == [6.0]
    assert match_luna16((on_a_line(0), [0.4]), NOTHING).outcomes.tolist() == ["false positive"]


def test_pictures_have_two_dimensions():
    case = match_luna16(([[3.0, 4.0]], [0.5]), ([[0.0, 0.0]], [5.1]))
    assert case.outcomes.tolist() == ["hit"]


@pytest.mark.parametrize(
    ("findings", "complaint"),
    [((on_a_line(0, 1), [0.5]), "must be"), ((on_a_line(0), [np.nan]), "finite"), (([1, 2, 3], [1, 2, 3]), "must be")],
)
def test_arrays_that_do_not_belong_together(findings, complaint):
    with pytest.raises(ValueError, match=complaint):
        match_luna16(findings, NOTHING)


# --- the curve --------------------------------------------------------------------------------------------------------


def test_a_curve_worked_out_by_hand():
    """Two scans, four references. By falling score: hit .9, false .8, hit .7, false .6, false .5; two are missed.

    Points (false positives per scan, sensitivity): (0, 1/4), (1/2, 1/4), (1/2, 1/2), (1, 1/2), (3/2, 1/2).
    """
    cases = [
        hits_of({0.0: 0.9, 100.0: 0.8, 200.0: 0.5}, {0.0: 3.0, 50.0: 3.0}),
        hits_of({0.0: 0.7, 100.0: 0.6}, {0.0: 3.0, 50.0: 3.0}),
    ]
    curve = froc(cases)
    assert curve.curve_rates.tolist() == [0, 0, 0.5, 0.5, 1, 1.5]
    assert curve.curve_sensitivities.tolist() == [0, 0.25, 0.25, 0.5, 0.5, 0.5]
    assert curve.sensitivities.tolist() == [0.25, 0.25, 0.5, 0.5, 0.5, 0.5, 0.5]
    assert curve.cpm == pytest.approx((2 * 0.25 + 5 * 0.5) / 7)
    assert curve.thresholds.tolist() == [0.9, 0.9, 0.7, 0.6, 0.5, 0.5, 0.5]


def test_sensitivity_is_interpolated_between_points():
    """Equal scores are one point: from (0, 0) straight to (1, 1)."""
    curve = froc_of_scores(np.array([0.5, 0.5]), np.array([True, False]), 1, 1)
    assert curve.sensitivities.tolist() == [0.125, 0.25, 0.5, 1, 1, 1, 1]
    assert curve.thresholds[:3].tolist() == [math.inf] * 3 and curve.thresholds[3] == 0.5


def test_no_false_positives_and_no_findings():
    perfect = froc([hits_of({0.0: 0.2}, {0.0: 3.0}), match_luna16(NOTHING, NOTHING)])
    assert perfect.cpm == 1
    assert froc([hits_of({}, {0.0: 3.0})]).cpm == 0
    assert froc([hits_of({50.0: 0.5}, {0.0: 3.0})]).cpm == 0
    assert math.isnan(froc([hits_of({50.0: 0.5}, {})]).cpm), "nothing could have been found"
    assert math.isnan(froc([]).cpm)


def test_scans_without_anything_count():
    case = hits_of({0.0: 0.5, 50.0: 0.9}, {0.0: 3.0})
    alone, beside = froc([case]), froc([case, *[match_luna16(NOTHING, NOTHING)] * 7])
    assert alone.sensitivities.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert beside.sensitivities.tolist() == [1] * 7


def slow_froc(cases, rates=RATES):
    """Finding by finding and threshold by threshold; ``cases``: (findings, references, excluded), each a list of
    (position, score or radius)."""
    hits, false = [], []
    for findings, references, excluded in cases:
        for place, radius in references:
            near = [score for point, score in findings if math.dist(point, place) < radius]
            hits += [max(near)] if near else [-math.inf]
        for point, score in findings:
            if not any(math.dist(point, place) < radius for place, radius in [*references, *excluded]):
                false.append(score)
    points = [(0.0, 0.0)]
    for threshold in sorted({*hits, *false} - {-math.inf}, reverse=True):
        points.append((sum(s >= threshold for s in false) / len(cases), sum(s >= threshold for s in hits) / len(hits)))
    read = []
    for rate in rates:
        before = [point for point in points if point[0] <= rate][-1]
        after = next((point for point in points if point[0] > rate), None)
        share = (rate - before[0]) / (after[0] - before[0]) if after else 0
        read.append(before[1] + share * ((after[1] if after else before[1]) - before[1]))
    return read


@pytest.mark.parametrize("seed", range(12))
def test_against_a_slow_implementation(seed):
    random = np.random.default_rng(seed)
    digits = 1 if seed % 2 else 6  # with one digit many scores are equal

    def positions(most):
        return random.uniform(0, 60, (random.integers(0, most + 1), 3))

    cases, hits = [], []
    for _ in range(6):
        references, excluded = positions(5), positions(3)
        findings = np.concatenate([positions(20), references + random.normal(0, 3, references.shape)])
        scores = np.round(random.uniform(0, 1, len(findings)), digits)
        radii, other_radii = random.uniform(2, 20, len(references)), random.uniform(2, 20, len(excluded))
        hits.append(match_luna16((findings, scores), (references, radii), (excluded, other_radii)))
        parts = ((findings, scores), (references, radii), (excluded, other_radii))
        cases.append([list(zip(points, values, strict=True)) for points, values in parts])
    assert froc(hits).sensitivities == pytest.approx(slow_froc(cases))


def test_where_monai_differs():
    """MONAI's curve starts at the second lowest score, and a score below 0 makes a missed reference a hit."""
    from monai.metrics import compute_froc_curve_data, compute_froc_score

    false, right = np.array([0.2, 0.4]), np.array([0.9, 0.3])
    rates, sensitivities = compute_froc_curve_data(false, right, 2, 1)
    assert max(rates) == 1, "the false positive of the lowest score is lost"
    ours = froc_of_scores(np.concatenate([right, false]), np.array([1, 1, 0, 0], bool), 2, 1)
    assert ours.curve_rates.max() == 2
    assert compute_froc_score(rates, sensitivities) != pytest.approx(ours.cpm)
    assert compute_froc_score(rates, sensitivities, RATES) == pytest.approx(ours.cpm), "here the rates alone"
    missed = compute_froc_curve_data(np.array([-1.0, -2.0]), np.array([-3.0, 0.0]), 2, 1)[1]
    assert max(missed) == 0.5 and missed[-2] == 0.5, "the missed one comes before all findings"
