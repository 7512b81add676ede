"""Derives automatic settings from the data and the device: voxel size, patch, network and batch.

The rules are nnU-Net's (Isensee et al. 2021, 10.1038/s41592-020-01008-z), except that memory is counted for the actual
network instead of being estimated, and that on a CPU speed is the limit: patches start from a typical image and shrink,
along the axis that covers most of it, until a training step fits. The user's own choices stay.
"""

from __future__ import annotations

import bisect
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from MedDeepLib.core import Context
from MedDeepLib.devices import preflight

from SegmentModuleLib.worker.decisions import Configuration
from SegmentModuleLib.worker.fingerprint import Fingerprint, fingerprint
from SegmentModuleLib.worker.memory import Need, memory_to_count_on, patch_of
from SegmentModuleLib.worker.reasons import explain

if TYPE_CHECKING:
    import torch

    from SegmentModuleLib.worker.patch_method import PatchMethod

FEWEST_PATCHES = 2
_MOST_PATCHES = 256
# Largest share of all training voxels in a batch; with more, all steps would be nearly the same.
LARGEST_SHARE_OF_DATA = 0.05
# Smaller patches give a network too little context; along thick slices fewer voxels give as much.
_SHORTEST, _FEWEST_SLICES = 32, 8
# Edge of a patch of cubic voxels that trains at an acceptable speed on two CPU cores, two at a time.
_EDGE_ON_CPU = {3: 64, 2: 192}


def configure(method: PatchMethod, context: Context, dtype: torch.dtype | None) -> PatchMethod:
    """The method with its parameters chosen for the dataset and the device of ``context``, and an explanation.

    Args:
        dtype: of the forward pass where it is not float32.
    """
    images = fingerprint(context.dataset)
    need = Need(images.channels, images.classes, context.device.type, dtype)
    configuration = decide(method, images, need, preflight.free_bytes(context.device))
    configured = configuration.method
    configured.explanation = explain(configuration)
    return configured


def decide(method: PatchMethod, images: Fingerprint, need: Need, free_bytes: int) -> Configuration:
    """The decisions themselves, for a device with ``free_bytes`` of free memory; see :func:`configure`."""
    budget = memory_to_count_on(method.parameters.memory, free_bytes)
    spacing = chosen_spacing(method.parameters.spacing, images)
    spaced = type(method)(replace(method.parameters, spacing=spacing))
    shape = images.shape_at(spacing if method.dimensions == 3 else (*spacing[:2], 0.0))
    fitting = _Fitting(spaced, shape, need, budget)
    chosen = fitting.method()
    batch = method.parameters.batch_size or fitting.batch_size(chosen, math.prod(shape) * images.cases)
    chosen = type(method)(replace(chosen.parameters, batch_size=batch))
    is_whole = all(n >= length for n, length in zip(patch_of(chosen), shape, strict=False))
    return Configuration(method, chosen, images, need, free_bytes, budget, is_whole, fitting.limit)


def chosen_spacing(wanted: tuple[float, ...], images: Fingerprint) -> tuple[float, ...]:
    """The wanted voxel size; where it is 0, the target spacing of the training images."""
    return tuple(float(w or t) for w, t in zip(wanted, images.target_spacing(), strict=True))


def first_fitting(sizes: Sequence[float], load: Callable[[int], float], guess: int) -> int:
    """The index of the first of the decreasing ``sizes`` whose load is at most 1; their count if there is none.

    Loads are about proportional to sizes, so few of them need to be computed.

    Args:
        load: the load of a size by its index; decreases too.
        guess: the index that is tried first.
    """
    first, last, slow = 0, len(sizes), 0
    while first < last:
        width, tried = last - first, min(max(guess, first), last - 1)
        share = load(tried)
        first, last = (first, tried) if share <= 1 else (tried + 1, last)
        slow = slow + 1 if last - first > width / 2 else 0
        # The next guess assumes proportional loads; where that fails twice, bisect.
        guess = bisect.bisect_left(sizes, -sizes[tried] / share, key=lambda size: -size)
        if slow == 2:
            guess, slow = (first + last) // 2, 0
    return last


class _Fitting:
    """Finds the largest patch, and the largest batch, that the device can train with."""

    def __init__(self, method: PatchMethod, shape: tuple[int, ...], need: Need, budget: int):
        """``shape`` is that of a typical image on the network's grid, from which patches start."""
        self._method, self._need, self._budget = method, need, budget
        self._shape = shape[: method.dimensions]
        self._spacing = method.parameters.spacing[: method.dimensions]
        self.limit = ""

    def method(self) -> PatchMethod:
        """The method with the largest patch of which a batch fits; the smallest there is if none does."""
        candidates = list(self._shrinking())
        if len(candidates) == 1:
            return candidates[0]  # nothing smaller is possible
        wanted = self._method.parameters.batch_size
        sizes = [math.prod(patch_of(candidate)) for candidate in candidates]
        number = len(candidates)
        # One patch at a time is for devices that cannot hold two of the smallest.
        for batch in [wanted] if wanted else [FEWEST_PATCHES, 1]:
            loads = functools.partial(self._load_of, candidates, batch)
            number = first_fitting(sizes, loads, len(sizes) // 2)
            if number < len(candidates):
                break
        if number:
            larger = candidates[number - 1]
            self.limit = "speed" if self._time(larger, wanted or FEWEST_PATCHES) > 1 else "memory"
        return candidates[min(number, len(candidates) - 1)]

    def batch_size(self, method: PatchMethod, voxels_of_data: int) -> int:
        """As many patches as fit, at least two if memory allows, but no larger a share of the data than is useful."""
        useful = int(LARGEST_SHARE_OF_DATA * voxels_of_data / math.prod(patch_of(method)))
        if self._memory(method, FEWEST_PATCHES) > 1:
            return 1
        counts = range(min(max(useful, FEWEST_PATCHES), _MOST_PATCHES), FEWEST_PATCHES - 1, -1)
        number = first_fitting(counts, lambda n: self._load(method, counts[n]), len(counts) - 1)
        return counts[min(number, len(counts) - 1)]

    def _load_of(self, candidates: Sequence[PatchMethod], batch: int, number: int) -> float:
        return self._load(candidates[number], batch)

    def _load(self, method: PatchMethod, batch: int) -> float:
        """The time or memory of a step as a share of what is available: up to 1 it fits."""
        time = self._time(method, batch)
        return time if time > 1 else max(time, self._memory(method, batch))

    def _memory(self, method: PatchMethod, batch: int) -> float:
        return self._need.bytes(method, batch) / max(self._budget, 1)

    def _time(self, method: PatchMethod, batch: int) -> float:
        if self._need.device_type != "cpu":
            return 0.0
        return self._need.operations(method, batch) / self._acceptable_work

    @functools.cached_property
    def _acceptable_work(self) -> int:
        """Operations of a step of this method with patches of cubic voxels that a CPU can train with."""
        dimensions = self._method.dimensions
        free = type(self._method)(replace(self._method.parameters, patch_size=(0,) * dimensions))
        cubic = free.fitted((_EDGE_ON_CPU[dimensions],) * dimensions, (1.0,) * dimensions, "cpu")
        return self._need.operations(cubic, FEWEST_PATCHES)

    def _shrinking(self) -> Iterator[PatchMethod]:
        """The method with patches from a typical image's size downwards, always shorter where they cover most of it."""
        candidate: PatchMethod | None = self._fitted(self._shape)
        while candidate is not None:
            yield candidate
            patch = patch_of(candidate)
            shorter = (self._shorter(patch, axis) for axis in self._by_coverage(patch))
            candidate = next((method for method in shorter if method), None)

    def _fitted(self, size: tuple[int, ...]) -> PatchMethod:
        return self._method.fitted(size, self._spacing, self._need.device_type)

    def _by_coverage(self, patch: tuple[int, ...]) -> list[int]:
        """The axes whose size is open, the one along which a patch covers most of an image first."""
        open_axes = [axis for axis, wanted in enumerate(self._method.parameters.patch_size[: len(patch)]) if not wanted]
        return sorted(open_axes, key=lambda axis: (patch[axis] / self._shape[axis], patch[axis]), reverse=True)

    def _shorter(self, patch: tuple[int, ...], axis: int) -> PatchMethod | None:
        """The method with the longest patch that is shorter along one axis and no longer along the others."""
        is_thick = self._spacing[axis] >= 2 * min(self._spacing)
        for length in range(patch[axis] - 1, (_FEWEST_SLICES if is_thick else _SHORTEST) - 1, -1):
            method = self._fitted((*patch[:axis], length, *patch[axis + 1 :]))
            rounded = patch_of(method)
            if rounded != patch and all(r <= p for r, p in zip(rounded, patch, strict=True)):
                return method
        return None
