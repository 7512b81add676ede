"""The networks' losses in training and their metrics in validation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from MedDeepLib.core.stages import Sample

from RegisterModuleLib.worker.fields import integrated
from RegisterModuleLib.worker.grids import Grid, resized, sampled
from RegisterModuleLib.worker.networks import fitted_matrix
from RegisterModuleLib.worker.refinement import roughness
from RegisterModuleLib.worker.similarity import LocalCorrelation
from RegisterModuleLib.worker.training import PairSampler, StructureSampler

_MOST_ERROR = 40.0  # mm; beyond that a fitted matrix is arbitrary and its gradient useless
_FLAT_DICE = 1e-3
NOTHING_LEARNED = 0.05  # Dice or correlation


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

    chance = NOTHING_LEARNED
    key_metric = "validation Dice"

    def __init__(self, network, sampler: StructureSampler, count: int, device):
        self._network, self._device = network, device
        self._samples = [sampler(number) for number in range(count)]

    def __call__(self) -> dict[str, float]:
        with torch.no_grad():
            scores = [
                soft_dice(self._network.maps(one["image"].to(self._device)), one["shares"].to(self._device))
                for one in self._samples
            ]
        return {self.key_metric: float(torch.stack(scores).mean())}


class PointLoss:
    """The error in mm of the points and of the matrix fitted to them.

    Where there are label maps, the points are the centres of the structures. Elsewhere they are any points that the
    network finds again in the moved image.
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
        """The error in mm of the matrix for one pair and its points (2, N, 3)."""
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
    """The centre of mass (S, 3) of every structure's shares (S, I, J, K), in voxels; NaN where it does not occur."""
    mass = shares.sum((1, 2, 3))
    places = []
    for axis, length in enumerate(shares.shape[1:]):
        along = shares.sum([n + 1 for n in range(3) if n != axis])
        places.append((along * torch.arange(length, device=shares.device)).sum(1) / mass)
    return torch.stack(places, 1)


class FieldLoss:
    """The field's roughness, plus the similarity of the images, the overlap of their structures, or both."""

    def __init__(self, similarity: Callable | None, label_weight: float, smoothness: float, bending: bool):
        """``similarity``: of the images, or None for painted images, whose intensities cannot be compared."""
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

    chance = None
    key_metric = "minus the error in mm"

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
        return {self.key_metric: -float(np.mean(errors))}


class FieldValidation:
    """Mean Dice of the structures, or local correlation where there are none, over validation pairs."""

    chance = NOTHING_LEARNED

    def __init__(self, network, sampler: PairSampler, count: int, device):
        self._network, self._device = network, device
        self._samples = [sampler(number) for number in range(count)]
        labelled = all("fixed_shares" in sample for sample in self._samples)
        self.key_metric = "validation Dice" if labelled else "validation correlation"

    def __call__(self) -> dict[str, float]:
        scores = []
        with torch.no_grad():
            for sample in self._samples:
                one = {name: value.to(self._device) for name, value in sample.items()}
                fixed, moving = one["image"].chunk(2)
                velocity = self._network(one["image"][None])[0]
                coordinates = moved_coordinates(velocity, fixed.shape[1:])
                if "Dice" in self.key_metric:
                    scores.append(soft_dice(one["fixed_shares"], sampled(one["moving_shares"], coordinates)))
                else:
                    moved = sampled(moving, coordinates, outside="border")
                    scores.append(1 - LocalCorrelation()(fixed[:1], moved[:1], torch.ones_like(fixed[:1])))
        return {self.key_metric: float(torch.stack(scores).mean())}
