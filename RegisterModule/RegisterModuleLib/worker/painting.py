"""Images of random contrast painted from label maps, so that a network learns shapes and not intensities.

After SynthMorph (Hoffmann et al. 2022, 10.1109/TMI.2021.3116879): every structure gets a random intensity; sharpness,
shading, exponent and noise are random as well. A network trained on such pairs registers any contrast with any other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from MedDeepLib.training.dense.augmentation import blurred

_SHADING_POINTS = 4
_ALIKE, _FEW_TISSUES = 0.8, 0.6  # how often left is painted as right, and structures by a few tissues


def painted(
    shares: torch.Tensor, is_structure: np.ndarray, twins: np.ndarray, random: np.random.RandomState, bare: float
) -> torch.Tensor:
    """A random image (1, I, J, K), 0 in the background and up to about 1 elsewhere.

    Args:
        shares: (V, I, J, K) uint8, how much of a voxel has each label value, 255 all of it; the first is background.
        is_structure: (V,) whether a value is one of the structures that are to be aligned.
        twins: (V,) index of the value that each one looks like: left and right mostly look alike.
        bare: how often everything else is left out, as after brain extraction.
    """
    values = random.uniform(0.05, 1.0, len(shares))
    if random.uniform() < _FEW_TISSUES:  # as in a real image, where most structures are of one of a few tissues
        tissues = random.uniform(0.05, 1.0, random.randint(3, 7))
        values = (random.choice(tissues, len(shares)) + random.normal(0, 0.03, len(shares))).clip(0.02, 1.0)
    if random.uniform() < _ALIKE:
        values = values[twins]
    values = values.astype(np.float32)
    values[0] = 0.0 if random.uniform() < 0.8 else values[0] * 0.5
    if random.uniform() < bare:
        values[~is_structure] = 0.0
    used = np.flatnonzero(values)
    image = torch.zeros(shares.shape[1:])
    for index in used:
        image.add_(shares[index], alpha=float(values[index]) / 255)
    return image[None]


def twin_values(names: Mapping[int, str], values: np.ndarray) -> np.ndarray:
    """For each of some label values the index of the first one with the same name but for "left" and "right"."""
    kinds = [
        re.sub(r"\b(left|right)\b", "", names.get(int(value), str(value)), flags=re.IGNORECASE) for value in values
    ]
    return np.array([kinds.index(kind) for kind in kinds])


def disturbed(image: torch.Tensor, strength: float, random: np.random.RandomState) -> torch.Tensor:
    """An image (C, I, J, K) of values from 0 to 1 as another scanner might have made it; 0 to 1 again.

    ``strength`` 0: unchanged; 1: as strongly as in the paper.
    """
    if strength <= 0:
        return rescaled(image)
    channels = []
    for channel in image:
        if random.uniform() < 0.5:
            channel = blurred(channel, 0.3 + 0.7 * strength * random.uniform())
        points = [_SHADING_POINTS if n > 1 else 1 for n in channel.shape]
        shading = random.normal(0, 0.3 * strength * random.uniform(), points).astype(np.float32)
        shading = F.interpolate(
            torch.from_numpy(shading)[None, None], channel.shape, mode="trilinear", align_corners=True
        )
        channel = channel * shading[0, 0].exp()
        noise = 0.08 * strength * random.uniform()
        generator = torch.Generator().manual_seed(int(random.randint(2**31)))
        channel = (channel + noise * torch.randn(channel.shape, generator=generator)).clamp_min(0)
        channels.append(channel)
    image = rescaled(torch.stack(channels))
    return image ** float(np.exp(random.normal(0, 0.25 * strength)))


def rescaled(image: torch.Tensor) -> torch.Tensor:
    """Each channel with its values stretched to 0 to 1, except for a few outliers."""
    stretched = []
    for channel in image:
        flat = channel.reshape(-1)
        sample = flat[:: max(1, flat.numel() // 50_000) | 1]
        low, high = torch.quantile(sample, torch.tensor([0.005, 0.998], device=sample.device))
        stretched.append(((channel - low) / (high - low).clamp_min(1e-6)).clamp(0, 1))
    return torch.stack(stretched)
