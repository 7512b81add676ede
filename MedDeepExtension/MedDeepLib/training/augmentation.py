"""Random patches: where they are cut, and how they are deformed and recoloured on the way.

Cutting, turning, scaling and elastic deformation are one interpolation: only the voxels of the patch are computed, no
border is invented, and no image is copied. Everything random comes from the ``RandomState`` passed in.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F


@dataclass(frozen=True)
class Augmentation:
    """How far a training patch may differ from the image.

    Attributes:
        rotation: largest angle about each axis, in degrees (in 2D about the slice's axis only).
        scaling: largest relative change of size.
        elastic: standard deviation in voxels of the displacements of a coarse grid of control points.
        flip_axes: axes (0 right, 1 anterior, 2 superior) that may be mirrored.
        intensity: 0: values stay; 1: contrast, brightness, gamma, bias field, blur and noise change a good deal.
        probability: how often a patch is deformed, and how often each change of values is made.
    """

    rotation: float = 10.0
    scaling: float = 0.1
    elastic: float = 0.0
    flip_axes: tuple[int, ...] = ()
    intensity: float = 0.5
    probability: float = 0.7


@dataclass(eq=False)
class CachedCase:
    """A training case on the network's grid, ready to be cut into patches.

    Attributes:
        image: (C, I, J, K) float32.
        label: (1, I, J, K) integer class indices, 0 background.
        voxels: for each class that occurs, indices (N, 3) of some of its voxels.
        weight: (1, I, J, K) float32 loss weights, or None for 1 everywhere.
    """

    image: torch.Tensor
    label: torch.Tensor
    voxels: dict[int, np.ndarray]
    weight: torch.Tensor | None = None


def class_voxels(label: torch.Tensor, background: torch.Tensor, random: np.random.RandomState, most: int = 4000):
    """Indices (N, 3) of up to ``most`` voxels of each class in ``label``; class 0 only where ``background`` is true."""
    found = {}
    flat = label.ravel().numpy()
    for value in np.unique(flat):
        mask = flat == value
        if value == 0:
            mask &= background.ravel().numpy()
        index = np.flatnonzero(mask)
        if index.size > most:
            index = random.choice(index, most, replace=False)
        if index.size:
            found[int(value)] = np.stack(np.unravel_index(index, label.shape[1:]), axis=1)
    return found


def random_center(case: CachedCase, random: np.random.RandomState, foreground: float) -> np.ndarray:
    """A voxel index (3,): with probability ``foreground`` in a class chosen evenly, else in the background."""
    classes = [value for value in case.voxels if value]
    if classes and (random.uniform() < foreground or 0 not in case.voxels):
        voxels = case.voxels[classes[random.randint(len(classes))]]
    else:
        voxels = case.voxels[0]
    return voxels[random.randint(len(voxels))]


def cut_patch(
    case: CachedCase,
    center: np.ndarray,
    size: tuple[int, int, int],
    augmentation: Augmentation,
    random: np.random.RandomState,
) -> dict[str, torch.Tensor]:
    """A patch of ``size`` voxels about ``center``: image (C, ...), label (1, ...) and, if the case has one, weight.

    The centre is moved at random and towards the image, so that a patch reaches beyond the image only if the image is
    smaller. Outside the image, values continue from its border and the label is background.
    """
    shape = np.array(case.image.shape[1:])
    center = _placed(center, np.array(size), shape, random)
    deformed = random.uniform() < augmentation.probability
    matrix = _random_matrix(augmentation, size[2] == 1, random) if deformed else np.eye(3)
    grid = _grid(center, size, matrix)
    if deformed and augmentation.elastic > 0:
        grid = grid + _elastic(size, augmentation.elastic, random)
    sampling = _normalised(grid, shape)
    patch = {
        "image": F.grid_sample(case.image[None], sampling, "bilinear", "border", align_corners=True)[0],
        "label": F.grid_sample(case.label[None].float(), sampling, "nearest", "zeros", align_corners=True)[0].long(),
    }
    if case.weight is not None:
        patch["weight"] = F.grid_sample(case.weight[None], sampling, "nearest", "zeros", align_corners=True)[0]
    flips = [axis + 1 for axis in augmentation.flip_axes if random.uniform() < 0.5]
    if flips:
        patch = {key: value.flip(flips) for key, value in patch.items()}
    if augmentation.intensity > 0:
        patch["image"] = recolour(patch["image"], augmentation, random)
    return patch


def recolour(image: torch.Tensor, augmentation: Augmentation, random: np.random.RandomState) -> torch.Tensor:
    """Change the values of a patch (C, I, J, K) as another scanner or sequence might."""
    strength, probability = augmentation.intensity, augmentation.probability
    channels = []
    for channel in image:
        low, high = float(channel.min()), float(channel.max())
        if random.uniform() < probability and high > low:
            gamma = float(np.exp(random.uniform(-0.7, 0.7) * strength))
            channel = ((channel - low) / (high - low)) ** gamma * (high - low) + low
        if random.uniform() < probability:
            channel = channel * (1 + 0.3 * strength * random.uniform(-1, 1)) + 0.3 * strength * random.uniform(-1, 1)
        if random.uniform() < probability:
            channel = channel + (channel - low) * _smooth_field(channel.shape, 0.4 * strength, random)
        if random.uniform() < 0.5 * probability:
            channel = _blur(channel, random.uniform(0.3, 1.0) * strength)
        if random.uniform() < probability:
            noise = random.standard_normal(channel.shape).astype(np.float32)
            channel = channel + torch.from_numpy(noise) * (0.15 * strength * random.uniform())
        channels.append(channel)
    return torch.stack(channels)


def _placed(center, size, shape, random) -> np.ndarray:
    """The centre, moved by up to a quarter of the patch and so that the patch stays in the image where it can."""
    center = center + random.uniform(-0.25, 0.25, 3) * np.where(size > 1, size, 0)
    lowest, highest = (size - 1) / 2, shape - 1 - (size - 1) / 2
    return np.where(highest >= lowest, np.clip(center, lowest, np.maximum(lowest, highest)), (shape - 1) / 2)


def _random_matrix(augmentation: Augmentation, flat: bool, random) -> np.ndarray:
    """A random rotation and scaling (3, 3) in voxels; in 2D only within the slice."""
    angles = np.deg2rad(random.uniform(-augmentation.rotation, augmentation.rotation, 3))
    scales = 1 + random.uniform(-augmentation.scaling, augmentation.scaling, 3)
    if flat:
        angles[:2], scales[2] = 0, 1
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        a, b = [other for other in range(3) if other != axis]
        rotation = np.eye(3)
        rotation[a, a] = rotation[b, b] = np.cos(angle)
        rotation[a, b], rotation[b, a] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ rotation
    return matrix * scales


def _grid(center: np.ndarray, size: tuple[int, int, int], matrix: np.ndarray) -> torch.Tensor:
    """Image coordinates in voxels (I, J, K, 3) of the voxels of a patch."""
    axes = [torch.arange(n, dtype=torch.float32) - (n - 1) / 2 for n in size]
    m = torch.from_numpy(matrix.astype(np.float32))
    i, j, k = axes[0][:, None, None, None], axes[1][None, :, None, None], axes[2][None, None, :, None]
    return i * m[:, 0] + j * m[:, 1] + k * m[:, 2] + torch.from_numpy(center.astype(np.float32))


def _normalised(grid: torch.Tensor, shape: np.ndarray) -> torch.Tensor:
    """Voxel coordinates (I, J, K, 3) as grid_sample wants them: (1, I, J, K, 3), -1 to 1, last axis first."""
    extent = torch.from_numpy(np.maximum(shape - 1, 1).astype(np.float32))
    return (grid * (2 / extent) - 1).flip(-1)[None]


def _elastic(size: tuple[int, int, int], sigma: float, random) -> torch.Tensor:
    """A smooth random displacement in voxels (I, J, K, 3)."""
    control = [4 if n > 1 else 1 for n in size]
    coarse = torch.from_numpy(random.normal(0, sigma, (1, 3, *control)).astype(np.float32))
    if size[2] == 1:
        coarse[:, 2] = 0
    return F.interpolate(coarse, size, mode="trilinear", align_corners=True)[0].permute(1, 2, 3, 0)


def _smooth_field(shape, amplitude: float, random) -> torch.Tensor:
    control = [3 if n > 1 else 1 for n in shape]
    coarse = torch.from_numpy(random.uniform(-amplitude, amplitude, (1, 1, *control)).astype(np.float32))
    return F.interpolate(coarse, tuple(shape), mode="trilinear", align_corners=True)[0, 0]


def _blur(channel: torch.Tensor, sigma: float) -> torch.Tensor:
    from scipy.ndimage import gaussian_filter

    sigmas = [sigma if n > 1 else 0 for n in channel.shape]
    return torch.from_numpy(gaussian_filter(channel.numpy(), sigmas, truncate=2.0))
