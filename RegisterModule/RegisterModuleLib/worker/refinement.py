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

from RegisterModuleLib.worker.box_filters import window_means
from RegisterModuleLib.worker.fields import gradients, integrated, on_other_grid
from RegisterModuleLib.worker.grids import (
    Box,
    Grid,
    block_means,
    inside,
    matrix_coordinates,
    resized,
    sampled,
    sampled_at,
    taper,
)
from RegisterModuleLib.worker.similarity import Similarity, prepared

_LOOK_AGAIN = 10  # steps after which the voxels that lie within the moving image are determined again
_SQUARINGS = 4  # in the steps; the result is integrated more finely
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
        axes = torch.zeros(3, device=start.device)
        axes[list(grid.moving_axes)] = 1
        self._border = taper(grid, start.device) * axes[:, None, None, None]
        self.best = start * self._border
        self.loss = math.inf

    def run(self, at: Level, grid: Grid, steps: int, rate: float, step: Step) -> None:
        """Take ``steps`` steps of up to ``rate`` voxels on ``grid``, no finer than the field's own; the best is kept.

        What the steps change is added to the field, so that what is finer than ``grid`` in it stays.
        """
        begin = on_other_grid(self.best, self._grid.shape, grid.shape)
        border = resized(self._border, grid.shape)
        parameters = torch.zeros_like(begin, requires_grad=True)
        optimizer = torch.optim.Adam([parameters], rate, betas=(0.9, 0.99))
        warp = _Warp(at, grid, self._matrix)
        metric = prepared(self._metric, at.fixed, at.grid.spacing)
        self.loss, best = math.inf, torch.zeros_like(begin)  # of another resolution
        for number in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = rate * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * number / steps)))
            optimizer.zero_grad()
            change = smoothed(parameters) * border
            velocity = begin + change
            moved, weight = warp(velocity, look=number % _LOOK_AGAIN == 0)
            loss = metric(at.fixed, moved, weight) + self._weight * roughness(velocity, self._bending)
            value = float(loss.detach())
            if value < self.loss:
                self.loss, best = value, change.detach()
            loss.backward()
            optimizer.step()
            if not step(number + 1, steps):
                break
        self.best = self.best + on_other_grid(best, grid.shape, self._grid.shape)


class _Warp:
    """The moving image at the voxels of a level, under velocity fields (3, I, J, K) in voxels of a coarser grid."""

    def __init__(self, at: Level, grid: Grid, matrix: np.ndarray):
        self._at, self._weight = at, at.weight
        device, shape = at.fixed.device, at.moving.shape
        self._indices = grid.indices(device)
        # From voxels of the level to the moving image's, and on to places from -1 to 1, the last axis first.
        scale = np.array([2 / max(n - 1, 1) for n in shape])
        to_places = np.eye(4)
        to_moving = np.linalg.inv(at.moving.affine) @ matrix @ at.grid.affine
        to_places[:3] = (scale[:, None] * to_moving[:3] - [[0, 0, 0, 1]])[::-1]
        self._unmoved = matrix_coordinates(to_places, at.grid.indices(device)).permute(1, 2, 3, 0).contiguous()
        finer = [(m - 1) / max(n - 1, 1) for m, n in zip(at.grid.shape, grid.shape, strict=True)]
        low, high = -0.5 * scale - 1, (np.array(shape) - 0.5) * scale - 1
        self._linear, self._low, self._high = (
            torch.tensor(np.array(values, np.float32), device=device)
            for values in (to_places[:3, :3] * finer, low[::-1], high[::-1])
        )

    def __call__(self, velocity: torch.Tensor, look: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """The moved image, and the weights of its voxels.

        ``look``: find out anew which voxels lie within the moving image. Few come and go from one step to the next, and
        a similarity may keep what depends on the weights alone.
        """
        displacement = integrated(velocity, self._indices, _SQUARINGS, divided=True)
        # It is linear, so that the matrix may come before the interpolation, where there are fewer voxels.
        moves = torch.einsum("ab,bijk->aijk", self._linear, displacement)
        places = self._unmoved + resized(moves, self._at.grid.shape).permute(1, 2, 3, 0)
        if look:
            within = (places.detach() >= self._low) & (places.detach() <= self._high)
            self._weight = self._at.weight * within.all(-1)
        return sampled_at(self._at.moving.values, places, outside="border"), self._weight


def smoothed(field: torch.Tensor) -> torch.Tensor:
    """A field (C, I, J, K) smoothed by about 1.2 voxels, so that no single voxel moves on its own."""
    windows = [3 if length > 1 else 1 for length in field.shape[1:]]
    return window_means(window_means(field, windows), windows)


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
