"""Inverses of flows that stretch space strongly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from RegisterModuleLib.worker.fields import integrated, inverted, jacobian_determinant, on_other_grid
from RegisterModuleLib.worker.grids import Grid, sampled


def strong_flow(size: float) -> tuple[torch.Tensor, torch.Tensor]:
    """A random flow on 48 x 40 x 44 voxels, 0 at the border, and the backward flow."""
    coarse, grid = (7, 6, 7), Grid(np.eye(4), (48, 40, 44))
    velocity = torch.randn((3, *coarse), generator=torch.Generator().manual_seed(2))
    velocity[:, [0, -1]] = velocity[:, :, [0, -1]] = velocity[..., [0, -1]] = 0
    velocity = size * on_other_grid(velocity, coarse, grid.shape, smooth=True)
    return integrated(velocity, grid.indices(), 8), integrated(-velocity, grid.indices(), 8)


@pytest.mark.parametrize(("from_backwards", "steps", "mean", "most"), [(True, 8, 0.005, 0.25), (False, 60, 0.03, 4.0)])
def test_the_inverse_holds_where_space_is_stretched(from_backwards, steps, mean, most):
    """Errors in voxels; plain iteration is off by 0.6 to 1 on average, and by 9 to 10 at the 99.9th percentile."""
    there, back = strong_flow(0.4)
    stretch = jacobian_determinant(there)
    assert float(stretch.min()) > 0 and float(stretch.max()) > 5  # nothing folds; a voxel grows to five
    indices = Grid(np.eye(4), tuple(there.shape[1:])).indices()
    inverse = inverted(there, indices, back if from_backwards else None, steps)
    off = (inverse + sampled(there, indices + inverse, outside="border")).norm(dim=0)
    assert float(off.mean()) < mean
    assert float(off.quantile(0.999)) < most


@pytest.mark.parametrize("shape", [(30, 31, 33), (32, 31, 33), (150, 151, 1)])
def test_points_divided_among_threads_are_the_same_to_the_bit(shape):
    """Values as in one thread, and gradients by the points; gradients by the volume but for the order of the sum."""
    generator = torch.Generator().manual_seed(3)
    volume = torch.rand((3, 9, 8, 7), generator=generator)
    points = torch.rand((3, *shape), generator=generator) * 10 - 1

    def values_and_gradients(threads: int):
        torch.set_num_threads(threads)
        by_points, by_volume = points.clone().requires_grad_(), volume.clone().requires_grad_()
        values = sampled(by_volume, by_points, outside="border", divided=True)
        (values * torch.rand(values.shape, generator=torch.Generator().manual_seed(4))).sum().backward()
        return values.detach(), by_points.grad, by_volume.grad

    try:
        expected, found = values_and_gradients(1), values_and_gradients(3)
    finally:
        torch.set_num_threads(1)
    assert found[0].shape == (3, *shape)
    assert torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1])
    assert torch.allclose(found[2], expected[2], rtol=1e-4)


def test_a_training_does_not_depend_on_the_number_of_threads():
    """Where a gradient by the volume is wanted, as of a field that is squared, it is summed in one order."""
    grid = Grid(np.eye(4), (30, 31, 33))
    velocity = torch.rand((3, *grid.shape), generator=torch.Generator().manual_seed(5))
    gradients = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            field = velocity.clone().requires_grad_()
            integrated(field, grid.indices()).square().mean().backward()
            gradients.append(field.grad)
    finally:
        torch.set_num_threads(1)
    assert torch.equal(*gradients)
