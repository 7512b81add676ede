"""Copies of images across splits and under two names."""

from __future__ import annotations

import numpy as np
import pytest
from MedDeepLib.evaluation.leakage import copies_in_words, find_copies, fingerprint, grey
from scipy.ndimage import gaussian_filter, zoom


def picture(seed: int, shape=(96, 80)) -> np.ndarray:
    """Smooth blobs of any size, from 0 to 1000."""
    random = np.random.default_rng(seed)
    image = sum(s * gaussian_filter(random.normal(size=shape), s) for s in (2, 4, 8))
    return 1000 * (image - image.min()) / np.ptp(image)


def volume(seed: int, shape=(40, 48, 24)) -> np.ndarray:
    return picture(seed, shape)


def difference(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.mean(fingerprint(first) != fingerprint(second)))


@pytest.mark.parametrize("make", [picture, volume])
def test_a_fingerprint_survives_what_happens_to_copies(make):
    image = make(0)
    noise = np.random.default_rng(9).normal(0, 10, image.shape)  # 1 % of the range
    assert difference(image, image.copy()) == 0
    assert difference(image, 0.01 * image - 1024) == 0, "another scale of the intensities"
    assert difference(image, np.round(image / 1000 * 255).astype(np.uint8)) < 0.03, "saved with 8 bits"
    assert difference(image, image + noise) < 0.05
    assert difference(image, zoom(image, 0.6, order=1)) < 0.06, "resampled"


@pytest.mark.parametrize("make", [picture, volume])
def test_other_images_have_other_fingerprints(make):
    prints = [fingerprint(make(seed)) for seed in range(12)]
    others = [np.mean(a != b) for n, a in enumerate(prints) for b in prints[:n]]
    assert min(others) > 0.3
    image = make(0)
    for turned in (image[::-1], np.rot90(image)):
        assert difference(image, turned) > 0.3, "a copy that was turned is not found, and the documentation says so"


def test_shapes():
    assert len(fingerprint(picture(0))) == 255 and len(fingerprint(volume(0))) == 511
    assert (fingerprint(picture(0)[..., None]) == fingerprint(picture(0))).all(), "a volume of one slice"
    colour = np.stack([picture(0)] * 3, -1)
    assert (fingerprint(grey(colour)) == fingerprint(picture(0))).all()
    assert len(fingerprint(np.arange(6.0).reshape(2, 3))) == 255, "smaller than the grid"
    assert fingerprint(np.full((9, 9), 7)) is None and fingerprint(np.zeros((9, 9))) is None
    for bad, complaint in (
        (np.arange(5), "neither"),
        (np.zeros((2, 3, 4, 5)), "neither"),
        (picture(0) * np.nan, "finite"),
    ):
        with pytest.raises(ValueError, match=complaint):
            fingerprint(bad)


def test_copies_are_grouped():
    images = {f"a{n}": picture(n) for n in range(8)}
    images |= {"copy": images["a1"] * 2, "noisy": images["a1"] + np.random.default_rng(0).normal(0, 5, (96, 80))}
    images |= {"twin": images["a5"], "flat": np.ones((5, 5)), "flat too": np.ones((5, 5)), "volume": volume(1)}
    splits = dict.fromkeys(images, "training") | {"copy": "test"}
    patients = {name: name for name in images} | {"copy": "a1", "noisy": "a1"}
    groups = find_copies({name: fingerprint(image) for name, image in images.items()}, splits, patients)
    assert [(group.cases, group.splits, group.patients) for group in groups] == [
        (("a1", "copy", "noisy"), ("training", "test"), ("a1",)),
        (("a5", "twin"), ("training",), ("a5", "twin")),
    ]
    assert groups[0].across_splits and not groups[0].across_patients and 0 <= groups[0].difference <= 0.06
    assert groups[1].across_patients and groups[1].difference == 0
    first, second = copies_in_words(groups)
    assert first.startswith("One image has copies that are in more than one split (a1 = copy = noisy): ")
    assert second.startswith("One image has copies that have more than one patient's name (a5 = twin): ")
    assert "4 images have copies that are in more than one split" in copies_in_words(groups[:1] * 4)[0]
    assert "and 1 more" in copies_in_words(groups[:1] * 4)[0]


def test_nothing_to_say():
    prints = {str(n): fingerprint(picture(n)) for n in range(5)}
    assert find_copies(prints, {}, {}) == [] and copies_in_words([]) == [] and find_copies({}, {}, {}) == []


def test_many_images(monkeypatch):
    """Blocks of the comparison join to the same groups."""
    from MedDeepLib.evaluation import leakage

    random = np.random.default_rng(0)
    hashes = random.random((300, 255)) < 0.5
    hashes[250:] = hashes[:50]
    prints = {str(n): own for n, own in enumerate(hashes)}
    whole = find_copies(prints, {}, {})
    assert [group.cases for group in whole] == [(str(n), str(n + 250)) for n in range(50)]
    monkeypatch.setattr(leakage, "_ROWS", 7)
    assert find_copies(prints, {}, {}) == whole
