"""Gradient steps on the similarity of one pair: for its matrix, and for its velocity field.

This is what a network's answer is refined with, and all there is where no network was trained.
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

_SEEN_AGAIN = 10  # steps between two looks at which voxels lie within the moving image
_RADIUS = 0.4  # of the box's longest side; a matrix entry of one by this radius moves what is so far away by 1 mm
_LEAST_OVERLAP, _LEAST_COVERED = 0.4, 0.8  # of the fixed image; of what the moving one is large enough to cover of it


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

    Its parameters are millimetres by which the matrix moves what lies far from the box's centre, so that one learning
    rate suits shifts and rotations. Within the plane only where the images are single slices.
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
        # An image of a part is not to be stretched over the whole.
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

    The gradient of the similarity is that of greedy flows and of log-demons (Vercauteren et al. 2009,
    10.1016/j.neuroimage.2008.10.040): how the images differ, times the gradient of the *moved* image. It says what a
    little flow before all the rest would change, which is right to first order, and needs no derivative of the
    integration.

    Attributes:
        best: (3, I, J, K) in voxels of the grid, 0 at its border.
        loss: that of ``best``.
    """

    def __init__(
        self, grid: Grid, matrix: np.ndarray, metric: Similarity, weight: float, bending: bool, start: torch.Tensor
    ):
        """
        Args:
            matrix: 4x4, fixed RAS to moving RAS; applied after the deformation.
            weight: of the roughness of the field beside the similarity.
            bending: punish bends (second derivatives) instead of stretches (first derivatives).
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
        """Take ``steps`` steps of up to ``rate`` voxels on a ``grid`` no finer than the field's; the best is kept."""
        begin = on_other_grid(self.best, self._grid.shape, grid.shape)
        border = resized(self._border, grid.shape)
        change = torch.zeros_like(begin)
        optimizer = torch.optim.Adam([change], rate, betas=(0.9, 0.99))
        indices = grid.indices(begin.device)
        warp = _Warp(at, grid, self._matrix)
        metric = prepared(self._metric, at.fixed, at.grid.spacing)
        self.loss, best = math.inf, change
        for number in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = rate * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * number / steps)))
            if MODE == "C":
                leaf = change.clone().requires_grad_()
                velocity = begin + smoothed(leaf) * border
                places = warp.places(integrated(velocity, indices), fresh=number % _SEEN_AGAIN == 0)
                moved = sampled_at(at.moving.values, places, outside="border")
                loss = metric(at.fixed, moved, warp.weight) + self._weight * roughness(velocity, self._bending)
                value = float(loss.detach())
                (change.grad,) = torch.autograd.grad(loss, leaf)
            else:
              with torch.no_grad():
                velocity = begin + smoothed(change) * border
                there = integrated(velocity, indices, SQ)
              if MODE == "B":
                there.requires_grad_()
                places = warp.places(there, fresh=number % _SEEN_AGAIN == 0)
                moved = sampled_at(at.moving.values, places, outside="border")
                likeness = metric(at.fixed, moved, warp.weight)
                (pull,) = torch.autograd.grad(likeness, there)
              else:
                with torch.no_grad():
                    places = warp.places(there, fresh=number % _SEEN_AGAIN == 0)
                    moved = sampled_at(at.moving.values, places, outside="border")
                moved.requires_grad_()
                likeness = metric(at.fixed, moved, warp.weight)
                (by_value,) = torch.autograd.grad(likeness, moved)
                pull = warp.pull(moved.detach(), by_value)
              velocity.requires_grad_()
              rough = self._weight * roughness(velocity, self._bending)
              (by_rough,) = torch.autograd.grad(rough, velocity)
              value = float(likeness.detach() + rough.detach())
              change.grad = smoothed((pull + by_rough) * border)
            if value < self.loss:
                self.loss, best = value, change.detach().clone()
            if VERBOSE and (number < 3 or number % 10 == 9): print(at.grid.shape, grid.shape, number, round(value, 5))
            optimizer.step()
            if not step(number + 1, steps):
                break
        change = smoothed(best) * border
        self.best = self.best + on_other_grid(change, grid.shape, self._grid.shape, smooth=UPSMOOTH) * (self._border>0)


import os
MODE = os.environ.get("RS_MODE", "A")
VERBOSE = int(os.environ.get("RS_V", "0"))
SQ = int(os.environ.get("RS_SQ", "6"))
UPSMOOTH = bool(int(os.environ.get("RS_US", "0")))


class _Warp:
    """The moving image at the voxels of a level, moved by displacements (3, I, J, K) in voxels of a coarser grid."""

    def __init__(self, at: Level, grid: Grid, matrix: np.ndarray):
        self._at, self._grid = at, grid
        device, shape = at.fixed.device, at.moving.shape
        to_moving = np.linalg.inv(at.moving.affine) @ matrix @ at.grid.affine
        finer = [(m - 1) / max(n - 1, 1) for m, n in zip(at.grid.shape, grid.shape, strict=True)]
        # From voxels to places from -1 to 1, the last axis first.
        scale = np.array([2 / max(n - 1, 1) for n in shape])
        self._low = torch.tensor((-0.5 * scale - 1)[::-1].copy(), dtype=torch.float32, device=device)
        self._high = torch.tensor(((np.array(shape) - 0.5) * scale - 1)[::-1].copy(), dtype=torch.float32, device=device)
        to_places = np.eye(4)
        to_places[:3] = (scale[:, None] * to_moving[:3] - [[0, 0, 0, 1]])[::-1]
        self._unmoved = matrix_coordinates(to_places, at.grid.indices(device)).permute(1, 2, 3, 0).contiguous()
        self._linear = torch.tensor(to_places[:3, :3] * finer, dtype=torch.float32, device=device)
        self._finer = torch.tensor(finer, dtype=torch.float32, device=device)
        self.weight = at.weight

    def places(self, displacement: torch.Tensor, fresh: bool) -> torch.Tensor:
        """Where the voxels of the level are, see :func:`sampled_at`; ``fresh``: look again which are inside."""
        moves = torch.einsum("ab,bijk->aijk", self._linear, displacement)
        places = self._unmoved + resized(moves, self._at.grid.shape).permute(1, 2, 3, 0)
        if fresh:
            within = ((places >= self._low) & (places <= self._high)).all(-1)
            self.weight = self._at.weight * within
        return places

    def pull(self, moved: torch.Tensor, by_value: torch.Tensor) -> torch.Tensor:
        """The derivative by displacements (3, I, J, K) on the coarse grid, of a scalar whose derivative by the moved
        image's values is known."""
        force = torch.stack([(slope * by_value).sum(0) for slope in _slopes(moved)])
        force *= self._finer[:, None, None, None]
        if self._grid.shape == self._at.grid.shape:
            return force
        on_grid = torch.zeros((3, *self._grid.shape), device=force.device, requires_grad=True)
        (pull,) = torch.autograd.grad(resized(on_grid, self._at.grid.shape), on_grid, force)
        return pull


def _slopes(image: torch.Tensor) -> list[torch.Tensor]:
    """Central differences of an image (C, I, J, K) along its three axes, per voxel."""
    slopes = []
    for axis, length in enumerate(image.shape[1:], start=1):
        slope = torch.zeros_like(image)
        if length > 2:
            middle = slope.narrow(axis, 1, length - 2)
            torch.sub(image.narrow(axis, 2, length - 2), image.narrow(axis, 0, length - 2), out=middle).div_(2)
        slopes.append(slope)
    return slopes


def smoothed(field: torch.Tensor) -> torch.Tensor:
    """A field (C, I, J, K) smoothed by about 1.2 voxels, so that single voxels do not run ahead.

    The filter is symmetric: it is its own adjoint.
    """
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
    """In mm³; of single slices the area in mm²."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    return float(np.prod([size * count for size, count in zip(spacing, shape, strict=True) if count > 1]))


def _spacing(scan: Scan) -> np.ndarray:
    return np.linalg.norm(scan.affine[:3, :3], axis=0)
