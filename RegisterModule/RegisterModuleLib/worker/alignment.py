"""Aligns a pair: matrix by network and gradient steps, then deformation by network and gradient steps."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from MedDeepLib.core import Context

from RegisterModuleLib.worker.cases import as_scan, foreground_box
from RegisterModuleLib.worker.fields import integrated, inverted, on_other_grid
from RegisterModuleLib.worker.grids import (
    Box,
    Grid,
    box_around,
    inside,
    is_flat,
    matrix_coordinates,
    sampled,
    taper,
    to_grid,
)
from RegisterModuleLib.worker.inputs import Pair, check_overlap, same_dimensions
from RegisterModuleLib.worker.networks import PointNetwork, StructureNetwork, fitted_matrix
from RegisterModuleLib.worker.objectives import middles
from RegisterModuleLib.worker.refinement import MatrixRefinement, Scan, VelocityRefinement, level
from RegisterModuleLib.worker.similarity import Similarity, similarity
from RegisterModuleLib.worker.training_data import GRID_STEPS
from RegisterModuleLib.worker.transforms import Displacement, SpatialTransform

_MARGIN = 0.08  # of the longest side
_MOST_VOXELS = {2: 60_000, 3: 1_000_000}
_COARSE_RATE, _FINE_RATE, _FINEST_RATE = 2.0, 0.5, 0.15
_VELOCITY_RATE = 0.6
_FINEST_SHARE = 1.25  # steps at the finest resolution of the deformation, by those at every other one
_FIELD_LEVELS = (8, 4, 2, 1)  # times the finest voxel size; large displacements are found at the coarsest
_FEWEST_STEPS = 8  # between the voxels of the coarsest level, along the longest axis
_WORTH_TRYING = 3.0  # mm between two starts of the search
_FEWEST_VOXELS, _FEWEST_STRUCTURES = 2.0, 5
_REPORT_SECONDS = 0.5
_AIR = 0.05  # of the range of intensities; below is air


@dataclass(frozen=True, eq=False)
class Aligned:
    """A pair's transform and its metrics."""

    transform: SpatialTransform
    figures: dict[str, Any]


class Alignment:
    """The alignment of one pair; its steps are taken in the order of the methods below.

    Attributes:
        pair: as it was read.
        fixed, moving: its images as the steps compare them, with values from 0 to 1, on the device.
        matrix: 4x4, fixed RAS to moving RAS, as found so far.
        figures: metrics that a method adds to those that all methods have.
    """

    def __init__(self, pair: Pair, options: Any, context: Context):
        self._options, self._context = options, context
        self._device = context.device
        self.pair = pair
        fixed, moving = as_scan(pair.fixed), as_scan(pair.moving)
        self.fixed = _on(fixed, self._device)
        self._before: SpatialTransform | None = None  # an initial transform that is not a matrix
        self.matrix = np.eye(4)
        if pair.initial.matrix is not None:
            self.matrix = pair.initial.matrix
            self.moving = _on(moving, self._device)
        else:
            self._before = pair.initial
            self.moving = _on(_pulled(moving, pair), self._device)
        self.box = _widened(foreground_box(self.fixed, 0.0))
        self.finest = options.finest_spacing or self._affordable_spacing()
        self.figures: dict[str, Any] = {}
        self.displacement: Displacement | None = None
        self._taken: SpatialTransform | None = None
        self.steps = 0
        self._began = time.monotonic()
        self._reported = 0.0
        self.stopped = False

    @property
    def flat(self) -> bool:
        return is_flat(self.pair.fixed.shape)

    def start(self, needs_overlap: bool = True) -> None:
        """Check that the images overlap if they must, or align their centres."""
        if self._options.center:
            self.matrix = self.matrix.copy()
            middle = self.matrix[:3, :3] @ self.box.center + self.matrix[:3, 3]
            shift = foreground_box(self.moving, 0.0).center - middle
            self.matrix[:3, 3] += shift
            distance = float(np.linalg.norm(shift))
            self._context.report(
                "message", message=f"The centres of the images were aligned (moved by {distance:.1f} mm)."
            )
        if self._before is None and needs_overlap:
            check_overlap(self.pair, self.box, self.matrix)
        self.initial_matrix = self.matrix

    def network_matrix(self, network: PointNetwork, spacing: float, count: int | None, kind: str) -> np.ndarray:
        """The matrix that a point network finds."""
        points = []
        for scan in (self.fixed, self.moving):
            box = foreground_box(scan, 12.0).grown(GRID_STEPS * spacing)
            grid = box.grid(2 * spacing)
            values = to_grid(scan.values, scan.affine, grid)[0]
            with torch.no_grad(), self._context.phases("network"):
                found = network.points(values[None])[0].cpu().double()[:count]
            affine = torch.from_numpy(grid.affine)
            points.append(found @ affine[:3, :3].T + affine[:3, 3])
        return fitted_matrix(points[0].float(), points[1].float(), kind).double().numpy()

    def structure_matrix(self, network: StructureNetwork, spacing: float, kind: str) -> np.ndarray:
        """The matrix that takes the centres of the structures found in one image to those found in the other."""
        found = []
        for scan in (self.fixed, self.moving):
            grid = foreground_box(scan, 12.0).grown(GRID_STEPS * spacing).grid(spacing)
            with torch.no_grad(), self._context.phases("network"):
                maps = network.maps(to_grid(scan.values, scan.affine, grid)[0])
            sure = (maps > 0.5).float() * maps
            places = middles(sure).cpu().double().numpy() @ grid.affine[:3, :3].T + grid.affine[:3, 3]
            found.append((places, sure.sum((1, 2, 3)).cpu().numpy()))
        (fixed, fixed_size), (moving, moving_size) = found
        known = np.minimum(fixed_size, moving_size) > _FEWEST_VOXELS
        if known.sum() < _FEWEST_STRUCTURES:
            self._context.report(
                "warning",
                message="The network finds next to none of its structures in these images: they may show another part "
                "of the body, or lie on their side.",
            )
            return self._middle_to_middle()
        points = [torch.from_numpy(places[known]).float() for places in (fixed, moving)]
        return fitted_matrix(points[0], points[1], kind).double().numpy()

    def refine_matrix(
        self,
        kind: str,
        steps: int,
        metric: Similarity,
        *candidates: np.ndarray,
        to_finest: bool = True,
        images: tuple[Scan, Scan] | None = None,
    ) -> None:
        """Gradient steps from the current matrix, from aligned centres and from ``candidates``; the best result is
        kept.

        Args:
            kind: rigid, similarity or affine.
            steps: at each resolution; 0: the last candidate is taken as it is.
            metric: what the steps follow.
            candidates: matrices (4x4), fixed RAS to moving RAS.
            to_finest: continue to the finest resolution instead of ending one before it.
            images: fixed and moving image to compare instead of the pair's, such as maps of their features.
        """
        starts = [self.matrix]
        if not self.pair.initial.steps and not self._options.center:
            starts.append(self._middle_to_middle())
        for candidate in candidates:
            starts.append(candidate)
        starts = [one for n, one in enumerate(starts) if n == 0 or self._differs(one, starts[:n])]
        if not steps:
            self.matrix = candidates[-1] if candidates else self.matrix
            return
        fixed, moving = images or (self.fixed, self.moving)
        spacings = [4 * self.finest, 2 * self.finest] + ([self.finest] if to_finest else [])
        self._phase("Aligning by a matrix", steps * (len(starts) + len(spacings) - 1))
        coarse = level(fixed, moving, self.box, spacings[0])
        best: MatrixRefinement | None = None
        for start in starts:
            tried = MatrixRefinement(self.box, kind, metric, start)
            tried.run(coarse, steps, _COARSE_RATE * self.box.unit, self._step)
            if best is None or tried.loss < best.loss:
                best = tried
        assert best is not None  # there is one start at least
        for spacing, rate in zip(spacings[1:], (_FINE_RATE, _FINEST_RATE), strict=False):
            if not self.stopped:
                at = level(fixed, moving, self.box, spacing)
                best.run(at, steps, rate * self.box.unit, self._step)
        self.matrix = best.best

    def network_field(
        self, network: torch.nn.Module, spacing: float, structures: StructureNetwork | None = None
    ) -> tuple[Grid, torch.Tensor]:
        """The velocity field that a network predicts, and its grid; the box grows to what the network needs.

        With a network for ``structures``, it is predicted from the structure maps of both images.
        """
        self.box = self.box.grown(GRID_STEPS * spacing)
        grid = self.box.grid(spacing)
        fixed = to_grid(self.fixed.values, self.fixed.affine, grid)[0]
        moving = to_grid(self.moving.values, self.moving.affine, grid, self.matrix)[0]
        with torch.no_grad(), self._context.phases("network"):
            if structures is not None:
                fixed, moving = structures.maps(fixed), structures.maps(moving)
            velocity = network(torch.cat([fixed, moving])[None])[0].float()
        scale = np.diag([*[2.0 if n > 1 else 1.0 for n in grid.shape], 1.0])
        half = Grid(grid.affine @ scale, tuple(velocity.shape[1:]))
        return half, velocity * taper(half, velocity.device)

    def refine_field(
        self,
        steps: int,
        metric: Similarity,
        start: tuple[Grid, torch.Tensor] | None = None,
        smoothness: float = 1.0,
        bending: bool = False,
        spacing: float = 0.0,
        images: tuple[Scan, Scan] | None = None,
    ) -> None:
        """Gradient steps on a velocity field, which is then integrated to a finely sampled deformation.

        Args:
            steps: at each resolution, a quarter more at the finest; 0: the field is taken as it is.
            metric: what the steps follow.
            start: the field to begin with, and its grid; None: no deformation.
            smoothness: weight of the field's roughness.
            bending: roughness is bending (second derivatives) instead of stretching (first derivatives).
            spacing: of the field's grid points in mm; 0: twice the finest voxel size.
            images: fixed and moving image to compare instead of the pair's, such as maps of their features.
        """
        fixed, moving = images or (self.fixed, self.moving)
        grid = self.box.grid(spacing or 2 * self.finest)
        velocity = torch.zeros((3, *grid.shape), device=self._device)
        if start is not None:
            velocity = on_other_grid(start[1], start[0].shape, grid.shape)
        if steps and not self.stopped:
            refinement = VelocityRefinement(grid, self.matrix, metric, smoothness, bending, velocity)
            spacings = self._field_spacings()
            # What little is left to do at the finest resolution takes longest to settle.
            finest = math.ceil(_FINEST_SHARE * steps)
            self._phase("Deforming", (len(spacings) - 1) * steps + finest)
            for size in spacings:
                if not self.stopped:
                    at = level(fixed, moving, self.box, size, averaged=size / 2)
                    # What coarse images tell needs no finer field, whose integration would take most of the time.
                    on = self.box.grid(size) if size > grid.spacing.max() else grid
                    count = finest if size == spacings[-1] else steps
                    refinement.run(at, on, count, _VELOCITY_RATE, self._step)
            velocity = refinement.best
        fine = self.box.grid(min(self.finest, float(grid.spacing.max())))
        velocity = on_other_grid(velocity, grid.shape, fine.shape, smooth=True) * taper(fine, velocity.device)
        indices = fine.indices(velocity.device)
        there = integrated(velocity, indices)
        back = inverted(there, indices, integrated(-velocity, indices), steps=8)
        self.displacement = Displacement.from_voxels(fine, there, back)

    def take(self, found: SpatialTransform) -> None:
        """Take over another program's transform, from the fixed image's space to that of
        :meth:`moving_before_start`.
        """
        self._taken = found.then(SpatialTransform((self.initial_matrix,)))

    def moving_before_start(self) -> tuple[np.ndarray, np.ndarray]:
        """The moving image (I, J, K) and its affine, with the initial transform applied."""
        values = np.asarray(self.moving.values[0].cpu())
        if np.array_equal(self.initial_matrix, np.eye(4)):
            return values, self.moving.affine
        grid = self.box.grid(self.finest)
        moved = to_grid(self.moving.values, self.moving.affine, grid, self.initial_matrix)[0]
        return np.asarray(moved[0].cpu()), grid.affine

    def report_phase(self, text: str) -> None:
        self._context.report("phase", phase=text)

    def stop_requested(self) -> bool:
        return self._context.stop_requested()

    def result(self) -> Aligned:
        """The whole transform, ending with an initial one that is not a matrix, and its metrics."""
        matrix = SpatialTransform((self.matrix,))
        transform = matrix if self.displacement is None else SpatialTransform((self.displacement,)).then(matrix)
        transform = self._taken or transform
        figures: dict[str, Any] = {}
        if same_dimensions(self.pair.fixed, self.pair.moving):  # a radiograph cannot be compared with a volume
            figures["similarity_before"] = self._likeness(SpatialTransform((self.initial_matrix,)))
            figures["similarity_after"] = self._likeness(transform)
        figures |= {"steps": self.steps, "stopped_early": self.stopped, **self.figures}
        if self._before is not None:
            transform = transform.then(self._before)
        return Aligned(transform, figures)

    def extents(self) -> dict[str, np.ndarray]:
        """The size in mm of the foreground of each image."""
        return {"fixed": foreground_box(self.fixed, 0).extent, "moving": foreground_box(self.moving, 0).extent}

    def brightness(self) -> dict[str, float]:
        """Mean foreground intensity of each image."""
        scans = {"fixed": self.fixed, "moving": self.moving}
        return {which: float(scan.values[scan.values > _AIR].mean()) for which, scan in scans.items()}

    def _likeness(self, transform: SpatialTransform) -> float:
        """Mean squared local correlation, 0 to 1, at twice the finest voxel size, where either image shows something.

        Air is left out: it matches air anywhere, and windows of it have no correlation.
        """
        at = level(self.fixed, self.moving, self.box, 2 * self.finest)
        points = _points(at.grid)
        to_index = np.linalg.inv(at.moving.affine)
        index = matrix_coordinates(to_index, transform.at(points).to(at.fixed.device))
        moved = sampled(at.moving.values, index, outside="border")
        shown = torch.maximum(at.fixed, moved).amax(0, keepdim=True) > _AIR
        weight = at.weight * inside(index, at.moving.shape) * shown
        return round(1 - float(similarity("local-correlation")(at.fixed, moved, weight)), 4)

    def _middle_to_middle(self) -> np.ndarray:
        matrix = self.matrix.copy()
        middle = matrix[:3, :3] @ self.box.center + matrix[:3, 3]
        matrix[:3, 3] += foreground_box(self.moving, 0.0).center - middle
        return matrix

    def _differs(self, matrix: np.ndarray, others: list[np.ndarray]) -> bool:
        half = np.diag(self.box.extent / 2)
        corners = np.concatenate([self.box.center + half, self.box.center - half])
        corners = np.concatenate([corners, np.ones((6, 1))], 1).T
        distances = [np.linalg.norm(((matrix - other) @ corners)[:3], axis=0).max() for other in others]
        return min(distances) > _WORTH_TRYING * self.box.unit

    def _affordable_spacing(self) -> float:
        """The smallest voxel size that computes in acceptable time; not below the image's."""
        extent = self.box.extent[self.box.extent > 0]
        affordable = float((np.prod(extent) / _MOST_VOXELS[len(extent)]) ** (1 / len(extent)))
        native = np.sort(self.pair.fixed.spacing)
        return max(affordable, float(native[0]))

    def _field_spacings(self) -> list[float]:
        """Voxel sizes at which the deformation is sought, the coarsest first."""
        most = float(self.box.extent.max()) / _FEWEST_STEPS
        return [factor * self.finest for factor in _FIELD_LEVELS if factor * self.finest <= most or factor == 1]

    def _phase(self, text: str, steps: int) -> None:
        self.report_phase(text)
        self._done, self._total, self._began = 0, steps, time.monotonic()

    def _step(self, done: int, total: int) -> bool:
        self.steps += 1
        self._done += 1
        now = time.monotonic()
        if now - self._reported > _REPORT_SECONDS or self._done == self._total:
            self._reported = now
            remaining = (now - self._began) / self._done * (self._total - self._done)
            self._context.report("progress", step=self._done, total=self._total, remaining=round(remaining, 1))
        if not self.stopped and self._context.stop_requested():
            self.stopped = True
            self._context.report("warning", message="Stopped early: the best transform so far is kept.")
        return not self.stopped


def _on(scan: Scan, device: torch.device) -> Scan:
    return Scan(scan.values.to(device), scan.affine)


def _widened(box: Box) -> Box:
    margin = np.where(box.extent > 0, _MARGIN * box.extent.max(), 0.0)
    return Box(box.directions, box.origin - box.directions @ margin, box.extent + 2 * margin, box.thickness)


def _points(grid: Grid) -> torch.Tensor:
    return matrix_coordinates(grid.affine, grid.indices())


def _pulled(moving: Scan, pair: Pair) -> Scan:
    """The moving image resampled through an initial transform that is not a matrix, around the fixed image."""
    last = np.array(pair.fixed.shape) - 1
    extent = float((last * pair.fixed.spacing).max())
    box = box_around(pair.fixed.affine, np.zeros(3), last, 0.2 * extent)
    spacing = float(np.linalg.norm(moving.affine[:3, :3], axis=0).min())
    grid = box.grid(max(spacing, extent / 256))
    index = matrix_coordinates(np.linalg.inv(moving.affine), pair.initial.at(_points(grid)))
    return Scan(sampled(moving.values, index, outside="zeros"), grid.affine)
