"""Padding of CT images: the value that scanners write around the field of view, such as -3024; it is not a measurement.

Nothing is darker than air, which is -1000 HU and stored as no less than -1024. A single value far below this range that
fills the border of an image is padding. Backgrounds at or above -1024 (air in CT, 0 in MR) never are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from MedDeepLib.data.sources.image import Image

_AIR = (-1024.0, -1000.0)  # HU that padding is replaced by: the lowest measured value within these limits
_DARKEST = -1100.0  # HU of air with its noise
_BRIGHTEST = 4096.0  # HU of nearly all tissue; an image with higher values is not a CT in HU
_GAP = 200.0  # HU between padding and the darkest measured values
_LEAST_BORDER = 0.01  # share of the border's voxels
_BLENDED = 0.05  # share of the other voxels that may be blends of padding and image, after interpolation
_TOLERANCE = 1.0  # HU


def find_padding(channel: np.ndarray) -> float | None:
    """The padding of one channel (I, J, K), e.g. -3024, or None where there is none."""
    lowest = float(channel.min())
    if not lowest < _DARKEST:
        return None
    padded = channel <= lowest + _TOLERANCE
    faces = [padded.take(end, axis) for axis, n in enumerate(channel.shape) if n > 1 for end in (0, -1)]
    if sum(face.sum() for face in faces) < _LEAST_BORDER * sum(face.size for face in faces):
        return None
    measured = channel[~padded]
    if not measured.size:
        return None
    sample = measured[:: max(1, measured.size // 500_000)]
    darkest, brightest = np.quantile(sample, (_BLENDED, 1 - _BLENDED))
    return lowest if darkest >= max(_DARKEST, lowest + _GAP) and brightest <= _BRIGHTEST else None


def fill_padding(channels: np.ndarray) -> None:
    """Replace the padding in each channel of (C, I, J, K), and voxels blended with it, by air, in place."""
    for channel in channels:
        padding = find_padding(channel)
        if padding is not None:
            measured = channel[channel >= _AIR[0]]
            air = np.clip(measured.min() if measured.size else _AIR[0], *_AIR)
            np.maximum(channel, channel.dtype.type(air), out=channel)


def without_padding(image: Image) -> Image:
    """The image with its padding replaced by air; the image itself where there is none."""
    if not has_padding(image):
        return image
    array = image.array.copy(order="K")
    fill_padding(array)
    return Image(array, image.affine, image.path, image.metadata)


def has_padding(image: Image) -> bool:
    """Whether a channel has padding."""
    return any(find_padding(channel) is not None for channel in image.array)


def padding_in_words(images: Sequence[Image]) -> str:
    """The note about padding in a result: one sentence, or "" if there is none."""
    found = [[value for value in map(find_padding, image.array) if value is not None] for image in images]
    values = sorted({value for of_one in found for value in of_one}, reverse=True)
    if not values:
        return ""
    count = sum(map(bool, found))
    which = f"{count} of {len(images)} images {'has' if count == 1 else 'have'}" if len(images) > 1 else "The image has"
    numbers = " and ".join(f"{value:.0f}" for value in values)
    return f"{which} padding of {numbers} around the scanned field: it was treated as air."
