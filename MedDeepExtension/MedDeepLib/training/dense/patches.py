"""Random patches of training cases: where they are cut, and how they are made on the device.

Cutting, turning, scaling and elastic deformation are one interpolation: only the voxels of the patch are computed, and
no border is invented. A thread copies the part of the image that the patch needs (:func:`cut`); the device computes the
patch from it (:func:`made`), so a card gets little and does the rest itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from MedDeepLib.core.stages import Sample
from MedDeepLib.training.dense.augmentation import (
    Augmentation,
    Deformation,
    Recolouring,
    on_device,
    random_deformation,
    random_recolouring,
)

_VALUES, _PLAN = "image", "plan"


@dataclass(eq=False)
class CachedCase:
    """A training case on the network's grid, ready to be cut into patches.

    Attributes:
        image: (C, I, J, K) float32.
        label: (1, I, J, K) integer class indices, 0 background.
        voxels: for each class that occurs, indices (N, 3) of some of its voxels.
        weight: (1, I, J, K) float32 loss weights, or None for 1 everywhere.
        pieces: connected pieces of each class on the label's own grid, int32, or None where that is not known.
    """

    image: torch.Tensor
    label: torch.Tensor
    voxels: dict[int, np.ndarray]
    weight: torch.Tensor | None = None
    pieces: torch.Tensor | None = None


@dataclass(frozen=True, eq=False)
class _Plan:
    """What has been decided of a patch: size, centre in the part that was copied, and its random changes."""

    size: tuple[int, int, int]
    center: np.ndarray
    deformation: Deformation
    recolouring: tuple[Recolouring, ...]


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


def cut(
    case: CachedCase,
    center: np.ndarray,
    size: tuple[int, int, int],
    augmentation: Augmentation,
    random: np.random.RandomState,
) -> Sample:
    """The part of a case that a patch of ``size`` voxels about ``center`` is made from, and the plan for it.

    The centre is moved at random and towards the image, so that a patch reaches beyond the image only if the image is
    smaller.
    """
    shape = np.array(case.image.shape[1:])
    center = _placed(center, np.array(size), shape, random)
    deformation = random_deformation(augmentation, size, random)
    recolouring = tuple(random_recolouring(augmentation, size, random) for _ in case.image)
    reach = deformation.reach(size)
    # One voxel more on each side, for interpolation; at least one voxel, should all of it lie outside.
    first = np.clip(np.floor(center - reach).astype(int) - 1, 0, shape - 1)
    last = np.clip(np.ceil(center + reach).astype(int) + 1, first, shape - 1)
    box = (slice(None), *(slice(a, b + 1) for a, b in zip(first, last, strict=True)))
    sample = {_VALUES: case.image[box].contiguous(), "label": case.label[box].contiguous()}
    if case.weight is not None:
        sample["weight"] = case.weight[box].contiguous()
    return sample | {_PLAN: _Plan(size, center - first, deformation, recolouring)}


def made(sample: Sample, generator: torch.Generator) -> Sample:
    """The patch of a sample from :func:`cut`: image (C, I, J, K), label (1, I, J, K) and, if there is one, weight.

    Outside the image, values continue from its border, the label is background and the weight 0. A slice (K of 1) comes
    without its third axis.
    """
    plan: _Plan = sample[_PLAN]
    image = sample[_VALUES]
    grid = plan.deformation.grid(plan.center, plan.size, image.device)
    scale = on_device(2 / np.maximum(np.array(image.shape[1:]) - 1, 1), image.device)
    grid = (grid * scale - 1).flip(-1)[None]  # as grid_sample wants it: -1 to 1, the last axis first
    patch = {_VALUES: F.grid_sample(image[None], grid, "bilinear", "border", align_corners=True)[0]}
    for name in sorted(sample.keys() - {_VALUES, _PLAN}):
        values = F.grid_sample(sample[name][None].float(), grid, "nearest", "zeros", align_corners=True)[0]
        patch[name] = values.to(torch.long) if name == "label" else values
    flips = [axis + 1 for axis in plan.deformation.flips]
    if flips:
        patch = {key: value.flip(flips) for key, value in patch.items()}
    channels = zip(plan.recolouring, patch[_VALUES], strict=True)
    patch[_VALUES] = torch.stack([recolouring.apply(channel, generator) for recolouring, channel in channels])
    return {key: value[..., 0] for key, value in patch.items()} if plan.size[2] == 1 else patch


def _placed(center, size, shape, random) -> np.ndarray:
    """The centre, moved by up to a quarter of the patch and so that the patch stays in the image where it can."""
    center = center + random.uniform(-0.25, 0.25, 3) * np.where(size > 1, size, 0)
    lowest, highest = (size - 1) / 2, shape - 1 - (size - 1) / 2
    return np.where(highest >= lowest, np.clip(center, lowest, np.maximum(lowest, highest)), (shape - 1) / 2)
