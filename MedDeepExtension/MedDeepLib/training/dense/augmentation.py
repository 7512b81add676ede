"""Random deformation and intensity changes of training patches.

Drawing the random parameters is cheap and happens where samples are made; applying them happens on the training device.
"""

from __future__ import annotations

import math
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
        intensity: 0: values are unchanged; 1: strong changes of gain, offset, gamma, bias field, blur and noise.
        probability: how often a patch is deformed, and how often each change of values is made.
    """

    rotation: float = 10.0
    scaling: float = 0.1
    elastic: float = 0.0
    flip_axes: tuple[int, ...] = ()
    intensity: float = 0.5
    probability: float = 0.7


@dataclass(frozen=True, eq=False)
class Deformation:
    """Where the voxels of a patch lie in an image, relative to the patch's centre, in voxels.

    Attributes:
        matrix: (3, 3), from voxels of the patch to voxels of the image.
        control: (3, A, B, C) float32, displacements of control points that are spread evenly over the patch; or None.
        flips: axes of the patch that are mirrored.
    """

    matrix: np.ndarray
    control: np.ndarray | None = None
    flips: tuple[int, ...] = ()

    def reach(self, size: tuple[int, int, int]) -> np.ndarray:
        """How far from the centre, along each axis of the image, the patch can reach, in voxels (3,)."""
        half = (np.array(size) - 1) / 2
        elastic = 0.0 if self.control is None else np.abs(self.control).max(axis=(1, 2, 3))
        return np.abs(self.matrix) @ half + elastic

    def grid(self, center: np.ndarray, size: tuple[int, int, int], device: torch.device) -> torch.Tensor:
        """Image coordinates in voxels (I, J, K, 3) of the voxels of a patch about ``center``."""
        axes = [torch.arange(n, dtype=torch.float32, device=device) - (n - 1) / 2 for n in size]
        m = on_device(self.matrix, device)
        i, j, k = axes[0][:, None, None, None], axes[1][None, :, None, None], axes[2][None, None, :, None]
        grid = i * m[:, 0] + j * m[:, 1] + k * m[:, 2] + on_device(center, device)
        if self.control is None:
            return grid
        control = on_device(self.control, device)[None]
        return grid + F.interpolate(control, size, mode="trilinear", align_corners=True)[0].permute(1, 2, 3, 0)


@dataclass(frozen=True, eq=False)
class IntensityChange:
    """How the values of one channel change, as another scanner or sequence might change them.

    Attributes:
        gamma: exponent of the values between their lowest and highest; 1: none.
        gain, offset: values become gain * value + offset.
        bias: (A, B, C) float32 control points of a smooth bias field b, by which a value v becomes v + (v - lowest) *
            b; or None.
        blur: standard deviation in voxels; 0: none.
        noise: standard deviation; 0: none.
    """

    gamma: float = 1.0
    gain: float = 1.0
    offset: float = 0.0
    bias: np.ndarray | None = None
    blur: float = 0.0
    noise: float = 0.0

    def apply(self, channel: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """The channel (I, J, K) with its values changed."""
        low, high = channel.amin(), channel.amax()
        if self.gamma != 1.0:
            extent = (high - low).clamp_min(1e-6)
            channel = ((channel - low) / extent) ** self.gamma * extent + low
        if self.gain != 1.0 or self.offset != 0.0:
            channel = channel * self.gain + self.offset
        if self.bias is not None:
            field = on_device(self.bias, channel.device)[None, None]
            field = F.interpolate(field, tuple(channel.shape), mode="trilinear", align_corners=True)[0, 0]
            channel = channel + (channel - low) * field
        if self.blur > 0:
            channel = blurred(channel, self.blur)
        if self.noise > 0:
            noise = torch.randn(channel.shape, generator=generator, device=channel.device)
            channel = channel.add(noise, alpha=self.noise)
        return channel


def random_deformation(
    augmentation: Augmentation, size: tuple[int, int, int], random: np.random.RandomState
) -> Deformation:
    """A random rotation, scaling, elastic deformation and mirroring; in 2D (one slice) only within the slice."""
    flat, matrix, control = size[2] == 1, np.eye(3), None
    if random.uniform() < augmentation.probability:
        matrix = _random_matrix(augmentation, flat, random)
        if augmentation.elastic > 0:
            points = [4 if n > 1 else 1 for n in size]
            control = random.normal(0, augmentation.elastic, (3, *points)).astype(np.float32)
            control[2] *= not flat
    flips = tuple(axis for axis in augmentation.flip_axes if random.uniform() < 0.5)
    return Deformation(matrix, control, flips)


def random_intensity_change(
    augmentation: Augmentation, size: tuple[int, int, int], random: np.random.RandomState
) -> IntensityChange:
    """Random changes of the values of one channel."""
    strength, probability = augmentation.intensity, augmentation.probability
    if strength <= 0:
        return IntensityChange()
    changes = {}
    if random.uniform() < probability:
        changes["gamma"] = float(np.exp(random.uniform(-0.7, 0.7) * strength))
    if random.uniform() < probability:
        changes["gain"] = 1 + 0.3 * strength * random.uniform(-1, 1)
        changes["offset"] = 0.3 * strength * random.uniform(-1, 1)
    if random.uniform() < probability:
        points = [3 if n > 1 else 1 for n in size]
        changes["bias"] = random.uniform(-0.4 * strength, 0.4 * strength, points).astype(np.float32)
    if random.uniform() < 0.5 * probability:
        changes["blur"] = random.uniform(0.3, 1.0) * strength
    if random.uniform() < probability:
        changes["noise"] = 0.15 * strength * random.uniform()
    return IntensityChange(**changes)


def on_device(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """A small array as float32 on the device, copied without making the CPU wait."""
    return torch.from_numpy(np.array(array, np.float32)).to(device, non_blocking=True)


def blurred(channel: torch.Tensor, sigma: float) -> torch.Tensor:
    """A channel (I, J, K) smoothed by a Gaussian of ``sigma`` voxels; border values are replicated outside."""
    radius = max(1, math.ceil(2 * sigma))
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float32, device=channel.device)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = kernel / kernel.sum()
    smooth = channel[None, None]
    for axis, length in enumerate(channel.shape):
        if length > 1:
            padding = [radius if n // 2 == 2 - axis else 0 for n in range(6)]
            shape = [-1 if n == axis + 2 else 1 for n in range(5)]
            smooth = F.conv3d(F.pad(smooth, padding, mode="replicate"), kernel.reshape(shape))
    return smooth[0, 0]


def _random_matrix(augmentation: Augmentation, flat: bool, random: np.random.RandomState) -> np.ndarray:
    """A random rotation and scaling (3, 3) in voxels."""
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
