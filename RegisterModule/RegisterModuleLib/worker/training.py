"""Training pairs and their random changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from MedDeepLib.core.stages import Sample
from MedDeepLib.training.randomness import random_state
from MedDeepLib.training.samplers import EachOnce

from RegisterModuleLib.worker.cases import TrainingImage
from RegisterModuleLib.worker.grids import Grid, matrix_coordinates, resized, sampled
from RegisterModuleLib.worker.painting import disturbed, painted

_ELASTIC_MM = 30.0  # distance of the control points of random deformations


@dataclass(frozen=True, eq=False)
class Changes:
    """How far a training pair may differ from the images it is made from.

    Attributes:
        rotation, scaling, shift: of both images together, in degrees, relative and in mm.
        apart: how much of these the two images may differ from each other, 0 to 1.
        elastic: standard deviation in mm of the displacement of control points, in each image on its own.
        intensity: of blur, shading and noise.
        bare: how often painted images show the structures only.
    """

    rotation: float
    scaling: float
    shift: float
    apart: float
    elastic: float
    intensity: float
    bare: float


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """Images on a common grid, and which of them make pairs.

    Attributes:
        pairs: indices of fixed and moving image; none: any two images make a pair.
        structures: indices among the label values of those that are to be aligned.
        paint: whether images are painted from the labels.
        twins: for each label value the index of the one that is painted like it, see ``painting.twin_values``.
    """

    images: list[TrainingImage]
    pairs: list[tuple[int, int]]
    grid: Grid
    structures: np.ndarray
    paint: bool
    twins: np.ndarray


class PairSampler:
    """Training pair ``number``: a pure function of the seed and the number."""

    def __init__(self, data: TrainingSet, changes: Changes, seed: int, coarser: int = 1, structures: int = 0):
        """
        Args:
            coarser: factor by which the pairs' voxel size exceeds the grid's.
            structures: number of structures shown with each pair, chosen at random to save time; 0: all.
        """
        self.data, self._changes, self._seed, self._coarser = data, changes, seed, coarser
        self._shown = min(structures, len(data.structures)) or len(data.structures)
        self._order = EachOnce(len(data.pairs) or len(data.images), seed)
        steps = [(n - 1) // coarser + 1 for n in data.grid.shape]
        scale = np.diag([*[coarser if n > 1 else 1 for n in data.grid.shape], 1.0])
        self.grid = Grid(data.grid.affine @ scale, tuple(steps))

    def __call__(self, number: int) -> Sample:
        random = random_state(self._seed, 3, number)
        fixed, moving = (self.data.images[index] for index in self._pair(number, random))
        common = self._matrix(random, 1.0)
        matrices = [common @ self._matrix(random, self._changes.apart) for _ in range(2)]
        sample: Sample = {}
        images = []
        shown = self.data.structures
        if self._shown < len(shown):
            shown = random.choice(shown, self._shown, replace=False)
        for side, one, matrix in zip(("fixed", "moving"), (fixed, moving), matrices, strict=True):
            coordinates = self._coordinates(matrix, random)
            image: Any = one.image  # always present unless painted
            if self.data.paint and one.shares is not None:
                image = painted(one.shares, self._is_structure(one), self.data.twins, random, self._changes.bare)
            images.append(disturbed(sampled(image, coordinates), self._changes.intensity, random))
            if one.shares is not None and self._shown:
                shares = sampled(one.shares[shown].float() / 255, coordinates)
                sample[f"{side}_shares"] = shares
        if "fixed_shares" not in sample or "moving_shares" not in sample:
            sample = {}
        sample["image"] = torch.cat(images)
        # A point is at x in the fixed and at y in the moving image, where matrices[0] x = matrices[1] y.
        sample["truth"] = torch.from_numpy((np.linalg.inv(matrices[1]) @ matrices[0]).astype(np.float32))
        return sample

    def _pair(self, number: int, random: np.random.RandomState) -> tuple[int, int]:
        if self.data.pairs:
            return self.data.pairs[self._order(number)]
        fixed, count = self._order(number), len(self.data.images)
        return fixed, (fixed + random.randint(1, count)) % count if count > 1 else fixed

    def _is_structure(self, image: TrainingImage) -> np.ndarray:
        is_structure = np.zeros(len(image.values), bool)
        is_structure[self.data.structures] = True
        return is_structure

    def _matrix(self, random: np.random.RandomState, share: float) -> np.ndarray:
        """A random matrix (4x4) about the centre of the grid, from its indices to its indices."""
        changes, grid = self._changes, self.grid
        flat = np.array([n == 1 for n in grid.shape])
        angles = np.deg2rad(random.uniform(-1, 1, 3) * changes.rotation * share)
        scales = np.exp(random.uniform(-1, 1, 3) * changes.scaling * share)
        shift = random.uniform(-1, 1, 3) * changes.shift * share
        if flat.any():
            angles[~flat] = 0
            scales[flat], shift[flat] = 1, 0
        matrix = np.eye(4)
        for axis, angle in enumerate(angles):
            a, b = [other for other in range(3) if other != axis]
            turn = np.eye(4)
            turn[[a, b], [a, b]] = np.cos(angle)
            turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
            matrix = matrix @ turn
        matrix[:3, :3] *= scales
        size = grid.spacing
        matrix[:3, :3] = matrix[:3, :3] * size / size[:, None]
        center = (np.array(grid.shape) - 1) / 2
        matrix[:3, 3] = center - matrix[:3, :3] @ center + shift / size
        return matrix

    def _coordinates(self, matrix: np.ndarray, random: np.random.RandomState) -> torch.Tensor:
        """Voxel coordinates in the images for the voxels of the pair's grid."""
        coordinates = matrix_coordinates(matrix, self.grid.indices())
        if self._changes.elastic > 0:
            extent = (np.array(self.grid.shape) - 1) * self.grid.spacing
            points = [max(4, round(e / _ELASTIC_MM)) if e > 0 else 1 for e in extent]
            control = random.normal(0, self._changes.elastic, (3, *points)) / self.grid.spacing[:, None, None, None]
            control[[n == 1 for n in self.grid.shape]] = 0
            coordinates = coordinates + resized(torch.from_numpy(control.astype(np.float32)), self.grid.shape)
        finer = [self._coarser if n > 1 else 1 for n in self.grid.shape]
        return coordinates * torch.tensor(finer, dtype=torch.float32)[:, None, None, None]


class StructureSampler(PairSampler):
    """A single painted image with the shares of its structures, by number."""

    def __call__(self, number: int) -> Sample:
        random = random_state(self._seed, 4, number)
        one = self.data.images[self._order(number)]
        coordinates = self._coordinates(self._matrix(random, 1.0), random)
        assert one.shares is not None  # a painted image is made of them
        image = painted(one.shares, self._is_structure(one), self.data.twins, random, self._changes.bare)
        image = disturbed(sampled(image, coordinates), self._changes.intensity, random)
        return {"image": image, "shares": sampled(one.shares[self.data.structures].float() / 255, coordinates)}


class MapSampler(PairSampler):
    """A pair shown by its structures instead of its images, blurred as a network's maps are, by number."""

    def __call__(self, number: int) -> Sample:
        random = random_state(self._seed, 5, number)
        common = self._matrix(random, 1.0)
        shares = []
        for index in self._pair(number, random):
            coordinates = self._coordinates(common @ self._matrix(random, self._changes.apart), random)
            all_shares = self.data.images[index].shares
            assert all_shares is not None  # such pairs are made of them
            shares.append(sampled(all_shares[self.data.structures].float() / 255, coordinates))
        blurred = [one if random.uniform() < 0.3 else _blurred(one) for one in shares]
        return {"image": torch.cat(blurred), "fixed_shares": shares[0], "moving_shares": shares[1]}


def _blurred(maps: torch.Tensor) -> torch.Tensor:
    size = [3 if n > 1 else 1 for n in maps.shape[1:]]
    padding = [n // 2 for n in size]
    return F.avg_pool3d(maps[None], size, 1, padding, count_include_pad=False)[0]
