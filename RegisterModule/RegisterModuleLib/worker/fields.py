"""Displacement and velocity fields on a grid: integration, composition, inversion, Jacobian determinants.

A field is a tensor (3, I, J, K) in voxels of its own grid. A *displacement* u takes voxel x to x + u(x). A stationary
*velocity* field gives one by integration over unit time (Arsigny et al. 2006, 10.1007/11866565_113): such a flow cannot
fold, and its inverse is the flow of the negative field.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from RegisterModuleLib.worker.grids import resized, sampled

SQUARINGS = 6
_CLOSE = 1e-4  # voxels; an inverse this exact is not improved any further


def on_other_grid(velocity: torch.Tensor, before: tuple, after: tuple, smooth: bool = False) -> torch.Tensor:
    """A velocity field in voxels of one grid in voxels of another grid of the same box."""
    scale = [(m - 1) / (n - 1) if n > 1 else 1.0 for m, n in zip(after, before, strict=True)]
    if tuple(before) == tuple(after):
        return velocity
    if smooth:
        from scipy.ndimage import zoom

        factors = [m / n for m, n in zip(after, before, strict=True)]
        parts: Any = [zoom(part, factors, order=3, mode="nearest", grid_mode=False) for part in velocity.cpu().numpy()]
        field = torch.from_numpy(np.stack(parts)).to(velocity)
    else:
        field = resized(velocity, after)
    return field * torch.tensor(scale, dtype=field.dtype, device=field.device)[:, None, None, None]


def integrated(
    velocity: torch.Tensor, indices: torch.Tensor, squarings: int = SQUARINGS, divided: bool | None = None
) -> torch.Tensor:
    """The displacement of a velocity field by scaling and squaring.

    Args:
        indices: of the field's voxels (3, I, J, K).
        divided: see :func:`RegisterModuleLib.worker.grids.sampled_at`.
    """
    displacement = velocity / 2**squarings
    for _ in range(squarings):
        displacement = composed(displacement, displacement, indices, divided)
    return displacement


def composed(
    first: torch.Tensor, then: torch.Tensor, indices: torch.Tensor, divided: bool | None = None
) -> torch.Tensor:
    """The displacement that applies ``first`` and ``then`` one after the other."""
    return first + sampled(then, indices + first, outside="border", divided=divided)


def inverted(
    displacement: torch.Tensor, indices: torch.Tensor, start: torch.Tensor | None = None, steps: int = 60
) -> torch.Tensor:
    """The displacement that undoes another one that does not fold, by fixed-point iteration from ``start``.

    Where space is stretched to more than twice its size the plain iteration diverges; a voxel whose error would grow
    therefore keeps its value and continues with a smaller step.
    """
    inverse = -displacement if start is None else start
    left = inverse + sampled(displacement, indices + inverse, outside="border")
    pace = torch.ones_like(left[:1])
    for _ in range(steps):
        if float(left.abs().max()) < _CLOSE:
            break
        tried = inverse - pace * left
        then_left = tried + sampled(displacement, indices + tried, outside="border")
        better = then_left.square().sum(0, keepdim=True) < left.square().sum(0, keepdim=True)
        inverse, left = torch.where(better, tried, inverse), torch.where(better, then_left, left)
        pace = torch.where(better, (1.3 * pace).clamp_max(1.0), pace / 2)
    return inverse


def gradients(field: torch.Tensor) -> list[torch.Tensor]:
    """Forward differences of a field (C, I, J, K) along every axis that has more than one voxel, per voxel."""
    return [field.diff(dim=axis + 1) for axis in range(3) if field.shape[axis + 1] > 1]


def jacobian_determinant(displacement: torch.Tensor) -> torch.Tensor:
    """det(D(x + u(x))) in the middle between voxels (I-1, J-1, K-1), from differences along the edges.

    An axis with a single voxel counts as undisplaced.
    """
    axes = [axis for axis in range(3) if displacement.shape[axis + 1] > 1]
    columns = []
    for axis in axes:
        difference = displacement.diff(dim=axis + 1)
        for other in axes:
            if other != axis:  # the mean over the edges of the cell that run along this axis
                n = difference.shape[other + 1]
                difference = (difference.narrow(other + 1, 0, n - 1) + difference.narrow(other + 1, 1, n - 1)) / 2
        column = [difference[row] + (1.0 if row == axis else 0.0) for row in axes]
        columns.append(torch.stack(column))
    matrix = torch.stack(columns).permute(*range(2, 2 + 3), 1, 0)
    return torch.linalg.det(matrix)
