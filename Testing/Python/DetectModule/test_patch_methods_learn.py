"""That the patch methods learn what makes each of them: on small volumes in which just that decides. Slow."""

from __future__ import annotations

import numpy as np
import pytest
from toy_cascades import (
    SPACING,
    add_ball,
    add_tube,
    false_positives,
    mean_sensitivity,
    place,
    predictions,
    tissue,
    train,
    write_lesions,
)

pytestmark = pytest.mark.slow

SMALL = {
    "network_width": 0.2,
    "batch_size": 32,
    "learning_rate": 2e-3,
    "intensity": 0.1,
    "rotation": 20.0,
    "negatives": 3000,
}


def screening(finding) -> float:
    return finding.facts["screening score"]


def single_and_paired_balls(random: np.random.Generator):
    """Single balls are lesions; pairs, 6 or 7 slices apart, are not: farther than the screening's window reaches."""
    image, taken, lesions = tissue(random, (64, 64, 28)), [], []
    for number in range(6):
        center = place(random, image.shape, taken, border=(12, 12, 13), apart=19.0)
        center[2] = random.uniform(9, 18) if number % 2 else random.uniform(9, 11.5)
        add_ball(image, center, 2.5, 1.0)
        if number % 2:
            lesions.append((center, 5 / np.array(SPACING)))
        else:
            add_ball(image, center + (0, 0, random.uniform(6, 7)), 2.5, 1.0)
    return image, lesions


@pytest.fixture(scope="module")
def cascade(tmp_path_factory):
    folder = tmp_path_factory.mktemp("balls")
    dataset = write_lesions(folder, single_and_paired_balls, (14, 2, 8))
    run = train(
        folder / "run", dataset, "microbleed", steps=80, hard_steps=40, discriminate_steps=300, **SMALL,
        candidate_threshold=0.1, validate_every=100,
    )  # fmt: skip
    return predictions(run, dataset)


def test_the_cascade_finds_lesions_that_an_untrained_one_cannot(cascade, tmp_path):
    dataset = write_lesions(tmp_path, single_and_paired_balls, (2, 0, 8))
    untrained = train(
        tmp_path / "run", dataset, "microbleed", steps=1, hard_steps=1, discriminate_steps=1, **SMALL,
        candidate_threshold=0.1,
    )  # fmt: skip
    assert mean_sensitivity(cascade) > 0.6
    assert mean_sensitivity(predictions(untrained, dataset)) < 0.3


def test_the_second_stage_halves_the_false_positives(cascade, record_property):
    alone, both = (false_positives(cascade, 0.9, score) for score in (screening, lambda finding: finding.score))
    told = f"false positives a case at 90 % sensitivity: screening {alone:.2f}, both stages {both:.2f}"
    record_property("tally", told)
    assert np.isfinite(alone) and both <= alone / 2


def cells(random: np.random.Generator):
    """Red-green-blue: dark round nuclei are mitoses; dark long ones and pale round ones are not."""
    from scipy.ndimage import gaussian_filter

    shape = (160, 160)
    grid = np.indices(shape).reshape(2, -1).T
    image = np.stack([gaussian_filter(random.normal(0, 1, shape), 4) * 2 + level for level in (0.9, 0.7, 0.85)])
    image += random.normal(0, 0.05, image.shape)
    taken: list[np.ndarray] = []
    lesions = []
    for number in range(15):
        center = place(random, (*shape, 11), taken, border=(12, 12, 5), apart=18.0)[:2]
        stretch = (1.0, 3.0, 1.0)[number % 3]
        angle = random.uniform(0, np.pi)
        turned = (grid - center) @ np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        distance = np.linalg.norm(turned * (stretch**-0.5, stretch**0.5), axis=1).reshape(shape)
        depth = 0.2 if number % 3 == 2 else 0.6
        image -= np.array([1.0, 0.9, 0.4])[:, None, None] * depth / (1 + np.exp(np.clip((distance - 5) / 0.6, -30, 30)))
        if number % 3 == 0:
            lesions.append((np.array([*center, 0.0]), np.array([10.0, 10.0, 1.0])))
    return image[..., None], lesions


def test_mitoses_are_told_from_other_nuclei(tmp_path, record_property):
    dataset = write_lesions(tmp_path, cells, (12, 2, 6), spacing=(1.0, 1.0, 1.0), name="mitosis")
    settings = {"batch_size": 16, "learning_rate": 3e-3, "network_width": 0.5, "intensity": 0.1, "shift": 3.0}
    scores = {}
    for name, steps in (("untrained", 1), ("trained", 350)):
        run = train(tmp_path / name, dataset, "mitosis", steps=steps, hard_steps=steps, stride=2, **settings)
        scores[name] = mean_sensitivity(predictions(run, dataset))
    record_property("tally", ", ".join(f"CPM {name} {score:.2f}" for name, score in scores.items()))
    assert scores["trained"] > 0.7 > 0.3 > scores["untrained"]


def heart(random: np.random.Generator):
    """HU: small bright plaques on vessels are calcium; ribs, as bright and larger, and specks of noise are not."""
    image = 40 + 200 * (tissue(random, noise=0.08) - 1)
    image[image < -100] = -1000
    taken: list[np.ndarray] = []
    lesions = []
    for _ in range(3):
        center = place(random, image.shape, taken, border=(14, 14, 5))
        height = random.uniform(200, 700)
        add_ball(image, center, 2.0, height)
        lesions.append((center, 6 / np.array(SPACING)))
    for _ in range(3):
        center = place(random, image.shape, taken, border=(14, 14, 5))
        add_tube(image, center, random.normal(0, 1, 3) * (1, 1, 0.2), 2.2, random.uniform(200, 700))
    return image, lesions


def test_calcium_is_told_from_bone_and_scored(tmp_path, record_property):
    dataset = write_lesions(tmp_path, heart, (10, 2, 8), name="calcium")
    settings = {"network_width": 0.3, "field": 15, "batch_size": 32, "learning_rate": 2e-3, "intensity": 0.0}
    found = {}
    for name, steps in (("untrained", 1), ("trained", 150)):
        run = train(tmp_path / name, dataset, "calcium", steps=steps, discriminate_steps=steps, **settings)
        found[name] = predictions(run, dataset, threshold=0.5)
    scores = {name: mean_sensitivity(of_one) for name, of_one in found.items()}
    record_property("tally", ", ".join(f"CPM {name} {score:.2f}" for name, score in scores.items()))
    assert scores["trained"] > 0.7 and scores["trained"] > scores["untrained"] + 0.3
    for made, _ in found["trained"]:
        summary = made.summary()
        assert summary["Agatston score"] > 0 and summary["risk category"] in ("1-10", "11-100", "101-400", "> 400")
        assert all(finding.mask is not None for finding in made.findings)


def chest_with_uptake(random: np.random.Generator):
    """CT and PET: lesions are dense and take up; inflamed places take up without a mass, scars are masses without."""
    density, uptake = tissue(random), tissue(random, noise=0.1)
    taken: list[np.ndarray] = []
    lesions = []
    for kind in ("lesion", "lesion", "lesion", "inflamed", "inflamed", "scar", "scar"):
        center = place(random, density.shape, taken)
        if kind != "inflamed":
            add_ball(density, center, 3.0, 1.0)
        if kind != "scar":
            add_ball(uptake, center, 4.0, random.uniform(1.5, 3.0))
        if kind == "lesion":
            lesions.append((center, 6 / np.array(SPACING)))
    return np.stack([density, uptake]), lesions


def test_pet_and_ct_are_judged_together(tmp_path, record_property):
    dataset = write_lesions(tmp_path, chest_with_uptake, (8, 2, 8))
    settings = {
        "network_width": 0.25,
        "field": 13,
        "batch_size": 32,
        "learning_rate": 2e-3,
        "intensity": 0.1,
        "candidates": 40,
    }
    run = train(tmp_path / "run", dataset, "petct", steps=150, **settings)
    found = predictions(run, dataset)
    wrong = false_positives(found, 0.9)
    record_property(
        "tally", f"CPM {mean_sensitivity(found):.2f}, {wrong:.2f} false positives a case at 90 % sensitivity"
    )
    assert mean_sensitivity(found) > 0.75 and wrong <= 1
