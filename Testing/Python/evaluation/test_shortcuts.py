"""Classes that acquisition alone tells apart."""

from __future__ import annotations

import numpy as np
import pytest
from MedDeepLib.evaluation.shortcuts import acquisition_features, probe_shortcuts


def case(random, spacing=1.0, border=0.0, highest=100.0):
    image = random.uniform(0, highest, (12, 12, 6))
    image[0] = border
    return acquisition_features(image, (spacing, spacing, 3.0))


def cohort(count=60, **of_the_ill):
    random = np.random.default_rng(0)
    features = [case(random, **(of_the_ill if n % 2 else {})) for n in range(count)]
    return features, ["ill" if n % 2 else "well" for n in range(count)], [f"p{n}" for n in range(count)]


def test_features():
    image = np.zeros((4, 5, 6), np.int16)
    image[1:-1, 1:-1, 1:-1] = 100
    found = acquisition_features(image, (0.5, 0.6, 2.0))
    assert [found[f"size {axis}"] for axis in "ijk"] == [4, 5, 6] and found["spacing k"] == 2.0
    assert (found["lowest intensity"], found["highest intensity"]) == (0, 100)
    assert found["border mean"] == 0 and found["border at lowest"] == 1
    assert "size k" not in acquisition_features(image[0], (1, 1))


@pytest.mark.parametrize(
    ("difference", "feature"),
    [({"spacing": 1.2}, "spacing"), ({"border": 40.0}, "border"), ({"highest": 130.0}, "ercentile")],
)
def test_a_planted_shortcut_is_named(difference, feature):
    probe = probe_shortcuts(*cohort(**difference))
    assert probe.is_suspicious and probe.auc[0] > 0.95
    assert any(feature in name or "intensity" in name for name in probe.telling[:2])
    assert "alone tell the classes apart (AUC" in probe.sentence and probe.telling[0] in probe.sentence


def test_no_shortcut():
    probe = probe_shortcuts(*cohort())
    value, low, high = probe.auc
    assert not probe.is_suspicious and low < 0.5 < high and 0.25 < value < 0.75
    assert "do not tell the classes apart" in probe.sentence


def test_several_classes():
    features, _, patients = cohort()
    classes = ["abc"[n % 3] for n in range(60)]
    marked = [own | {"spacing i": float(n % 3 == 0)} for n, own in enumerate(features)]
    probe = probe_shortcuts(marked, classes, patients)
    assert probe.is_suspicious and probe.telling[0] == "spacing i" and 0.6 < probe.auc[0] < 0.95


def test_a_patients_images_stay_together():
    """Each patient has a spacing of their own; it says nothing of other patients."""
    random = np.random.default_rng(1)
    features, classes, patients = [], [], []
    for n in range(40):
        own = random.uniform(0.5, 2)
        for _ in range(3):
            features.append(case(random, spacing=own))
            classes.append("ill" if n % 2 else "well")
            patients.append(f"p{n}")
    assert probe_shortcuts(features, classes, patients).auc[0] < 0.7


def test_too_few_patients():
    for count in (0, 1, 3):
        features, classes, patients = cohort(count)
        probe = probe_shortcuts(features, classes, patients)
        assert probe.auc == (None, None, None) and not probe.is_suspicious and "Too few patients" in probe.sentence
    features, _, patients = cohort(10)
    assert "Too few" in probe_shortcuts(features, ["ill"] * 10, patients).sentence
    assert probe_shortcuts(*cohort(8)).auc[0] is not None
