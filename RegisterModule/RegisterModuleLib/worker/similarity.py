"""How alike two images are, as losses to be minimised; ``weight`` says which voxels count.

Unless said otherwise, images are (1, I, J, K) with values from 0 to 1, weights (1, I, J, K) from 0 to 1.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F

from RegisterModuleLib.worker.fixed_similarity import FixedHistogram, FixedWindows

_BINS = 32
_MOST_SAMPLES = 50_000
_NOISE = 0.02  # share of the variance that is never explained


class Similarity(Protocol):
    """The objective of gradient steps on a pair: a function, or an object with a trained network::

        class Learned:
            def __init__(self, network):
                self._network = network

            def __call__(self, fixed, moving, weight):
                return (self._network(torch.cat([fixed, moving])[None])[0] * weight).sum() / weight.sum()

    One that needs the voxel size, or computes something once for a fixed image, is also a :class:`Prepares`.
    """

    def __call__(self, fixed: torch.Tensor, moving: torch.Tensor, weight: torch.Tensor, /) -> torch.Tensor:
        """The dissimilarity of two images (C, I, J, K) on one grid: a scalar, lower is more similar.

        Gradients must flow through ``moving``, the moving image at the voxels of the fixed one. ``weight``
        (1, I, J, K) from 0 to 1 says which voxels count, and is 0 where the moving image does not reach.
        """
        ...


@runtime_checkable
class Prepares(Protocol):
    """A similarity that needs the fixed image before the steps of a resolution."""

    def prepare(self, fixed: torch.Tensor, spacing: np.ndarray) -> Similarity:
        """The similarity for the steps at one resolution.

        Args:
            fixed: (C, I, J, K) on the grid that both images will be compared on.
            spacing: (3,) voxel size of this grid in mm.
        """
        ...


def prepared(metric: Similarity, fixed: torch.Tensor, spacing: np.ndarray) -> Similarity:
    """The similarity for one resolution, see :class:`Prepares`."""
    return metric.prepare(fixed, spacing) if isinstance(metric, Prepares) else metric


def mean_square(fixed: torch.Tensor, moved: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Mean squared difference."""
    return _mean((fixed - moved) ** 2, weight)


def correlation(fixed: torch.Tensor, moved: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """1 - r² of all voxels: 0 if one image is a linear function of the other, even an inverted one."""
    total = weight.sum().clamp_min(1e-6)
    fixed = fixed - (weight * fixed).sum() / total
    moved = moved - (weight * moved).sum() / total
    cross = (weight * fixed * moved).sum()
    return 1 - cross**2 / ((weight * fixed**2).sum() * (weight * moved**2).sum()).clamp_min(1e-8)


class LocalCorrelation:
    """1 - r² within a window around each voxel, averaged (Avants et al. 2008, 10.1016/j.media.2007.06.004)."""

    def __init__(self, window: int = 7):
        """``window``: edge in voxels; an even one is made odd, to have a centre."""
        self._window = window | 1

    def __call__(self, fixed: torch.Tensor, moved: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return 1 - _mean(self.squared(fixed, moved, weight), weight)

    def squared(self, fixed: torch.Tensor, moved: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """r² (1, I, J, K) around each voxel."""
        fixed, moved = fixed * weight, moved * weight
        parts = torch.cat([weight, fixed, moved, fixed * fixed, moved * moved, fixed * moved])
        n, f, m, ff, mm, fm = self._means(parts).unbind()
        n = n.clamp_min(1e-3)
        cross = fm - f * m / n
        variances = (ff - f * f / n).clamp_min(0) * (mm - m * m / n).clamp_min(0)
        return (cross * cross / (variances + 1e-6))[None]

    def prepare(self, fixed: torch.Tensor, spacing: np.ndarray) -> Similarity:
        """See :class:`Prepares`."""
        return FixedWindows(fixed, self._windows(fixed), self._of_squared)

    def _of_squared(self, squared: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return 1 - squared, torch.full_like(squared, -1.0)

    def _windows(self, images: torch.Tensor) -> list[int]:
        return [min(self._window, length - 1 + length % 2) for length in images.shape[1:]]

    def _means(self, images: torch.Tensor) -> torch.Tensor:
        means = images[None]
        for axis, window in enumerate(self._windows(images)):
            if window > 1:
                size = [window if n == axis else 1 for n in range(3)]
                padding = [window // 2 if n == axis else 0 for n in range(3)]
                means = F.avg_pool3d(means, size, 1, padding)
        return means[0]


class LocalInformation(LocalCorrelation):
    """Negative mutual information -½ ln(1 - r²) of Gaussian intensities within a window around each voxel, averaged.

    Compared with r² itself, regions that match well get larger gradients and regions that cannot match smaller ones, as
    in a likelihood with unknown noise: one smoothness weight then suits similar and dissimilar images.
    """

    def __call__(self, fixed: torch.Tensor, moved: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        unexplained = (1 - self.squared(fixed, moved, weight)).clamp_min(0)
        return _mean((unexplained + _NOISE).log() / 2, weight)

    def _of_squared(self, squared: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        unexplained = 1 - squared
        possible = unexplained >= 0
        unexplained = unexplained.clamp_min_(0).add_(_NOISE)
        return unexplained.log().div_(2), possible / unexplained.mul_(-2)


class MutualInformation:
    """Negative mutual information of Parzen-windowed intensities (Mattes et al. 2003, 10.1109/TMI.2003.809072)."""

    def __init__(self, bins: int = _BINS, most_samples: int = _MOST_SAMPLES):
        """Images with more voxels than ``most_samples`` are subsampled evenly."""
        self._bins, self._most = bins, most_samples

    def __call__(self, fixed: torch.Tensor, moved: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        fixed, moved, weight = fixed.reshape(-1), moved.reshape(-1), weight.reshape(-1)
        stride = self._stride(fixed)
        fixed, moved, weight = fixed[::stride], moved[::stride], weight[::stride]
        joint = (self._windows(fixed) * weight[:, None]).T @ self._windows(moved)
        joint = joint / joint.sum().clamp_min(1e-6)
        apart = joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True)
        return -(joint * ((joint + 1e-8) / (apart + 1e-8)).log()).sum()

    def prepare(self, fixed: torch.Tensor, spacing: np.ndarray) -> Similarity:
        """See :class:`Prepares`."""
        return FixedHistogram(fixed, self._bins, self._stride(fixed))

    def _stride(self, image: torch.Tensor) -> int:
        stride = -(-image.numel() // self._most)
        # An odd stride walks through all columns of an image whose rows have an even length.
        return stride + (stride > 1 and stride % 2 == 0)

    def _windows(self, values: torch.Tensor) -> torch.Tensor:
        """Share of each value (N,) in each bin (N, bins): a cubic B-spline."""
        bins = torch.arange(self._bins, dtype=values.dtype, device=values.device)
        distance = (values.clamp(0, 1)[:, None] * (self._bins - 1) - bins).abs()
        near = 2 / 3 - distance**2 + distance**3 / 2
        far = (2 - distance).clamp_min(0) ** 3 / 6
        return torch.where(distance < 1, near, far)


def similarity(name: str, window: int = 7) -> Similarity:
    """The similarity of that name, one of ``parameters.SIMILARITIES``; the mean over the channels."""
    metrics: dict[str, Similarity] = {
        "local-correlation": LocalCorrelation(window),
        "local-information": LocalInformation(window),
        "correlation": correlation,
        "mutual-information": MutualInformation(),
        "mean-square": mean_square,
    }
    return _MeanOverChannels(metrics[name])


class _MeanOverChannels:
    """A similarity of single channels for images (C, I, J, K)."""

    def __init__(self, of_one: Similarity):
        self._of_one = of_one

    def __call__(self, fixed: torch.Tensor, moved: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        channels = zip(fixed, moved, strict=True)
        return torch.stack([self._of_one(f[None], m[None], weight) for f, m in channels]).mean()

    def prepare(self, fixed: torch.Tensor, spacing: np.ndarray) -> Similarity:
        """See :class:`Prepares`."""
        of_channels = [prepared(self._of_one, channel[None], spacing) for channel in fixed]

        def of_all(fixed: torch.Tensor, moved: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
            channels = zip(of_channels, fixed, moved, strict=True)
            return torch.stack([of_one(f[None], m[None], weight) for of_one, f, m in channels]).mean()

        return of_all


def _mean(values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return (weight * values).sum() / weight.sum().clamp_min(1e-6)
