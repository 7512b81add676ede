"""Similarities prepared for one fixed image: the same values and gradients as plain ones, found another way."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from RegisterModuleLib.worker.box_filters import window_means
from RegisterModuleLib.worker.similarity import prepared, similarity

PREPARED = ("local-correlation", "local-information", "mutual-information")


def images(shape: tuple[int, ...], channels: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Two related images with air, where variances are 0 and grey values at the end of their range."""
    generator = torch.Generator().manual_seed(sum(shape) + channels)
    fixed = torch.rand((channels, *shape), generator=generator)
    moved = 0.6 * fixed + 0.4 * torch.rand((channels, *shape), generator=generator)
    fixed[:, :3], moved[:, :2] = 0, 0
    return fixed, moved


def value_and_gradient(metric, fixed, moved, weight) -> tuple[float, torch.Tensor]:
    moved = moved.clone().requires_grad_()
    value = metric(fixed, moved, weight)
    (gradient,) = torch.autograd.grad(value, moved)
    return float(value.detach()), gradient


@pytest.mark.parametrize("shape", [(14, 11, 13), (24, 20, 1)])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("name", PREPARED)
def test_prepared_ones_equal_plain_ones(name, channels, shape):
    metric = similarity(name, 5)
    fixed, moved = images(shape, channels)
    ready = prepared(metric, fixed, np.ones(3))
    assert ready is not metric
    # Twice with the same weights, which are then already known, and with others again.
    holes = (torch.rand((1, *shape), generator=torch.Generator().manual_seed(5)) > 0.2).float()
    for weight in (torch.ones(1, *shape), holes, holes, torch.ones(1, *shape)):
        expected, slope = value_and_gradient(metric, fixed, moved, weight)
        value, gradient = value_and_gradient(ready, fixed, moved, weight)
        assert value == pytest.approx(expected, abs=1e-6)
        assert float((gradient - slope).abs().max()) < 2e-5 * float(slope.abs().max())
        moved = (0.9 * moved + 0.05).clamp(0, 1)


@pytest.mark.parametrize("name", PREPARED)
def test_a_value_alone_needs_no_gradient(name):
    fixed, moved = images((9, 10, 11), 1)
    weight = torch.ones_like(fixed)
    value = prepared(similarity(name), fixed, np.ones(3))(fixed, moved, weight)
    assert not value.requires_grad
    assert float(value) == pytest.approx(float(similarity(name)(fixed, moved, weight)), abs=1e-6)


@pytest.mark.parametrize("window", [1, 3, 5, 7, 9, 11, 15, 23])
def test_means_over_windows_equal_pooling(window):
    volumes = torch.rand((2, 30, 4, 25), generator=torch.Generator().manual_seed(1))
    edges = (window, 3, window)
    expected = F.avg_pool3d(volumes[None], edges, 1, [edge // 2 for edge in edges])[0]
    assert torch.allclose(window_means(volumes, edges), expected, atol=1e-6)
