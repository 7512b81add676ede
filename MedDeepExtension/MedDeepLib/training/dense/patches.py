"""Random patches of training cases: where they are cut, and how they are computed on the device.

A case is any number of named volumes on one grid, each resampled in its own way (:class:`Volume`):

    case = CachedCase(
        {
            "image": Volume(image, linear=True, intensity=True),
            "label": Volume(label, dtype=torch.long),
            "heatmap": Volume(heatmap, linear=True),
        },
        voxels=class_voxels(label, background, random),
    )

Cutting, rotation, scaling and elastic deformation are one interpolation: only the voxels of the patch are computed, and
no artificial borders appear. A thread copies the part of the case that the patch needs (:func:`cut`); the device
computes the patch from it (:func:`made`), so little is sent to a GPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F

from MedDeepLib.core.stages import Sample
from MedDeepLib.training.dense.augmentation import (
    Augmentation,
    Deformation,
    IntensityChange,
    on_device,
    random_deformation,
    random_intensity_change,
)

_PLAN = "plan"


@dataclass(frozen=True, eq=False)
class Volume:
    """One tensor of a case, and how patches are made of it.

    Channels must keep their meaning when a patch is rotated or mirrored; components of vectors do not.

    Attributes:
        tensor: (C, I, J, K), any dtype that numpy has; integers up to 2**24.
        linear: interpolate linearly, and continue the border's values outside the image; otherwise the nearest voxel
            is taken. With ``padded``, and always for the nearest voxel, values outside are 0.
        dtype: of patches; None: as the tensor.
        intensity: whether augmentation changes its values, as those of an image.
        padded: see ``linear``.
    """

    tensor: torch.Tensor
    linear: bool = False
    dtype: torch.dtype | None = None
    intensity: bool = False
    padded: bool = False

    def __post_init__(self):
        if self.linear and not self.patch_dtype.is_floating_point:
            raise ValueError(f"Patches that are interpolated linearly cannot be {self.patch_dtype}.")

    @property
    def patch_dtype(self) -> torch.dtype:
        return self.dtype or self.tensor.dtype


@dataclass(eq=False)
class CachedCase:
    """A training case on the network's grid, ready to be cut into patches.

    ``case["label"]`` is the tensor of a volume.

    Attributes:
        volumes: by name; patches have the same names. All lie on one grid (I, J, K).
        voxels: for each class that occurs (0 is background), indices (N, 3) of some of its voxels, about which patches
            are cut; empty: anywhere.
        extras: tensors by name that are kept with the case and are not cut.
    """

    volumes: Mapping[str, Volume]
    voxels: Mapping[int, np.ndarray] = field(default_factory=dict)
    extras: Mapping[str, torch.Tensor] = field(default_factory=dict)

    def __post_init__(self):
        shapes = {tuple(volume.tensor.shape[1:]) for volume in self.volumes.values()}
        if len(shapes) != 1 or any(volume.tensor.ndim != 4 for volume in self.volumes.values()):
            raise ValueError(f"The volumes of a case must be (C, I, J, K) on one grid, not {sorted(shapes)}.")
        if _PLAN in self.volumes:
            raise ValueError(f"A volume cannot be named {_PLAN}.")

    @property
    def shape(self) -> tuple[int, int, int]:
        _, i, j, k = next(iter(self.volumes.values())).tensor.shape
        return i, j, k

    def __getitem__(self, name: str) -> torch.Tensor:
        return self.volumes[name].tensor

    def __contains__(self, name: str) -> bool:
        return name in self.volumes


@dataclass(frozen=True, eq=False)
class _Plan:
    """How a patch is computed: size, centre within the copied part, and the random changes drawn for it.

    Attributes:
        origin: (3,) the first voxel of the part, in the case.
        intensity_changes: one for each channel of the volumes with ``intensity``.
        volumes: whether each is interpolated linearly and whether it is 0 outside, and the dtype of the patch.
    """

    size: tuple[int, int, int]
    center: np.ndarray
    origin: np.ndarray
    deformation: Deformation
    intensity_changes: Mapping[str, tuple[IntensityChange, ...]]
    volumes: Mapping[str, tuple[bool, bool, torch.dtype]]  # linear, padded, dtype


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
    """A voxel index (3,): with probability ``foreground`` in a class chosen evenly, else in the background.

    In a case without ``voxels``, any voxel.
    """
    if not case.voxels:
        return np.array([random.randint(length) for length in case.shape])
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
    shape = np.array(case.shape)
    center = _placed(center, np.array(size), shape, random)
    deformation = random_deformation(augmentation, size, random)
    intensity_changes = {
        name: tuple(random_intensity_change(augmentation, size, random) for _ in volume.tensor)
        for name, volume in case.volumes.items()
        if volume.intensity
    }
    reach = deformation.reach(size)
    # One voxel more on each side, for interpolation; at least one voxel, even if the patch lies outside.
    first = np.clip(np.floor(center - reach).astype(int) - 1, 0, shape - 1)
    last = np.clip(np.ceil(center + reach).astype(int) + 1, first, shape - 1)
    box = (slice(None), *(slice(a, b + 1) for a, b in zip(first, last, strict=True)))
    sample = {name: volume.tensor[box].contiguous() for name, volume in case.volumes.items()}
    resampling = {name: (v.linear, v.padded, v.patch_dtype) for name, v in case.volumes.items()}
    return sample | {_PLAN: _Plan(size, center - first, first, deformation, intensity_changes, resampling)}


def boxes_in_patch(sample: Sample, boxes: np.ndarray) -> np.ndarray:
    """Boxes (N, 6) of a case, centre and size in voxels along its axes, where they lie in the patch of a sample.

    In a turned patch a box is the one around the ellipsoid that fills it: its content is rarely in its corners. Boxes
    beyond the patch stay as they are.

    Raises ValueError for an elastic deformation, in which boxes have no place of their own.
    """
    plan: _Plan = sample[_PLAN]
    if plan.deformation.control is not None:
        raise ValueError("boxes cannot follow an elastic deformation")
    inverse = np.linalg.inv(plan.deformation.matrix)
    size = np.array(plan.size)
    centers = (boxes[:, :3] - plan.center - plan.origin) @ inverse.T + (size - 1) / 2
    for axis in plan.deformation.flips:
        centers[:, axis] = size[axis] - 1 - centers[:, axis]
    extents = np.sqrt((boxes[:, None, 3:] ** 2 * inverse**2).sum(-1))
    return np.concatenate([centers, extents], 1)


def made(sample: Sample, generator: torch.Generator) -> Sample:
    """The patch of a sample from :func:`cut`: each volume (C, I, J, K) by its name.

    A slice (K of 1) comes without its third axis.
    """
    plan: _Plan = sample[_PLAN]
    tensors = {name: sample[name] for name in plan.volumes}
    some = next(iter(tensors.values()))
    grid = plan.deformation.grid(plan.center, plan.size, some.device)
    scale = on_device(2 / np.maximum(np.array(some.shape[1:]) - 1, 1), some.device)
    grid = (grid * scale - 1).flip(-1)[None]  # as grid_sample expects it: -1 to 1, the last axis first
    patch = {}
    for name, (linear, padded, dtype) in plan.volumes.items():
        mode, outside = "bilinear" if linear else "nearest", "border" if linear and not padded else "zeros"
        patch[name] = F.grid_sample(tensors[name][None].float(), grid, mode, outside, align_corners=True)[0].to(dtype)
    flips = [axis + 1 for axis in plan.deformation.flips]
    if flips:
        patch = {name: values.flip(flips) for name, values in patch.items()}
    for name, changes in plan.intensity_changes.items():
        channels = zip(changes, patch[name], strict=True)
        patch[name] = torch.stack([change.apply(channel, generator) for change, channel in channels])
    return {name: values[..., 0] for name, values in patch.items()} if plan.size[2] == 1 else patch


def _placed(center, size, shape, random) -> np.ndarray:
    """The centre, moved by up to a quarter of the patch and so that the patch stays in the image where it can."""
    center = center + random.uniform(-0.25, 0.25, 3) * np.where(size > 1, size, 0)
    lowest, highest = (size - 1) / 2, shape - 1 - (size - 1) / 2
    return np.where(highest >= lowest, np.clip(center, lowest, np.maximum(lowest, highest)), (shape - 1) / 2)
