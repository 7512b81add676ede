"""Evaluates a patch classifier at every voxel of an image, as if window by window, at a fraction of the time.

Neighbouring windows share nearly all of their convolutions. A pooling layer of stride 2 keeps every second position; so
the windows that begin at even voxels need other pooled values than those that begin at odd ones. Both are computed, as
two *fragments* that all later layers treat as two images of a batch (max-pooling fragments: Giusti et al. 2013,
10.1109/ICIP.2013.6738831; the same numbers as dilated convolutions, with kernels that every library has made fast).
Dense layers become convolutions. In the end the fragments are interleaved.

    network = nn.Sequential(nn.Conv3d(1, 32, 3), nn.ReLU(), nn.MaxPool3d(2), nn.Flatten(), nn.Linear(32 * 7**3, 2))
    network(windows)                                    # (B, 1, 16, 16, 16) to (B, 2), for training
    Dense(network, (16, 16, 16))(image)                 # (B, 1, I, J, K) to (B, 2, I - 15, J - 15, K - 15)

Applied to whole images by :func:`~MedDeepLib.inference.sliding.apply_network` with ``TilingOptions(window=...)``, which
answers for every voxel: the window about voxel v begins at ``v - window // 2``, and the image is mirrored at its border
(without repeating the outermost voxel). Training must cut its windows alike.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

_CONVOLUTIONS = (nn.Conv2d, nn.Conv3d)
_POOLINGS = (nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool2d, nn.AvgPool3d)
# They see one position at a time, so that it does not matter how many there are.
_POINTWISE = (
    *(
        nn.ReLU,
        nn.LeakyReLU,
        nn.PReLU,
        nn.ELU,
        nn.GELU,
        nn.SiLU,
        nn.Tanh,
        nn.Sigmoid,
        nn.Identity,
        nn.LocalResponseNorm,
    ),
    *(nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d),
)


class Parallel(nn.Module):
    """Several networks that look at parts of one window; their features (B, F), side by side, are the output.

        Parallel([xy, xz], [(slice(None), slice(None), slice(7, 8)), (slice(None), slice(7, 8), slice(None))])

    The first layer of a network, if any. Each slice has the lengths that its network expects.
    """

    def __init__(self, networks: Sequence[nn.Module], parts: Sequence[tuple[slice, ...]]):
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.parts = [tuple(part) for part in parts]

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Features (B, F) of windows (B, C, I, J[, K])."""
        everything = (slice(None), slice(None))
        parts = zip(self.networks, self.parts, strict=True)
        return torch.cat([network(windows[(*everything, *part)]).flatten(1) for network, part in parts], 1)


@dataclass(frozen=True)
class _Fragments:
    """Values of all windows, on their way through the layers.

    Attributes:
        values: (fragments * B, C, ...); fragments of the last strided layer first.
        step: voxels of the image from one position of a fragment to the next, per axis.
        extent: positions of a fragment that one window covers, per axis.
        offsets: of each strided layer, how many fragments it has made of each one, per axis.
        flat: whether the window's values are one vector, for dense layers.
    """

    values: torch.Tensor
    step: tuple[int, ...]
    extent: tuple[int, ...]
    offsets: list[tuple[int, ...]] = field(default_factory=list)
    flat: bool = False


class Dense(nn.Module):
    """A patch classifier that answers for every window of an image; shares its weights with the classifier.

    The classifier is an ``nn.Sequential`` of convolutions and pooling (without padding, any stride), whatever sees one
    position at a time (activations, dropout, batch normalisation), ``nn.Flatten`` and ``nn.Linear``; it may be nested,
    and begin with :class:`Parallel` branches.
    """

    def __init__(self, network: nn.Module, window: Sequence[int], stride: Sequence[int] | int = 1):
        """
        Args:
            window: of the classifier: voxels (I, J) or (I, J, K).
            stride: voxels from one window to the next, per axis. It divides a product of the classifier's strides,
                layer by layer, or is a multiple of all of it; that product makes it as quick as the classifier on one
                large image, with as coarse an answer.

        Raises ValueError for a layer that would not give the same densely, and for a window or stride that does not
        fit.
        """
        super().__init__()
        self.network, self.window = network, tuple(int(n) for n in window)
        self.stride = (stride,) * len(self.window) if isinstance(stride, int) else tuple(int(n) for n in stride)
        self._check()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Answers (B, classes, ...) of all windows of (B, C, I, J[, K]): (length - window) // stride + 1 per axis.

        Raises ValueError for an image smaller than the window.
        """
        size = image.shape[2:]
        if len(size) != len(self.window) or any(n < w for n, w in zip(size, self.window, strict=True)):
            raise ValueError(f"The image {tuple(size)} must have room for the window {self.window}.")
        return self._evaluated(self.network, image, self.window)

    def _evaluated(self, network: nn.Module, image: torch.Tensor, window: tuple[int, ...]) -> torch.Tensor:
        state = self._through(network, _Fragments(image, (1,) * len(window), window))
        return self._interleaved(state, image, window)

    def _through(self, layer: nn.Module, state: _Fragments) -> _Fragments:
        if isinstance(layer, nn.Sequential):
            for inner in layer:
                state = self._through(inner, state)
            return state
        if isinstance(layer, Parallel):
            return self._branches(layer, state)
        if isinstance(layer, _CONVOLUTIONS):
            return _convolved(layer, state, self.stride)
        if isinstance(layer, _POOLINGS):
            kernel, stride = _each(layer.kernel_size, state), _each(layer.stride, state)
            return _strided(layer, kernel, stride, state, self.stride)
        if isinstance(layer, nn.Flatten):
            return replace(state, flat=True)
        if isinstance(layer, nn.Linear):
            return _dense(layer, state)
        if isinstance(layer, nn.BatchNorm1d):
            return replace(state, values=_normalised(layer, state.values))
        return replace(state, values=layer(state.values))

    def _branches(self, layer: Parallel, state: _Fragments) -> _Fragments:
        answers = []
        for network, part in zip(layer.networks, layer.parts, strict=True):
            spans = [cut.indices(n)[:2] for cut, n in zip(part, self.window, strict=True)]
            lengths = zip(spans, self.window, state.values.shape[2:], strict=True)
            box = [slice(low, length - (whole - high)) for (low, high), whole, length in lengths]
            window = tuple(high - low for low, high in spans)
            answers.append(self._evaluated(network, state.values[(slice(None), slice(None), *box)], window))
        return _Fragments(torch.cat(answers, 1), self.stride, (1,) * len(self.window), flat=True)

    def _interleaved(self, state: _Fragments, image: torch.Tensor, window: tuple[int, ...]) -> torch.Tensor:
        if any(n != 1 for n in state.extent):  # a branch without a dense layer: all positions are features
            state = _unfolded(state)
        values = state.values
        for counts in reversed(state.offsets):
            values = _woven(values, counts)
        positions = [(n - w) // q + 1 for n, w, q in zip(image.shape[2:], window, self.stride, strict=True)]
        every = [max(1, q // s) for q, s in zip(self.stride, state.step, strict=True)]
        box = [slice(0, (n - 1) * e + 1, e) for n, e in zip(positions, every, strict=True)]
        return values[(slice(None), slice(None), *box)]

    def _check(self) -> None:
        for layer in self.network.modules():
            known = (nn.Sequential, nn.ModuleList, Parallel, nn.Flatten, nn.Linear)
            if not isinstance(layer, (*known, *_CONVOLUTIONS, *_POOLINGS, *_POINTWISE)):
                raise ValueError(f"A {type(layer).__name__} is not evaluated densely.")
            padding = getattr(layer, "padding", 0)
            padded = padding != "valid" if isinstance(padding, str) else any(_tuple(padding))
            if isinstance(layer, (*_CONVOLUTIONS, *_POOLINGS)) and (padded or getattr(layer, "ceil_mode", False)):
                raise ValueError("Layers with padding give other values at the border of a window: use none.")
        first = next((layer for layer in self.network.modules() if isinstance(layer, _CONVOLUTIONS)), None)
        if first is None:
            raise ValueError("A network without a convolution has nothing to share between windows.")
        training = self.network.training
        try:
            with torch.no_grad():
                self.network.eval()
                self(torch.zeros(1, first.in_channels, *self.window, device=first.weight.device))
        except RuntimeError as error:
            raise ValueError(f"The window {self.window} does not fit the layers: {error}") from None
        finally:
            self.network.train(training)


def _convolved(layer: Any, state: _Fragments, wanted: tuple[int, ...]) -> _Fragments:
    reach = zip(_each(layer.kernel_size, state), _each(layer.dilation, state), strict=True)
    kernel = tuple((k - 1) * d + 1 for k, d in reach)
    return _strided(layer, kernel, _each(layer.stride, state), state, wanted)


def _strided(operation: Any, kernel, stride, state: _Fragments, wanted: tuple[int, ...]) -> _Fragments:
    """A convolution or pooling on every fragment that wanted windows need."""
    values = state.values
    extent = tuple((e - k) // p + 1 for e, k, p in zip(state.extent, kernel, stride, strict=True))
    if min(extent) < 1:
        raise ValueError("The window is smaller than its layers need.")
    offsets = [_offsets(p, s, q) for p, s, q in zip(stride, state.step, wanted, strict=True)]
    step = tuple(s * p for s, p in zip(state.step, stride, strict=True))
    if all(len(of_axis) == 1 for of_axis in offsets):
        return replace(state, values=operation(values), step=step, extent=extent)
    # As many positions in each fragment: what is added at the far end belongs to no window of the image.
    lengths = [((n - k) // p) * p + k for n, k, p in zip(values.shape[2:], kernel, stride, strict=True)]
    missing = [max(0, o[-1] + m - n) for o, m, n in zip(offsets, lengths, values.shape[2:], strict=True)]
    if any(missing):
        values = F.pad(values, [n for end in reversed(missing) for n in (0, end)])
    parts = []
    for first in itertools.product(*offsets):
        box = [slice(o, o + n) for o, n in zip(first, lengths, strict=True)]
        parts.append(operation(values[(slice(None), slice(None), *box)]))
    counts = tuple(len(of_axis) for of_axis in offsets)
    return replace(state, values=torch.cat(parts), step=step, extent=extent, offsets=[*state.offsets, counts])


def _offsets(stride: int, step: int, wanted: int) -> list[int]:
    """Where fragments begin, so that windows ``wanted`` voxels apart are among them."""
    after = step * stride
    if wanted % after == 0:
        return [0]
    if step % wanted == 0:
        return list(range(stride))
    if wanted % step == 0 and after % wanted == 0:
        return list(range(0, stride, wanted // step))
    raise ValueError(f"Windows {wanted} voxels apart do not fit a layer that takes steps from {step} to {after}.")


def _dense(layer: nn.Linear, state: _Fragments) -> _Fragments:
    """A dense layer as a convolution over all positions that a window covers."""
    if not state.flat:
        raise ValueError("A dense layer needs nn.Flatten before it.")
    convolution = F.conv2d if len(state.extent) == 2 else F.conv3d
    weight = layer.weight.view(layer.out_features, -1, *state.extent)
    values = convolution(state.values, weight, layer.bias)
    return replace(state, values=values, extent=(1,) * len(state.extent))


def _unfolded(state: _Fragments) -> _Fragments:
    """Every position that a window covers as a channel of its own, in the order of ``flatten(1)``."""
    values = state.values
    for axis, length in enumerate(state.extent):
        values = values.unfold(2 + axis, length, 1)  # the new axis comes last
    dims = len(state.extent)
    order = [0, 1, *range(2 + dims, 2 + 2 * dims), *range(2, 2 + dims)]
    values = values.permute(order).flatten(1, 1 + dims)
    return replace(state, values=values, extent=(1,) * dims)


def _woven(values: torch.Tensor, counts: tuple[int, ...]) -> torch.Tensor:
    """The fragments (counts * B, C, ...) of one layer as one image (B, C, ...)."""
    dims = len(counts)
    values = values.unflatten(0, (*counts, -1))  # counts, B, C, positions
    order = [dims, dims + 1]
    for axis in range(dims):
        order += [dims + 2 + axis, axis]
    values = values.permute(order)
    for axis in range(dims):
        values = values.flatten(2 + axis, 3 + axis)
    return values


def _normalised(layer: nn.BatchNorm1d, values: torch.Tensor) -> torch.Tensor:
    """Batch normalisation of what were vectors."""
    return layer(values.flatten(2)).unflatten(2, values.shape[2:])


def _each(value: Any, state: _Fragments) -> tuple[int, ...]:
    return _tuple(value, len(state.extent))


def _tuple(value: Any, count: int = 1) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, Sequence) else (int(value),) * count
