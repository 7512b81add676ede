"""Training pairs, their random changes, and what the networks' answers are judged by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from MedDeepLib.training.samplers import EachOnce
from MedDeepLib.training.stage import Sample, random_state

from RegisterModuleLib.cases import TrainingImage
from RegisterModuleLib.fields import integrated
from RegisterModuleLib.grids import Grid, matrix_coordinates, resized, sampled
from RegisterModuleLib.networks import fitted_matrix
from RegisterModuleLib.painting import disturbed, painted
from RegisterModuleLib.refinement import roughness
from RegisterModuleLib.similarity import LocalCorrelation

_ELASTIC_MM = 30.0  # distance of the control points of random deformations
_MOST_ERROR = 40.0  # mm; beyond that a fitted matrix is arbitrary and its gradient useless
_FLAT_DICE = 1e-3


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
    """

    images: list[TrainingImage]
    pairs: list[tuple[int, int]]
    grid: Grid
    structures: np.ndarray
    paint: bool


class PairSampler:
    """Training pair ``number``: a pure function of the seed and the number."""

    def __init__(self, data: TrainingSet, changes: Changes, seed: int, coarser: int = 1, structures: int = 0):
        """
        Args:
            coarser: make pairs at a voxel size that is so many times the grid's.
            structures: show so many of them with each pair, chosen at random: a step then takes less time; 0: all.
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
            image = one.image
            if self._paints(one):
                image = painted(one.shares, self._is_structure(one), random, self._changes.bare)
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

    def _paints(self, image: TrainingImage) -> bool:
        return self.data.paint and image.shares is not None

    def _is_structure(self, image: TrainingImage) -> np.ndarray:
        is_structure = np.zeros(len(image.values), bool)
        is_structure[self.data.structures] = True
        return is_structure

    def _matrix(self, random: np.random.RandomState, share: float) -> np.ndarray:
        """A random matrix (4x4) about the middle of the grid, from its indices to its indices."""
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
        image = painted(one.shares, self._is_structure(one), random, self._changes.bare)
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
            shares.append(sampled(self.data.images[index].shares[self.data.structures].float() / 255, coordinates))
        blurred = [one if random.uniform() < 0.3 else _blurred(one) for one in shares]
        return {"image": torch.cat(blurred), "fixed_shares": shares[0], "moving_shares": shares[1]}


def _blurred(maps: torch.Tensor) -> torch.Tensor:
    size = [3 if n > 1 else 1 for n in maps.shape[1:]]
    padding = [n // 2 for n in size]
    return F.avg_pool3d(maps[None], size, 1, padding, count_include_pad=False)[0]


class StructureLoss:
    """Overlap and cross-entropy of a structure network's scores with the true shares."""

    def __call__(self, output: torch.Tensor, batch: Sample) -> torch.Tensor:
        shares = batch["shares"]
        wanted = torch.cat([(1 - shares.sum(1, keepdim=True)).clamp(0, 1), shares], 1)
        entropy = -(wanted * output.log_softmax(1)).sum(1).mean()
        found = output.softmax(1)[:, 1:]
        overlap = torch.stack([soft_dice(one, other) for one, other in zip(found, shares, strict=True)]).mean()
        return 1 - overlap + entropy


class StructureValidation:
    """Mean Dice of the structures found in painted validation images."""

    key_figure = "validation Dice"

    def __init__(self, network, sampler: StructureSampler, count: int, device):
        self._network, self._device = network, device
        self._samples = [sampler(number) for number in range(count)]

    def __call__(self) -> dict[str, float]:
        with torch.no_grad():
            figures = [
                soft_dice(self._network.maps(one["image"].to(self._device)), one["shares"].to(self._device))
                for one in self._samples
            ]
        return {self.key_figure: float(torch.stack(figures).mean())}


class PointLoss:
    """How far the points, and what the matrix fitted to them does, are off, in mm.

    Where there are label maps, the points are the middles of the structures. Elsewhere they are whatever the network
    finds again in the moved image.
    """

    def __init__(self, grid: Grid):
        ranges = [np.linspace(0, n - 1, 3 if n > 1 else 1) for n in grid.shape]
        points = np.stack(np.meshgrid(*ranges, indexing="ij"), -1).reshape(-1, 3)
        self._points = torch.from_numpy(points.astype(np.float32))
        self._spacing = torch.from_numpy(grid.spacing.astype(np.float32))

    def __call__(self, output: torch.Tensor, batch: Sample) -> torch.Tensor:
        errors = []
        for number, (fixed, moving) in enumerate(output):
            truth = batch["truth"][number]
            if "fixed_shares" in batch:
                count = len(batch["fixed_shares"][number])
                fixed, moving = fixed[:count], moving[:count]
                wanted = middles(batch["fixed_shares"][number]), middles(batch["moving_shares"][number])
                off = self._distance(fixed, wanted[0]) + self._distance(moving, wanted[1])
            else:
                off = self._distance(moving, fixed @ truth[:3, :3].T + truth[:3, 3])
            errors.append(off + self._error(fixed, moving, truth).clamp_max(_MOST_ERROR))
        return torch.stack(errors).mean()

    def of(self, output: torch.Tensor, one: Sample) -> torch.Tensor:
        """How far off in mm the matrix is for one pair and its points (2, N, 3)."""
        count = len(one["fixed_shares"]) if "fixed_shares" in one else None
        return self._error(output[0][:count], output[1][:count], one["truth"])

    def _distance(self, points: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        known = wanted.isfinite().all(1)
        difference = (points[known] - wanted[known]) * self._spacing.to(points.device)
        return (difference.square().sum(1) + 1e-4).sqrt().sum() / max(1, int(known.sum()))

    def _error(self, fixed: torch.Tensor, moving: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Mean distance in mm, over points spread over the grid, between where fitted and true matrix take them."""
        matrix = fitted_matrix(fixed, moving)
        difference = matrix - truth
        offset = self._points.to(matrix.device) @ difference[:3, :3].T + difference[:3, 3]
        return ((offset * self._spacing.to(matrix.device)).square().sum(1) + 1e-4).sqrt().mean()


def middles(shares: torch.Tensor) -> torch.Tensor:
    """The middle (S, 3) of every structure's shares (S, I, J, K), in voxels; NaN where it does not occur."""
    mass = shares.sum((1, 2, 3))
    places = []
    for axis, length in enumerate(shares.shape[1:]):
        along = shares.sum([n + 1 for n in range(3) if n != axis])
        places.append((along * torch.arange(length, device=shares.device)).sum(1) / mass)
    return torch.stack(places, 1)


class FieldLoss:
    """Overlap of structures, or local correlation where there are none, beside the field's roughness."""

    def __init__(self, similarity: Callable | None, label_weight: float, smoothness: float, bending: bool):
        """``similarity``: of the images, or None where they are painted and tell nothing."""
        self._similarity, self._label_weight = similarity, label_weight
        self._smoothness, self._bending = smoothness, bending

    def __call__(self, output: torch.Tensor, batch: Sample) -> torch.Tensor:
        losses = []
        for number, velocity in enumerate(output):
            one = {name: value[number] for name, value in batch.items()}
            fixed, moving = one["image"].chunk(2)
            coordinates = moved_coordinates(velocity, fixed.shape[1:])
            loss = self._smoothness * roughness(velocity, self._bending)
            if self._similarity is not None:
                weight = torch.ones_like(fixed[:1])
                moved = sampled(moving, coordinates, outside="border")
                loss = loss + self._similarity(fixed, moved, weight)
            if "fixed_shares" in one and self._label_weight > 0:
                overlap = soft_dice(one["fixed_shares"], sampled(one["moving_shares"], coordinates))
                loss = loss + self._label_weight * (1 - overlap)
            losses.append(loss)
        return torch.stack(losses).mean()


def moved_coordinates(velocity: torch.Tensor, shape) -> torch.Tensor:
    """Where the voxels of an image of that shape come from, for a velocity field (3, I, J, K) over the same box."""
    indices = index_grid(velocity.shape[1:], velocity.device)
    finer = [(m - 1) / max(n - 1, 1) for m, n in zip(shape, velocity.shape[1:], strict=True)]
    finer = torch.tensor(finer, device=velocity.device)[:, None, None, None]
    return index_grid(shape, velocity.device) + resized(integrated(velocity, indices), shape) * finer


def index_grid(shape, device) -> torch.Tensor:
    """The indices (3, I, J, K) of all voxels of a grid."""
    return Grid(np.eye(4), tuple(shape)).indices(device)


def soft_dice(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Mean Dice of shares (S, I, J, K) over the structures that occur."""
    both = 2 * (first * second).sum((1, 2, 3))
    total = (first**2).sum((1, 2, 3)) + (second**2).sum((1, 2, 3))
    present = total > _FLAT_DICE
    return (both / total.clamp_min(_FLAT_DICE))[present].mean() if present.any() else both.sum() * 0 + 1


class PointValidation:
    """Mean error of the matrix over validation pairs, in mm; negative, since more is better."""

    key_figure = "minus the error in mm"

    def __init__(self, network, sampler: PairSampler, count: int, device):
        self._network, self._device = network, device
        self._samples = [sampler(number) for number in range(count)]
        self._loss = PointLoss(sampler.grid)

    def __call__(self) -> dict[str, float]:
        with torch.no_grad():
            errors = [
                float(self._loss.of(self._network(one["image"][None])[0], one))
                for one in (
                    {name: value.to(self._device) for name, value in sample.items()} for sample in self._samples
                )
            ]
        return {self.key_figure: -float(np.mean(errors))}


class FieldValidation:
    """Mean Dice of the structures, or local correlation where there are none, over validation pairs."""

    def __init__(self, network, sampler: PairSampler, count: int, device):
        self._network, self._device = network, device
        self._samples = [sampler(number) for number in range(count)]
        labelled = all("fixed_shares" in sample for sample in self._samples)
        self.key_figure = "validation Dice" if labelled else "validation correlation"

    def __call__(self) -> dict[str, float]:
        figures = []
        with torch.no_grad():
            for sample in self._samples:
                one = {name: value.to(self._device) for name, value in sample.items()}
                fixed, moving = one["image"].chunk(2)
                velocity = self._network(one["image"][None])[0]
                coordinates = moved_coordinates(velocity, fixed.shape[1:])
                if "Dice" in self.key_figure:
                    figures.append(soft_dice(one["fixed_shares"], sampled(one["moving_shares"], coordinates)))
                else:
                    moved = sampled(moving, coordinates, outside="border")
                    figures.append(1 - LocalCorrelation()(fixed[:1], moved[:1], torch.ones_like(fixed[:1])))
        return {self.key_figure: float(torch.stack(figures).mean())}
