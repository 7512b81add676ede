"""Gradient steps on the similarity of one pair: for its matrix, and for its velocity field.

It refines a network's prediction, or stands alone where no network was trained.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from RegisterModuleLib.worker.fields import gradients, integrated
from RegisterModuleLib.worker.grids import Box, Grid, block_means, inside, matrix_coordinates, resized, sampled, taper
from RegisterModuleLib.worker.similarity import Similarity, prepared

_RADIUS = 0.4  # of the box's longest side; a matrix entry of 1 / radius moves a point at this radius by 1 mm
_LEAST_OVERLAP, _LEAST_COVERED = 0.4, 0.8  # share of the fixed image; share of the part that the moving image can cover


@dataclass(frozen=True, eq=False)
class Scan:
    """An image as registration sees it: values from 0 to 1, (C, I, J, K) float32, and where it is in space."""

    values: torch.Tensor
    affine: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int]:
        _, i, j, k = self.values.shape
        return i, j, k


@dataclass(frozen=True, eq=False)
class Level:
    """One resolution: the fixed image on a grid, and the moving image no finer than that."""

    grid: Grid
    fixed: torch.Tensor
    weight: torch.Tensor
    moving: Scan


Step = Callable[[int, int], bool]
"""``step(done, total)`` is called after each step; false: end here, with the best so far."""


def level(fixed: Scan, moving: Scan, box: Box, spacing: float, averaged: float | None = None) -> Level:
    """The pair at a resolution of ``spacing`` mm.

    ``averaged``: edge in mm of the blocks that the images are averaged over; None: as coarse as the grid. A deformation
    stretches the blocks of one image and not those of the other, so that coarse blocks are never quite alike.
    """
    grid = box.grid(spacing)
    fixed, moving = (_averaged(scan, averaged or spacing) for scan in (fixed, moving))
    points = matrix_coordinates(np.linalg.inv(fixed.affine) @ grid.affine, grid.indices(fixed.values.device))
    return Level(grid, sampled(fixed.values, points, outside="border"), inside(points, fixed.shape), moving)


def _averaged(scan: Scan, edge: float) -> Scan:
    blocks = [int(max(1, min(round(edge / s), n))) for s, n in zip(_spacing(scan), scan.shape, strict=True)]
    values, from_block = block_means(scan.values, blocks)
    return Scan(values, scan.affine @ from_block)


class MatrixRefinement:
    """Improves a matrix (4x4, fixed RAS to moving RAS) by gradient steps.

    Its parameters are displacements in mm of points far from the box's centre, so that one learning rate suits
    translations and rotations. For single slices it moves within the plane only.
    """

    def __init__(self, box: Box, kind: str, metric: Similarity, start: np.ndarray):
        """``kind``: rigid, similarity or affine."""
        self._metric, self._start, self._kind = metric, np.asarray(start, float), kind
        self._frame = np.eye(4)  # from the box's axes about its centre to RAS
        self._frame[:3, :3], self._frame[:3, 3] = box.directions, box.center
        self._allowed = torch.tensor(np.where(box.extent > 0, 1.0, 0.0), dtype=torch.float32)
        self._radius = _RADIUS * float(box.extent.max())
        self.best = self._start
        self.loss = math.inf

    def run(self, at: Level, steps: int, rate: float, step: Step) -> None:
        """Take ``steps`` steps that begin at ``rate`` mm and become smaller; the best matrix is kept."""
        device = at.fixed.device
        allowed = self._allowed.to(device)
        parameters = torch.zeros((3, 4), device=device, requires_grad=True)
        optimizer = torch.optim.Adam([parameters], rate, betas=(0.9, 0.95))
        frame = torch.tensor(self._frame, dtype=torch.float32, device=device)
        frame_back = torch.tensor(np.linalg.inv(self._frame) @ at.grid.affine, dtype=torch.float32, device=device)
        begin = self.best
        to_moving = torch.tensor(np.linalg.inv(at.moving.affine) @ begin, dtype=torch.float32, device=device)
        indices = at.grid.indices(device)
        metric = prepared(self._metric, at.fixed, at.grid.spacing)
        self.loss = math.inf  # of another resolution
        best = parameters.detach().clone()
        # A partial image must not be stretched over the whole.
        coverable = _volume(at.moving.affine, at.moving.shape) / _volume(at.grid.affine, at.grid.shape)
        least = min(_LEAST_OVERLAP, _LEAST_COVERED * coverable)
        for number in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = rate * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * number / steps)))
            optimizer.zero_grad()
            matrix = self._matrix(parameters, allowed)
            coordinates = matrix_coordinates(to_moving @ frame @ matrix @ frame_back, indices)
            weight = at.weight * inside(coordinates, at.moving.shape)
            overlap = weight.sum() / at.weight.sum().clamp_min(1.0)
            moved = sampled(at.moving.values, coordinates, outside="border")
            loss = metric(at.fixed, moved, weight) + 4 * (least - overlap).clamp_min(0)
            value = float(loss.detach())
            if value < self.loss:
                self.loss, best = value, parameters.detach().clone()
            loss.backward()
            optimizer.step()
            if not step(number + 1, steps):
                break
        found = self._matrix(best, allowed).cpu().double().numpy()
        self.best = begin @ self._frame @ found @ np.linalg.inv(self._frame)

    def _matrix(self, parameters: torch.Tensor, allowed: torch.Tensor) -> torch.Tensor:
        linear = parameters[:, :3] / self._radius
        turn = (linear - linear.T) / 2
        if self._kind == "rigid":
            linear = turn
        elif self._kind == "similarity":
            linear = turn + torch.diag(allowed) * linear.diagonal().mean()
        linear = linear * allowed[:, None] * allowed[None]
        shift = parameters[:, 3] * allowed
        matrix = torch.eye(4, device=parameters.device)
        return torch.cat([torch.cat([torch.linalg.matrix_exp(linear), shift[:, None]], 1), matrix[3:]])


class VelocityRefinement:
    """Improves a stationary velocity field on ``grid`` by gradient steps on similarity and smoothness.

    Attributes:
        best: (3, I, J, K) in voxels of the grid, 0 at its border.
        loss: the loss of ``best``.
    """

    def __init__(
        self, grid: Grid, matrix: np.ndarray, metric: Similarity, weight: float, bending: bool, start: torch.Tensor
    ):
        """
        Args:
            matrix: 4x4, fixed RAS to moving RAS; applied after the deformation.
            weight: of the roughness of the field against the similarity.
            bending: penalise bending (second derivatives) instead of stretching (first derivatives).
            start: the field to begin with.
        """
        self._grid, self._matrix, self._metric = grid, matrix, metric
        self._weight, self._bending = weight, bending
        self._indices = grid.indices(start.device)
        axes = torch.zeros(3, device=start.device)
        axes[list(grid.moving_axes)] = 1
        self._border = taper(grid, start.device) * axes[:, None, None, None]
        self.best = start * self._border
        self.loss = math.inf

    def run(self, at: Level, steps: int, rate: float, step: Step) -> None:
        """Take ``steps`` steps of up to ``rate`` voxels; the best field is kept."""
        device = at.fixed.device
        begin = self.best
        change = torch.zeros_like(begin, requires_grad=True)
        optimizer = torch.optim.Adam([change], rate, betas=(0.9, 0.99))
        indices = at.grid.indices(device)
        to_moving = np.linalg.inv(at.moving.affine) @ self._matrix @ at.grid.affine
        finer = [(m - 1) / max(n - 1, 1) for m, n in zip(at.grid.shape, self._grid.shape, strict=True)]
        finer = torch.tensor(finer, device=device)[:, None, None, None]
        metric = prepared(self._metric, at.fixed, at.grid.spacing)
        self.loss = math.inf  # of another resolution
        for number in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = rate * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * number / steps)))
            optimizer.zero_grad()
            velocity = begin + smoothed(change) * self._border
            displacement = resized(integrated(velocity, self._indices), at.grid.shape) * finer
            coordinates = matrix_coordinates(to_moving, indices + displacement)
            weight = at.weight * inside(coordinates, at.moving.shape)
            moved = sampled(at.moving.values, coordinates, outside="border")
            loss = metric(at.fixed, moved, weight) + self._weight * roughness(velocity, self._bending)
            value = float(loss.detach())
            if value < self.loss:
                self.loss, self.best = value, velocity.detach().clone()
            loss.backward()
            optimizer.step()
            if not step(number + 1, steps):
                break


def smoothed(field: torch.Tensor) -> torch.Tensor:
    """A field (C, I, J, K) smoothed by about 1.2 voxels, so that no single voxel moves on its own."""
    smooth = field[None]
    for axis, length in enumerate(field.shape[1:]):
        if length > 1:
            size = [3 if n == axis else 1 for n in range(3)]
            padding = [1 if n == axis else 0 for n in range(3)]
            for _ in range(2):
                smooth = F.avg_pool3d(smooth, size, 1, padding)
    return smooth[0]


def roughness(field: torch.Tensor, bending: bool = False) -> torch.Tensor:
    """Mean square of a field's derivatives along all axes, first ones or (bending) second ones."""
    parts = gradients(field)
    if bending:
        parts = [second for first in parts for second in gradients(first)]
    total: Any = sum((part**2).mean() for part in parts)
    return total


def _volume(affine: np.ndarray, shape: Sequence[int]) -> float:
    """The volume in mm³; for single slices the area in mm²."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    return float(np.prod([size * count for size, count in zip(spacing, shape, strict=True) if count > 1]))


def _spacing(scan: Scan) -> np.ndarray:
    return np.linalg.norm(scan.affine[:3, :3], axis=0)
