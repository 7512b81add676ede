"""The first half of a cascade: window networks applied densely, and the candidates that their map shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from MedDeepLib.core import Context
from MedDeepLib.data.preparation import Prepared
from MedDeepLib.inference.dense import Dense
from MedDeepLib.inference.ladder import apply_within_memory
from MedDeepLib.inference.peaks import Peaks
from MedDeepLib.inference.sinks import Sink
from MedDeepLib.inference.sliding import TilingOptions
from MedDeepLib.training.dense.patches import CachedCase
from MedDeepLib.training.precision import autocast_dtype
from torch import nn

from DetectModuleLib.worker.candidates import Candidates
from DetectModuleLib.worker.windows import Pool, Size, background, lesions

Result = TypeVar("Result")
_TILE_VALUES = 32_000_000  # of the widest layer of a tile: 128 MB in float32


@dataclass(frozen=True, eq=False)
class Screen:
    """What proposes candidates.

    Attributes:
        networks: window networks by name, evaluated densely; their probabilities are averaged.
        window: voxels that they see; (I, J, 1) in 2D.
        stride: voxels from one window to the next.
        orientations: average over the eight turned and mirrored copies of a slice; in 2D, with square windows.
    """

    networks: dict[str, nn.Module]
    window: Size
    stride: Size = (1, 1, 1)
    orientations: bool = False

    def dense(self) -> nn.Module:
        """From an image to the logarithm of the mean probabilities (B, 1 + classes, ...) of its windows."""
        axes = 2 if self.window[2] == 1 else 3
        networks = [Dense(network, self.window[:axes], self.stride[:axes]) for network in self.networks.values()]
        return _Averaged(networks, self.orientations).eval()

    def tile(self, shape: Sequence[int]) -> Size:
        """Windows along each axis that are computed together, for a grid of ``shape``, within bounded memory."""
        layers = [layer for network in self.networks.values() for layer in network.modules()]
        features = max(layer.out_channels for layer in layers if isinstance(layer, (nn.Conv2d, nn.Conv3d)))
        size = [
            1 if w == 1 and n > 1 and axis == 2 else n
            for axis, (n, w) in enumerate(zip(shape, self.window, strict=True))
        ]

        def voxels() -> int:
            return int(np.prod([n * s + w for n, s, w in zip(size, self.stride, self.window, strict=True)]))

        while voxels() * features > _TILE_VALUES and max(size) > 8:
            longest = int(np.argmax(np.array(size) * self.stride))
            size[longest] = -(-size[longest] // 2)
        return size[0], size[1], size[2]


class _Averaged(nn.Module):
    """The logarithm of the mean probabilities of several networks, in several orientations."""

    def __init__(self, networks: Sequence[nn.Module], orientations: bool):
        super().__init__()
        self.networks, self._orientations = nn.ModuleList(networks), orientations

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        total: Any = 0
        views = (
            [(turns, mirrored) for turns in range(4) for mirrored in (False, True)]
            if self._orientations
            else [(0, False)]
        )
        for network in self.networks:
            for turns, mirrored in views:
                view = image.rot90(turns, (2, 3)) if turns else image
                answer = network(view.flip(3) if mirrored else view).float().softmax(1)
                answer = answer.flip(3) if mirrored else answer
                total = total + (answer.rot90(-turns, (2, 3)) if turns else answer)
        return (total / (len(views) * len(self.networks))).clamp_min(1e-12).log()


@dataclass(frozen=True)
class Proposing:
    """How candidates are taken from the map of a screening.

    Attributes:
        threshold: on the probability of a lesion.
        distance: mm; of candidates that are closer only the likeliest stays.
        most: of a case.
        diameters: mm, of the findings of each class.
        whole_image: screen the air around the body too.
        allow_cpu: see :func:`~MedDeepLib.inference.ladder.apply_within_memory`.
    """

    threshold: float
    distance: float
    most: int
    diameters: tuple[float, ...]
    whole_image: bool = False
    allow_cpu: bool = False


def proposing(settings: Any, sizes: np.ndarray, spacing: np.ndarray) -> Proposing:
    """How candidates are taken, for settings of a method (:class:`~DetectModuleLib.patch_method.PatchParameters`).

    Args:
        sizes: (classes, 3) of a typical finding of each class, in voxels of the network's grid.
        spacing: (3,) mm.
    """
    diameters = (np.asarray(sizes) * spacing).mean(1)
    distance = settings.separation or float(diameters.min()) / 2
    threshold = getattr(settings, "candidate_threshold", 0.0)  # where no network screens
    return Proposing(threshold, distance, settings.candidates, tuple(map(float, diameters)))


class Search:
    """How cases are searched: where training looks, and what are candidates. Here: lesions, and peaks of the map."""

    def places(self, case: CachedCase, number: int, most: int, seed: int) -> Pool:
        """Places of a training case, the ``number``-th, with up to ``most`` that show no finding."""
        return lesions(case, number) + background(case, number, most, seed)

    def propose(
        self,
        screen: Screen | None,
        prepared: Prepared,
        how: Proposing,
        context: Context,
        warn: Callable[[str], None],
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Candidates:
        """The candidates of a case on the network's grid, the likeliest first.

        Args:
            screen: trained; None for a search without networks.
            warn: gets a sentence when there are more than are kept, and when memory is short.
        """
        assert screen is not None
        peaks = Peaks(range(1, 1 + len(how.diameters)), "softmax", how.threshold, how.distance, how.most)
        found = screened(screen, prepared, peaks, how, context, warn, progress)
        classes = found.channels.astype(int) - 1
        candidates = Candidates.at(found.points, found.values, np.array(how.diameters)[classes], classes)
        return candidates[: how.most]


def screened(
    screen: Screen,
    prepared: Prepared,
    sink: Sink[Result],
    how: Proposing,
    context: Context,
    warn: Callable[[str], None],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Result:
    """What a sink makes of the dense map of a case."""
    grid = [-(-n // s) for n, s in zip(prepared.image.shape[1:], screen.stride, strict=True)]
    options = TilingOptions(
        screen.tile(grid),
        overlap=0.0,
        whole_image=how.whole_image,
        autocast=autocast_dtype("auto", context.device),
        window=screen.window,
        stride=screen.stride,
    )
    return apply_within_memory(
        screen.dense().to(context.device),
        prepared,
        options,
        context.device,
        sink,
        step=(1, 1, 1),
        warn=warn,
        allow_cpu=how.allow_cpu,
        progress=progress,
        stop_requested=context.stop_requested,
    )
