"""The strides of a network at each resolution, and the kernels of its convolutions.

As nnU-Net does (Isensee et al. 2021, 10.1038/s41592-020-01008-z): the finest axes are halved first, until voxels are
about as long along all axes; an axis is left alone once it is short. A convolution reaches to neighbours along an axis
only where these are not much farther away than those along the others.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from MedDeepLib.errors import UserError

FEWEST_LEVELS, MOST_LEVELS = 3, 8
AUTOMATIC = "automatic"
# Voxels that an axis must have to be halved, so that half of them are left.
_ENOUGH_VOXELS = 8
# An axis with voxels this many times longer than the shortest is not halved yet, and its neighbours count as far.
_COARSE = 2.0

Axes = tuple[int, ...]


@dataclass(frozen=True)
class Topology:
    """The strides and kernels of a network, one entry for every resolution, the finest first.

    Attributes:
        strides: downsampling factor of each axis on entering that resolution.
        kernels: kernel size of its convolutions along each axis.
    """

    strides: tuple[Axes, ...]
    kernels: tuple[Axes, ...]

    @property
    def steps(self) -> Axes:
        """Voxels along each axis that one voxel of the coarsest resolution covers."""
        return tuple(math.prod(axis) for axis in zip(*self.strides, strict=True))


def isotropic(levels: int, dimensions: int, at_half: bool) -> Topology:
    """All axes are halved at every resolution; ``at_half`` also on entering the first."""
    first = (2 if at_half else 1,) * dimensions
    return Topology((first, *[(2,) * dimensions] * (levels - 1)), ((3,) * dimensions,) * levels)


def chosen_topology(
    size: Sequence[int],
    given: Sequence[bool],
    spacing: Sequence[float],
    levels: int,
    at_half: bool,
    strides: tuple[Axes, ...] = (),
) -> Topology:
    """The topology for patches of about ``size`` voxels.

    Args:
        size: of the patch along each axis.
        given: whether that size is fixed; otherwise it may be rounded up.
        spacing: voxel size along each axis.
        levels: number of resolutions; 0: as many as the patch has voxels for.
        at_half: compute at half the resolution from the beginning.
        strides: if they are given, only the kernels are chosen.

    Raises UserError when a fixed size cannot be halved often enough.
    """
    state = _Resolution(list(map(int, size)), list(given), list(map(float, spacing)))
    chosen, kernels = [], []
    while len(chosen) < (levels or MOST_LEVELS):
        if strides:
            axes = [axis for axis, factor in enumerate(strides[len(chosen)]) if factor > 1]
        elif not chosen:
            axes = state.fine_axes() if at_half else []
        else:
            axes = state.axes_with_enough_voxels()
            if not axes and len(chosen) >= (levels or FEWEST_LEVELS):
                break
            axes = axes or state.fine_axes()  # a requested depth, or the minimum
        if not axes and not strides and (chosen or at_half):
            raise _too_few(size, (levels or FEWEST_LEVELS) - 1 + at_half)
        chosen.append(state.halve(axes))
        kernels.append(state.kernel(chosen[-1]))
    kernels[-1] = (3,) * len(size)  # at the coarsest resolution everything is near
    return Topology(tuple(chosen), tuple(kernels))


def in_words(entries: Sequence[Axes]) -> str:
    """``((1, 1, 1), (2, 2, 1))`` as "1x1x1, 2x2x1"."""
    return ", ".join("x".join(map(str, axes)) for axes in entries)


def from_words(text: str, name: str, dimensions: int, allowed: Sequence[int]) -> tuple[Axes, ...]:
    """The inverse of :func:`in_words`; raises UserError that names the parameter."""
    entries = []
    for word in filter(None, re.split(r"[,;\s]+", text.strip().lower())):
        numbers = tuple(int(number) for number in word.split("x") if number.isdecimal())
        if len(numbers) != dimensions or word.count("x") != dimensions - 1 or not set(numbers) <= set(allowed):
            example = "x".join([str(allowed[-1])] * dimensions)
            choices = " or ".join(map(str, allowed))
            raise UserError(
                f"{name} needs {dimensions} numbers ({choices}) joined by x for each resolution, such as {example}, "
                f"not '{word}'; or {AUTOMATIC}."
            )
        entries.append(numbers)
    return tuple(entries)


class _Resolution:
    """Voxels and their size at one resolution of a network."""

    def __init__(self, size: list[int], given: list[bool], spacing: list[float]):
        self._size, self._given, self._spacing = size, given, spacing
        self._has_near_neighbours = [False] * len(size)

    def fine_axes(self) -> list[int]:
        """The axes that are not coarse and whose size, if fixed, is even."""
        return [axis for axis in self._fine(range(len(self._size))) if self._can_be_halved(axis)]

    def axes_with_enough_voxels(self) -> list[int]:
        """The axes that are not coarse, among those that are long enough."""
        long = [axis for axis, n in enumerate(self._size) if n >= _ENOUGH_VOXELS and self._can_be_halved(axis)]
        return self._fine(long)

    def halve(self, axes: Sequence[int]) -> Axes:
        for axis in axes:
            self._size[axis] = -(-self._size[axis] // 2)
            self._spacing[axis] *= 2
        return tuple(2 if axis in axes else 1 for axis in range(len(self._size)))

    def kernel(self, stride: Axes) -> Axes:
        """The kernel of the convolutions here; an axis whose neighbours were near once keeps a kernel of 3."""
        for axis in [*self._fine(range(len(self._size))), *(axis for axis, n in enumerate(stride) if n > 1)]:
            self._has_near_neighbours[axis] = True
        return tuple(3 if near else 1 for near in self._has_near_neighbours)

    def _fine(self, axes: Sequence[int]) -> list[int]:
        finest = min((self._spacing[axis] for axis in axes), default=0.0)
        return [axis for axis in axes if self._spacing[axis] < _COARSE * finest]

    def _can_be_halved(self, axis: int) -> bool:
        return not self._given[axis] or self._size[axis] % 2 == 0


def _too_few(size: Sequence[int], times: int) -> UserError:
    return UserError(
        f"A patch of {' x '.join(map(str, size))} cannot be halved {times} time{'s' if times > 1 else ''}, as this "
        f"network needs: choose a patch_size in multiples of {2**times}, or fewer resolutions."
    )
