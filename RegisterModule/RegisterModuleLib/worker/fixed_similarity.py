"""Similarities for many steps on one fixed image: what depends on it alone is computed once, gradients by formula.

They equal those of :mod:`RegisterModuleLib.worker.similarity` up to rounding, and take a fraction of the time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from RegisterModuleLib.worker.box_filters import window_means

OfSquared = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
"""What is averaged, as a function of r², and its derivative by r²."""

_LEAST_SHARE = 1e-3  # of a window that counts
_FLAT = 1e-6  # added to the product of the variances
_TAPS = 4  # bins that a value has a share in


class FixedWindows:
    """A function of r² within a window around each voxel, averaged over the voxels; for images (1, I, J, K)."""

    def __init__(self, fixed: torch.Tensor, windows: Sequence[int], of: OfSquared):
        self._fixed, self._windows, self._of = fixed, windows, of
        self._weight: torch.Tensor | None = None

    def __call__(self, fixed: torch.Tensor, moved: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """As :class:`~RegisterModuleLib.worker.similarity.Similarity`; cheaper for the same ``weight`` again."""
        if weight is not self._weight:
            self._weigh(weight)
        return _WithGradient.apply(moved, self._value_and_gradient)

    def _weigh(self, weight: torch.Tensor) -> None:
        weighted = self._fixed * weight
        share, mean, square = window_means(torch.cat([weight, weighted, weighted * weighted]), self._windows)
        self._weight, self._weighted, self._mean = weight, weighted[0], mean
        self._one_by_share = 1 / share.clamp_min(_LEAST_SHARE)
        self._ratio = mean * self._one_by_share
        self._variance = (square - mean * self._ratio).clamp_min_(0)
        self._total = weight.sum().clamp_min(_FLAT)

    def _value_and_gradient(self, moved: torch.Tensor, with_gradient: bool) -> tuple[torch.Tensor, Any]:
        assert self._weight is not None
        weight, weighted = self._weight[0], self._weighted
        mine = moved[0] * weight
        mean, square, both = window_means(torch.stack([mine, mine * mine, weighted * mine]), self._windows)
        ratio = mean * self._one_by_share
        cross = both.addcmul_(self._mean, ratio, value=-1)
        variance = square.addcmul_(mean, ratio, value=-1)
        varies = variance > 0
        denominator = variance.clamp_min_(0).mul_(self._variance).add_(_FLAT)
        slope = cross / denominator
        values, derivative = self._of(slope * cross)
        value = (values * weight).sum() / self._total
        if not with_gradient:
            return value, None
        # By the window means of fixed times moved, of moved squared, and of moved.
        pull = derivative.mul_(weight).div_(self._total).mul_(slope)
        by_square = (pull * slope).mul_(self._variance).mul_(varies).neg_()
        by_both = pull.mul_(2)
        by_mean = (by_square * ratio).mul_(-2).addcmul_(by_both, self._ratio, value=-1)
        by_both, by_square, by_mean = window_means(torch.stack([by_both, by_square, by_mean]), self._windows)
        gradient = by_mean.addcmul_(by_square, mine, value=2).addcmul_(by_both, weighted).mul_(weight)
        return value, gradient[None]


class FixedHistogram:
    """Negative mutual information of the fixed image's values and those of moved ones, each (1, I, J, K)."""

    def __init__(self, fixed: torch.Tensor, bins: int, stride: int):
        """``stride``: from one voxel that is looked at to the next."""
        self._bins, self._stride = bins, stride
        self._windows = self._dense(*self._shares(fixed.reshape(-1)[::stride])[:2])

    def __call__(self, fixed: torch.Tensor, moved: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        windows = self._windows * weight.reshape(-1)[:: self._stride, None]

        def value_and_gradient(sample: torch.Tensor, with_gradient: bool) -> tuple[torch.Tensor, Any]:
            first, shares, slopes = self._shares(sample)
            joint = windows.T @ self._dense(first, shares)
            with torch.enable_grad():
                joint.requires_grad_()
                value = self._information(joint)
            if not with_gradient:
                return value.detach(), None
            (by_joint,) = torch.autograd.grad(value, joint)
            # Bins beyond both ends exist only for values near them, and count for nothing.
            by_bin = F.pad(windows @ by_joint, (1, 1))
            inside = (sample >= 0) & (sample <= 1)
            return value.detach(), (by_bin.gather(1, first) * slopes).sum(1) * inside * (self._bins - 1)

        return _WithGradient.apply(moved.reshape(-1)[:: self._stride], value_and_gradient)

    @staticmethod
    def _information(joint: torch.Tensor) -> torch.Tensor:
        joint = joint / joint.sum().clamp_min(1e-6)
        apart = joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True)
        return -(joint * ((joint + 1e-8) / (apart + 1e-8)).log()).sum()

    def _shares(self, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Of each value (N,) the four bins it has a share in, its shares of them, and their derivatives: (N, 4) each.

        Bins are counted from one before the first. The window is a cubic B-spline.
        """
        place = values.clamp(0, 1) * (self._bins - 1)
        lower = place.floor().clamp_max_(self._bins - 2)
        t = place - lower
        r = 1 - t
        shares = [r**3 / 6, 2 / 3 - t**2 + t**3 / 2, 2 / 3 - r**2 + r**3 / 2, t**3 / 6]
        slopes = [-(r**2) / 2, 1.5 * t**2 - 2 * t, 2 * r - 1.5 * r**2, t**2 / 2]
        bins = lower.long()[:, None] + torch.arange(_TAPS, device=values.device)
        return bins, torch.stack(shares, 1), torch.stack(slopes, 1)

    def _dense(self, bins: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
        """Shares of all bins (N, bins)."""
        padded = shares.new_zeros((len(shares), self._bins + _TAPS - 2))
        return padded.scatter_(1, bins, shares)[:, 1:-1]


class _WithGradient(torch.autograd.Function):
    """A scalar function that computes its gradient together with its value."""

    @staticmethod
    def forward(ctx: Any, moved: torch.Tensor, compute: Callable) -> torch.Tensor:
        value, gradient = compute(moved.detach(), moved.requires_grad)
        ctx.save_for_backward(gradient)
        return value

    @staticmethod
    def backward(ctx: Any, *wanted: torch.Tensor) -> tuple[torch.Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * wanted[0], None
