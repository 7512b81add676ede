"""The window networks of the patch methods: one window in, scores of background and classes out.

Each is a plain ``nn.Sequential`` of convolutions without padding, pooling and dense layers, so that
:class:`~MedDeepLib.inference.dense.Dense` evaluates it at every voxel. ``width`` scales the number of features; 1 is
the published size. Facts marked V were read in a public source, those marked R are recalled and may differ from the
paper in a detail.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from MedDeepLib.inference.dense import Parallel
from torch import nn

Size = tuple[int, int, int]


def window_network(
    window: Sequence[int],
    channels: int,
    layers: Sequence[tuple],
    dense: Sequence[int],
    outputs: int,
    dropout: float = 0.0,
) -> nn.Sequential:
    """Convolutions, pooling and dense layers on a window of ``window`` voxels, 2D or 3D, each with a ReLU.

    Args:
        layers: a convolution is (features, kernel), a max pooling is its kernel alone.
        dense: features of the dense layers before the last one, which has ``outputs``.
        dropout: before each dense layer.

    Raises ValueError for a window that the layers do not fit.
    """
    flat = len(window) == 2
    convolution, pooling = (nn.Conv2d, nn.MaxPool2d) if flat else (nn.Conv3d, nn.MaxPool3d)
    features, size, made = channels, list(window), []
    for layer in layers:
        if isinstance(layer[-1], tuple):
            count, kernel = layer
            made += [convolution(features, count, kernel), nn.ReLU()]
            features, size = count, [n - k + 1 for n, k in zip(size, kernel, strict=True)]
        else:
            made.append(pooling(layer))
            size = [n // k for n, k in zip(size, layer, strict=True)]
        if min(size) < 1:
            raise ValueError(f"A window of {tuple(window)} is too small for the layers.")
    made += [nn.Flatten(), *dense_layers(features * math.prod(size), dense, outputs, dropout)]
    return initialised(nn.Sequential(*made))


def dense_layers(features: int, dense: Sequence[int], outputs: int, dropout: float) -> list[nn.Module]:
    made: list[nn.Module] = []
    for count in dense:
        made += [nn.Dropout(dropout)] if dropout else []
        made += [nn.Linear(features, count), nn.ReLU()]
        features = count
    made += [nn.Dropout(dropout)] if dropout else []
    return [*made, nn.Linear(features, outputs)]


def initialised(network: nn.Sequential) -> nn.Sequential:
    """Weights that keep the variance through layers with ReLU (He et al. 2015, 10.1109/ICCV.2015.123).

    With torch's own defaults the signal fades in ten layers, and such small networks do not begin to learn.
    """
    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.Conv3d, nn.Linear)):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
    last = network[-1]
    assert isinstance(last, (nn.Conv2d, nn.Conv3d, nn.Linear))
    nn.init.normal_(last.weight, 0.0, 0.01)  # the answer of an untrained network is that it does not know
    return network


def microbleed_screen(channels: int, outputs: int, width: float) -> tuple[nn.Sequential, Size]:
    """Dou 2016's screening network on 16 x 16 x 10 (R): 64 maps 5x5x3, pooling 2, 64 3x3x3, 64 3x3x1, dense 150."""
    f = _scaled(64, width)
    window = 16, 16, 10
    layers = [(f, (5, 5, 3)), (2, 2, 2), (f, (3, 3, 3)), (f, (3, 3, 1))]
    return window_network(window, channels, layers, [_scaled(150, width)], outputs, 0.3), window


def microbleed_discriminator(channels: int, outputs: int, width: float) -> tuple[nn.Sequential, Size]:
    """Dou 2016's discriminator on 20 x 20 x 16 (V, of a re-implementation).

    32 maps 7x7x5, pooling 2, 64 maps 5x5x3, dense 500 and 100, dropout .3.
    """
    window = 20, 20, 16
    layers = [(_scaled(32, width), (7, 7, 5)), (2, 2, 2), (_scaled(64, width), (5, 5, 3))]
    return window_network(window, channels, layers, [_scaled(500, width), _scaled(100, width)], outputs, 0.3), window


def level_network(level: int, channels: int, outputs: int, width: float) -> tuple[nn.Sequential, Size]:
    """Dou 2017's networks of three receptive fields, ``level`` 0 to 2.

    20 x 20 x 6 (V): 64 maps 5x5x3, 5x5x3, 5x5x1, dense 150. 30 x 30 x 10 (V): three times 64 maps 5x5x3, dense 250;
    pooling 2x2x1 (R) after the first. 40 x 40 x 26 (V): the same with pooling 2x2x2 (R).
    """
    f = _scaled(64, width)
    window = ((20, 20, 6), (30, 30, 10), (40, 40, 26))[level]
    if level == 0:
        layers, dense = [(f, (5, 5, 3)), (f, (5, 5, 3)), (f, (5, 5, 1))], 150
    else:
        pooling = (2, 2, 1) if level == 1 else (2, 2, 2)
        layers, dense = [(f, (5, 5, 3)), pooling, (f, (5, 5, 3)), (f, (5, 5, 3))], 250
    return window_network(window, channels, layers, [_scaled(dense, width)], outputs, 0.2), window


def mitosis_network(layers: int, channels: int, outputs: int, width: float) -> nn.Sequential:
    """Ciresan 2013's networks of 13 or 11 layers on 101 x 101 pixels (R: 16 maps each, dense 100).

    13: kernels 2, 3, 3, 2, 2, each with pooling 2. 11: kernels 4, 4, 4, 3, each with pooling 2.
    """
    f = _scaled(16, width)
    kernels = {13: (2, 3, 3, 2, 2), 11: (4, 4, 4, 3)}[layers]
    made: list = [layer for k in kernels for layer in ((f, (k, k)), (2, 2))]
    return window_network((101, 101), channels, made, [_scaled(100, width)], outputs)


def three_planes(edge: int, channels: int, outputs: int, width: float) -> tuple[nn.Sequential, Size]:
    """Wolterink 2016's 2.5D: the three orthogonal slices through the middle of a cube, a branch each (V).

    The layers of a branch are not given where we read: 32 maps 3x3, twice, pooling 2, 64 maps 3x3, dense 128 for all.
    """
    few, many = _scaled(32, width), _scaled(64, width)
    middle = slice(edge // 2, edge // 2 + 1)
    branches, parts = [], []
    for across in range(3):
        kernel, pooling = _flat(3, across), _flat(2, across)
        layers = [nn.Conv3d(channels, few, kernel), nn.ReLU(), nn.Conv3d(few, few, kernel), nn.ReLU()]
        layers += [nn.MaxPool3d(pooling), nn.Conv3d(few, many, kernel), nn.ReLU()]
        branches.append(nn.Sequential(*layers))
        parts.append(tuple(middle if axis == across else slice(None) for axis in range(3)))
    left = (edge - 4) // 2 - 2
    if left < 1:
        raise ValueError(f"A window of {edge} is too small for the layers.")
    dense = dense_layers(3 * many * left**2, [_scaled(128, width)], outputs, 0.5)
    return initialised(nn.Sequential(Parallel(branches, parts), *dense)), (edge, edge, edge)


def _scaled(count: int, width: float) -> int:
    return max(2, round(count * width))


def _flat(length: int, across: int) -> tuple[int, int, int]:
    """A size that is 1 along the axis ``across``."""
    i, j, k = (1 if axis == across else length for axis in range(3))
    return i, j, k
