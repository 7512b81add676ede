"""The similarities that gradient steps maximise: their values, and what they are invariant to."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from RegisterModuleLib.parameters import SIMILARITIES
from RegisterModuleLib.worker.similarity import similarity

SHAPE = (9, 11, 13)


def image(seed: int, shape: tuple[int, int, int] = SHAPE) -> torch.Tensor:
    return torch.rand((1, *shape), generator=torch.Generator().manual_seed(seed))


def test_an_even_window_gets_a_middle():
    one, other = image(1), image(2)
    for name in ("local-correlation", "local-information"):
        assert similarity(name, 4)(one, other, whole(one)) == similarity(name, 5)(one, other, whole(one))


def whole(like: torch.Tensor) -> torch.Tensor:
    return torch.ones_like(like)


def correlations(first: np.ndarray, second: np.ndarray, window: int) -> np.ndarray:
    """r² in each window that lies entirely within the images."""
    parts = [np.lib.stride_tricks.sliding_window_view(one, (window,) * 3) for one in (first, second)]
    first, second = (part.reshape(*part.shape[:3], -1) for part in parts)
    first, second = (part - part.mean(-1, keepdims=True) for part in (first, second))
    return (first * second).mean(-1) ** 2 / ((first**2).mean(-1) * (second**2).mean(-1) + 1e-6)


@pytest.mark.parametrize("name", SIMILARITIES)
def test_an_image_is_most_like_itself(name):
    metric, one = similarity(name, 3), image(1)
    own = float(metric(one, one, whole(one)))
    for share in (0.3, 1.0):
        other = (1 - share) * one + share * image(2)
        assert own < float(metric(one, other, whole(one)))


@pytest.mark.parametrize("name", ["local-correlation", "local-information", "correlation"])
@pytest.mark.parametrize("factor", [0.5, -0.5])
def test_brightness_and_its_sign_do_not_matter(name, factor):
    metric, one, other = similarity(name, 5), image(1), 0.7 * image(1) + 0.3 * image(2)
    expected = float(metric(one, other, whole(one)))
    assert float(metric(one, 0.5 + factor * (other - 0.5), whole(one))) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(("name", "of"), [
    ("local-correlation", lambda r2: 1 - r2),
    ("local-information", lambda r2: np.log(1 - r2 + 0.02) / 2),
])  # fmt: skip
def test_local_ones_are_means_over_windows(name, of):
    """Against plain numpy, where every window lies entirely within the images."""
    one, other = image(1), 0.6 * image(1) + 0.4 * image(2)
    expected = of(correlations(one[0].numpy().astype(float), other[0].numpy().astype(float), 3)).mean()
    # Windows are cut off at the border, which changes the mean over all voxels slightly.
    assert float(similarity(name, 3)(one, other, whole(one))) == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("name", SIMILARITIES)
def test_what_has_no_weight_does_not_count(name):
    metric, one, other = similarity(name, 3), image(1), image(2)
    weight = whole(one)
    weight[:, :4] = 0
    changed = other.clone()
    changed[:, :3] = 0.25
    assert float(metric(one, changed, weight)) == pytest.approx(float(metric(one, other, weight)), abs=1e-4)


def test_information_pulls_harder_where_images_are_alike():
    """The closer the images, the more of it a step towards the fixed image gains; for r² itself, the less."""
    one, noise = image(1, (15, 15, 15)), image(2, (15, 15, 15))

    def gain(name: str, share: float) -> float:
        metric = similarity(name, 5)
        values = [float(metric(one, (1 - s) * one + s * noise, whole(one))) for s in (share, share - 0.05)]
        return values[0] - values[1]

    assert gain("local-information", 0.25) > gain("local-information", 0.6)
    assert gain("local-correlation", 0.25) < gain("local-correlation", 0.6)


def test_mutual_information_sees_through_any_exchange_of_grey_values():
    one = image(1)
    exchanged = (3 * one).frac()  # three grey values become one: related, but not linearly
    metric = similarity("mutual-information")
    assert float(metric(one, exchanged, whole(one))) < float(metric(one, image(2), whole(one))) - 0.2
    linear = similarity("correlation")
    assert float(linear(one, exchanged, whole(one))) > 0.8


def test_single_slices_are_compared_within_their_plane():
    one, other = image(1, (24, 30, 1)), image(2, (24, 30, 1))
    for name in SIMILARITIES:
        metric = similarity(name, 5)
        assert float(metric(one, one, whole(one))) < float(metric(one, other, whole(one)))


def test_channels_are_averaged():
    metric = similarity("mean-square")
    fixed, moved = torch.zeros(2, *SHAPE), torch.stack([torch.zeros(SHAPE), torch.full(SHAPE, 2.0)])
    assert float(metric(fixed, moved, torch.ones(1, *SHAPE))) == pytest.approx(2.0)
