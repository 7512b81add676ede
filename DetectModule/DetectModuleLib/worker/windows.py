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
from MedDeepLib.training.dense.augmentation import Augmentation, random_deformation
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
    return np.any(np.all(apart <= scale * boxes[None, :, 3:] / 2, 2), 1)


def window(image: torch.Tensor, voxel: np.ndarray, size: Sequence[int]) -> torch.Tensor:
    """The window (C, *size) of an image (C, I, J, K) about the nearest voxel: its own voxel ``size // 2`` lies there.

    Where it reaches beyond the image, the image is mirrored, as in dense evaluation.
    """
    i, j, k = (int(v) - n // 2 for v, n in zip(np.rint(voxel), size, strict=True))
    return cut_tile(image, (i, j, k), (size[0], size[1], size[2]))


def turned_windows(
    images: Sequence[torch.Tensor], voxels: np.ndarray, size: Size, matrices: np.ndarray
) -> torch.Tensor:
    """Windows (B, C, *size) about voxels (B, 3), each of its own image, interpolated.

    Args:
        matrices: (B, 3, 3) from voxels of a window to voxels of its image: turned, scaled, mirrored.
    """
    nearest = np.rint(voxels)
    reach = np.abs(matrices) @ (np.array(size) // 2)
    # Parts about the nearest voxels that hold all windows; what is interpolated is small, so that float32 suffices.
    part = 2 * np.ceil(reach.max(0) + 1).astype(int) + 1
    parts = torch.stack([window(image, voxel, part) for image, voxel in zip(images, nearest, strict=True)])
    axes = [torch.arange(n, dtype=torch.float32) - n // 2 for n in size]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(1, -1, 3)
    grid = torch.matmul(grid, torch.from_numpy(matrices.astype(np.float32)).mT)
    grid = grid + torch.from_numpy((voxels - nearest).astype(np.float32))[:, None]
    grid = grid / torch.from_numpy((part // 2).astype(np.float32))  # -1 to 1 from the first to the last voxel
    return F.grid_sample(parts.float(), grid.reshape(-1, *size, 3).flip(-1), align_corners=True)


class WindowBatches:
    """Training batch ``number``: windows, changed at random, and the labels of their places.

    Half of the windows show a lesion; negatives are drawn evenly, or by ``errors``.
    """

    def __init__(
        self,
        images: Sequence[torch.Tensor],
        pool: Pool,
        size: Size,
        batch_size: int,
        augmentation: Augmentation,
        shift: float,
        seed: int,
    ):
        """
        Args:
            augmentation: of which gain, offset and noise are the changes of values.
            shift: voxels that a window is moved away from its place, at most, along each axis.
        """
        self._images, self.pool, self._size, self._batch_size = images, pool, size, batch_size
        self._augmentation, self._shift, self._seed = augmentation, shift, seed
        self.errors = ErrorWeighted(np.flatnonzero(pool.labels == 0), seed, np.flatnonzero(pool.labels))

    def __call__(self, number: int) -> Sample:
        places = self.errors.several(number, self._batch_size)
        random, size = random_state(self._seed, 12, number), self._size
        matrices = np.stack([self._matrix(random) for _ in places])
        moves = random.uniform(-1, 1, (len(places), 3)) * [self._shift if n > 1 else 0.0 for n in size]
        voxels = self.pool.voxels[places] + moves
        images = [self._images[case] for case in self.pool.cases[places]]
        if (matrices == np.eye(3)).all():
            values = torch.stack([window(image, voxel, size) for image, voxel in zip(images, voxels, strict=True)])
        else:
            values = turned_windows(images, np.where(np.array(size) > 1, voxels, np.rint(voxels)), size, matrices)
        values = self._recoloured(values, random)
        return {"image": squeezed(values), "label": torch.from_numpy(self.pool.labels[places])}

    def _matrix(self, random: np.random.RandomState) -> np.ndarray:
        deformation = random_deformation(self._augmentation, self._size, random)
        return deformation.matrix @ np.diag([-1.0 if axis in deformation.flips else 1.0 for axis in range(3)])

    def _recoloured(self, values: torch.Tensor, random: np.random.RandomState) -> torch.Tensor:
        strength = self._augmentation.intensity
        if strength <= 0:
            return values
        each = (*values.shape[:2], 1, 1, 1)
        gain, offset = (torch.from_numpy(random.uniform(-1, 1, each).astype(np.float32)) for _ in range(2))
        scatter = torch.from_numpy(random.uniform(0, 0.15 * strength, each).astype(np.float32))
        noise = torch.randn(values.shape, generator=torch.Generator().manual_seed(int(random.randint(2**31))))
        return values * (1 + 0.3 * strength * gain) + 0.3 * strength * offset + scatter * noise


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
