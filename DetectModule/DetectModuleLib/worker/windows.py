"""Windows about voxels of training cases, for patch classifiers: where they lie, which are drawn, how they are cut.

A *pool* is a list of places with their classes, gathered once: centres of lesions, places in the background, false
alarms of an earlier network. A sampler draws from it, evenly or by the network's present error (selective sampling).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from MedDeepLib.core.stages import Sample
from MedDeepLib.inference.sliding import cut_tile
from MedDeepLib.training.dense.augmentation import Augmentation, random_deformation, random_intensity_change
from MedDeepLib.training.dense.patches import CachedCase
from MedDeepLib.training.randomness import random_state
from MedDeepLib.training.samplers import ErrorWeighted

from DetectModuleLib.worker.cases import boxes_of

Size = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Pool:
    """Places that training windows are cut about.

    Attributes:
        cases: (N,) index of the case.
        voxels: (N, 3) float64, on the network's grid of the case.
        labels: (N,) 0 background, 1 the first class.
    """

    cases: np.ndarray
    voxels: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.cases)

    def __add__(self, other: Pool) -> Pool:
        pairs = ((self.cases, other.cases), (self.voxels, other.voxels), (self.labels, other.labels))
        return Pool(*(np.concatenate(pair) for pair in pairs))

    def __getitem__(self, index) -> Pool:
        return Pool(self.cases[index], self.voxels[index], self.labels[index])

    @classmethod
    def of(cls, case: int, voxels: np.ndarray, labels: np.ndarray | int) -> Pool:
        """Places of one case."""
        voxels = np.asarray(voxels, float).reshape(-1, 3)
        return cls(np.full(len(voxels), case), voxels, np.broadcast_to(labels, len(voxels)).astype(int))

    @classmethod
    def empty(cls) -> Pool:
        return cls.of(0, np.zeros((0, 3)), 0)


def gathered(pools: Sequence[Pool]) -> Pool:
    """All places of several pools."""
    return sum(pools, Pool.empty())


def lesions(case: CachedCase, number: int) -> Pool:
    """The centres of a case's boxes."""
    boxes, classes = boxes_of(case)
    return Pool.of(number, boxes[:, :3], classes + 1)


def background(case: CachedCase, number: int, most: int, seed: int) -> Pool:
    """Up to ``most`` of the case's places in the body, of those that keep away from lesions by half their size."""
    voxels = case.voxels.get(0, np.zeros((0, 3), int))
    voxels = voxels[~inside_boxes(case, voxels, 2.0)]
    random = random_state(seed, 11, number)
    return Pool.of(number, voxels[random.permutation(len(voxels))[:most]], 0)


def inside_boxes(case: CachedCase, voxels: np.ndarray, scale: float) -> np.ndarray:
    """Whether voxels (N, 3) lie in one of the case's boxes, enlarged ``scale`` times: (N,)."""
    boxes, _ = boxes_of(case)
    if not len(boxes):
        return np.zeros(len(voxels), bool)
    apart = np.abs(voxels[:, None] - boxes[None, :, :3])
    return (apart <= scale * boxes[None, :, 3:] / 2).all(2).any(1)


def window(image: torch.Tensor, voxel: np.ndarray, size: Size, matrix: np.ndarray | None = None) -> torch.Tensor:
    """The window (C, *size) of an image (C, I, J, K) about a voxel: its own voxel ``size // 2`` lies there.

    Where it reaches beyond the image, the image is mirrored, as in dense evaluation.

    Args:
        voxel: (3,); between voxels the image is interpolated.
        matrix: (3, 3) from voxels of the window to voxels of the image, for turned, scaled or mirrored windows.
    """
    nearest = np.rint(voxel).astype(int)
    if matrix is None and np.abs(voxel - nearest).max() < 1e-3:
        i, j, k = (int(v) - n // 2 for v, n in zip(nearest, size, strict=True))
        return cut_tile(image, (i, j, k), size)
    turn = torch.from_numpy(np.eye(3) if matrix is None else np.ascontiguousarray(matrix))
    axes = [torch.arange(n, dtype=torch.float64) - n // 2 for n in size]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1) @ turn.T + torch.from_numpy(np.asarray(voxel, float))
    # What is interpolated is a part of the image, moved so that float32 suffices wherever it lies.
    low = grid.reshape(-1, 3).min(0).values.floor().int() - 1
    high = grid.reshape(-1, 3).max(0).values.ceil().int() + 2
    (i, j, k), (n, m, o) = low.tolist(), (high - low).tolist()
    part = cut_tile(image, (i, j, k), (n, m, o))
    grid = (grid - low) * (2 / (torch.tensor(part.shape[1:]) - 1)) - 1
    return F.grid_sample(part[None].float(), grid.flip(-1)[None].float(), align_corners=True)[0]


class WindowSampler:
    """Training sample ``number``: a window, changed at random, and the label of its place.

    Half of the samples show a lesion; negatives are drawn evenly, or by ``errors``.
    """

    def __init__(
        self,
        images: Sequence[torch.Tensor],
        pool: Pool,
        size: Size,
        augmentation: Augmentation,
        shift: float,
        seed: int,
    ):
        """
        Args:
            shift: voxels that a lesion is moved away from the middle of its window, at most, along each axis.
        """
        self._images, self.pool, self._size = images, pool, size
        self._augmentation, self._shift, self._seed = augmentation, shift, seed
        self.errors = ErrorWeighted(np.flatnonzero(pool.labels == 0), seed, np.flatnonzero(pool.labels))

    def __call__(self, number: int) -> Sample:
        place = self.errors(number)
        random = random_state(self._seed, 12, number)
        augmentation, size = self._augmentation, self._size
        image = self._images[self.pool.cases[place]]
        deformation = random_deformation(augmentation, size, random)
        matrix = deformation.matrix @ np.diag([-1.0 if axis in deformation.flips else 1.0 for axis in range(3)])
        moves = [self._shift if n > 1 else 0.0 for n in size]
        voxel = self.pool.voxels[place] + random.uniform(-1, 1, 3) * moves
        if np.allclose(matrix, np.eye(3)):
            matrix, voxel = None, np.rint(voxel)  # many times faster than interpolation
        changes = [random_intensity_change(augmentation, size, random) for _ in image]
        noise = torch.Generator().manual_seed(int(random.randint(2**31)))
        values = window(image, voxel, size, matrix)
        values = torch.stack([change.apply(channel, noise) for change, channel in zip(changes, values, strict=True)])
        return {"image": squeezed(values), "label": torch.tensor(int(self.pool.labels[place]))}


def squeezed(values: torch.Tensor) -> torch.Tensor:
    """Windows (..., I, J, K) without their third axis if it is a single slice, as networks in 2D take them."""
    return values[..., 0] if values.shape[-1] == 1 else values


def pool_scores(
    network: Callable[[torch.Tensor], torch.Tensor],
    images: Sequence[torch.Tensor],
    pool: Pool,
    size: Size,
    device: torch.device,
    batch_size: int = 64,
) -> torch.Tensor:
    """Probabilities (N, classes with background) of every place of a pool, on the CPU; it must not be empty.

    Args:
        images: (C, I, J, K) of the cases.
    """
    found = []
    with torch.inference_mode():
        for first in range(0, len(pool), batch_size):
            part = pool[first : first + batch_size]
            places = zip(part.cases, part.voxels, strict=True)
            windows = [window(images[case], np.rint(voxel), size) for case, voxel in places]
            scores = network(squeezed(torch.stack(windows)).to(device)).float()
            found.append(scores.flatten(1).softmax(1).cpu())
    return torch.cat(found)


def area_under_curve(scores: np.ndarray, positive: np.ndarray) -> float:
    """How often a lesion has a higher score than something else; ties count half; NaN without either."""
    from scipy.stats import rankdata

    count, others = int(positive.sum()), int((~positive).sum())
    if not count or not others:
        return math.nan
    return float((rankdata(scores)[positive].sum() - count * (count + 1) / 2) / (count * others))
