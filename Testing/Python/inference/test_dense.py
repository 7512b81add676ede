"""A patch classifier evaluated densely: the same numbers as window by window, wherever the windows lie."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
import torch
from MedDeepLib.data.preparation import Prepared
from MedDeepLib.inference.dense import Dense, Parallel
from MedDeepLib.inference.peaks import Peaks
from MedDeepLib.inference.sinks import Scores
from MedDeepLib.inference.sliding import TilingOptions, apply_network, cut_tile
from torch import nn

CPU = torch.device("cpu")


def seeded(*layers: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    network = nn.Sequential(*layers)
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.Conv3d):
            nn.init.normal_(layer.weight, 0, layer.weight[0].numel() ** -0.5)
            nn.init.normal_(layer.bias, 0, 0.5)
    return network.eval()


def plain_3d() -> tuple[nn.Sequential, tuple[int, ...]]:
    layers = [nn.Conv3d(2, 4, (3, 3, 2)), nn.ReLU(), nn.MaxPool3d(2), nn.Conv3d(4, 5, 2), nn.ReLU()]
    return seeded(*layers, nn.Flatten(), nn.Linear(5 * 4 * 4 * 2, 6), nn.ReLU(), nn.Dropout(0.3), nn.Linear(6, 3)), (
        *(12, 12, 8),
    )


def anisotropic() -> tuple[nn.Sequential, tuple[int, ...]]:
    layers = [nn.Conv3d(2, 4, (3, 3, 1)), nn.Tanh(), nn.MaxPool3d((2, 2, 1)), nn.Conv3d(4, 4, (2, 2, 3)), nn.ReLU()]
    more = [nn.MaxPool3d((3, 2, 2)), nn.Flatten(), nn.Linear(4 * 1 * 2 * 2, 5), nn.BatchNorm1d(5), nn.Linear(5, 2)]
    network = seeded(*layers, *more)
    network[8].running_mean.normal_()
    network[8].running_var.uniform_(0.5, 2)
    return network, (11, 12, 6)


def mixed_2d() -> tuple[nn.Sequential, tuple[int, ...]]:
    layers = [nn.Conv2d(2, 4, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, dilation=2)]
    more = [nn.MaxPool2d(3, 2), nn.LeakyReLU(), nn.Conv2d(4, 6, 2, stride=2), nn.Flatten(), nn.Linear(6, 2)]
    return seeded(*layers, *more), (25, 24)


def fully_convolutional() -> tuple[nn.Sequential, tuple[int, ...]]:
    return seeded(nn.Conv3d(2, 4, 3), nn.AvgPool3d(2), nn.Sequential(nn.ReLU(), nn.Conv3d(4, 3, (2, 2, 1)))), (6, 6, 4)


def three_planes() -> tuple[nn.Sequential, tuple[int, ...]]:
    """Three orthogonal slices through the middle of a window of 9 voxels."""
    networks, parts = [], []
    for axis in range(3):
        kernel = tuple(1 if a == axis else 2 for a in range(3))
        pool = tuple(1 if a == axis else 2 for a in range(3))
        networks.append(seeded(nn.Conv3d(2, 3, kernel), nn.ReLU(), nn.MaxPool3d(pool), nn.Conv3d(3, 3, kernel)))
        parts.append(tuple(slice(4, 5) if a == axis else slice(None) for a in range(3)))
    return seeded(Parallel(networks, parts), nn.Linear(3 * 3 * 9, 6), nn.ReLU(), nn.Linear(6, 2)), (9, 9, 9)


NETWORKS = [plain_3d, anisotropic, mixed_2d, fully_convolutional, three_planes]


def image_of(shape, seed=1) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(0, 1, (2, *shape)).astype(np.float32))


def one_by_one(network, image: torch.Tensor, window, stride) -> torch.Tensor:
    """Answers (classes, positions...) of each window on its own."""
    axes = [range(0, n - w + 1, q) for n, w, q in zip(image.shape[1:], window, stride, strict=True)]
    boxes = [
        image[(slice(None), *(slice(s, s + w) for s, w in zip(start, window, strict=True)))]
        for start in itertools.product(*axes)
    ]
    with torch.inference_mode():
        answers = network(torch.stack(boxes)).flatten(1)
    return answers.T.reshape(-1, *map(len, axes))


@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("make", NETWORKS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("more", [(0, 0, 0), (1, 2, 3), (6, 5, 4)])
def test_every_window_gets_the_answer_that_it_gets_alone(make, more, stride):
    network, window = make()
    image = image_of([w + m for w, m in zip(window, more, strict=False)])
    if make is anisotropic and stride != 1:
        stride = (6, stride, 2)  # pooled by three along the first axis
    dense = Dense(network, window, stride)
    with torch.inference_mode():
        answers = dense(image[None])[0]
    expected = one_by_one(network, image, window, dense.stride)
    assert answers.shape == expected.shape
    torch.testing.assert_close(answers, expected, rtol=0, atol=1e-5)


def test_weights_are_those_of_the_classifier_and_it_can_be_trained_meanwhile():
    network, window = plain_3d()
    network.train()
    dense = Dense(network, window)
    assert network.training, "the check leaves it as it was"
    with torch.no_grad():
        network[0].bias += 1
    network.eval()
    image = image_of((14, 13, 9))
    torch.testing.assert_close(dense(image[None])[0], one_by_one(network, image, window, (1, 1, 1)), rtol=0, atol=1e-5)
    assert {id(p) for p in dense.parameters()} == {id(p) for p in network.parameters()}


@pytest.mark.parametrize(
    "layers, window, stride, message",
    [
        ([nn.Conv3d(1, 2, 3, padding=1)], (4, 4, 4), 1, "padding"),
        ([nn.Conv3d(1, 2, 3), nn.MaxPool3d(2, ceil_mode=True)], (5, 5, 5), 1, "padding"),
        ([nn.Conv3d(1, 2, 3), nn.InstanceNorm3d(2)], (4, 4, 4), 1, "InstanceNorm3d"),
        ([nn.Conv3d(1, 2, 3), nn.Flatten(), nn.Linear(7, 2)], (4, 4, 4), 1, "does not fit"),
        ([nn.Conv3d(1, 2, 3), nn.Linear(2, 2)], (3, 3, 3), 1, "Flatten"),
        ([nn.Conv3d(1, 2, 3), nn.MaxPool3d(2)], (2, 2, 2), 1, "smaller"),
        ([nn.Conv3d(1, 2, 3), nn.MaxPool3d(2)], (4, 4, 4), 3, "3 voxels apart"),
    ],
)
def test_what_would_not_be_the_same_is_refused(layers, window, stride, message):
    with pytest.raises(ValueError, match=message):
        Dense(nn.Sequential(*layers), window, stride)


def test_an_image_smaller_than_the_window_is_refused():
    network, window = plain_3d()
    with pytest.raises(ValueError, match="room"):
        Dense(network, window)(torch.zeros(1, 2, 11, 20, 20))


def prepared(image: torch.Tensor) -> Prepared:
    affine = np.diag([0.5, 0.6, 2.0, 1.0])
    affine[:3, 3] = 10, -20, 30
    return Prepared(image, affine, (0, 1, 2), (False,) * 3, tuple(image.shape[1:]), np.ones(3), np.zeros(3))


@pytest.mark.parametrize("flip_axes", [(), (0, 2)])
@pytest.mark.parametrize("size", [(8, 8, 8), (13, 40, 5)])
@pytest.mark.parametrize("make", [plain_3d, three_planes], ids=["plain", "three_planes"])
def test_whole_images_are_answered_up_to_their_mirrored_border(make, size, flip_axes):
    network, window = make()
    image = image_of((17, 9, 11))
    before = [w // 2 for w in window]
    padded = cut_tile(
        image, tuple(-b for b in before), tuple(n + w - 1 for n, w in zip((17, 9, 11), window, strict=True))
    )
    expected = one_by_one(network, padded, window, (1, 1, 1))
    if flip_axes:
        copies = [()] + [(0,), (2,), (0, 2)]
        flipped = [tuple(axis + 1 for axis in axes) for axes in copies]
        answers = [one_by_one(network, padded.flip(axes), window, (1, 1, 1)).flip(axes) for axes in flipped]
        expected = torch.stack(answers).mean(0)
    options = TilingOptions(size, 0.0, 2, whole_image=True, flip_axes=flip_axes, window=window)
    classes = range(len(expected))
    scores = apply_network(Dense(network, window), prepared(image), options, CPU, Scores(classes, "none", blend=False))
    np.testing.assert_allclose(scores, expected.numpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(9, 9, 9), (64, 64, 64)])
def test_peaks_lie_where_the_object_is_whatever_tiles_and_stride(size, stride):
    """A detector of bright spots, by hand: it answers highest when the spot is in the middle of its window."""
    conv, pool = nn.Conv3d(1, 1, (3, 3, 3)), nn.MaxPool3d((2, 2, 1))
    network = nn.Sequential(conv, pool, nn.Flatten(), nn.Linear(3 * 3 * 5, 1))
    for layer in (conv, network[3]):
        nn.init.constant_(layer.weight, 0.0)
        nn.init.constant_(layer.bias, 0.0)
    conv.weight.data[:] = 1 / 27
    network[3].weight.data.view(3, 3, 5)[1, 1, 2] = 1.0
    window = (8, 8, 7)
    image = torch.zeros(1, 40, 36, 21)
    spots = [(10, 12, 8), (30, 20, 14), (0, 35, 0)]
    for i, j, k in spots:
        image[0, max(0, i - 1) : i + 2, max(0, j - 1) : j + 2, max(0, k - 1) : k + 2] = 1.0
    options = TilingOptions(size, 0.0, 1, window=window, stride=(stride, stride, 1), whole_image=True)
    case = prepared(image)
    found = apply_network(
        Dense(network, window, options.stride), case, options, CPU, Peaks([0], "none", threshold=0.3, distance=5.0)
    )
    voxels = (found.points - case.affine[:3, 3]) / np.diag(case.affine)[:3]
    assert len(found) == len(spots)
    for spot in spots:
        assert np.abs(voxels - spot).max(1).min() <= 1.0, (spot, voxels)


def test_air_is_left_out_on_a_coarser_grid_too():
    network, window = plain_3d()
    image = image_of((40, 40, 24)) * 0.01
    image[:, 12:30, 10:28, 8:18] += 5
    calls = []
    dense = Dense(network, window, 2)
    dense.register_forward_hook(lambda module, inputs, output: calls.append(len(output)))
    for whole in (True, False):
        options = TilingOptions((5, 5, 4), 0.0, 1, window=window, stride=(2, 2, 2), whole_image=whole)
        scores = apply_network(dense, prepared(image), options, CPU, Scores([0], "none", blend=False))
        assert scores.shape == (1, 40, 40, 24)
        if whole:
            everywhere, everything = len(calls), scores
    assert len(calls) - everywhere < 0.7 * everywhere
    np.testing.assert_array_equal(scores[0, 16:24, 14:22, 10:16], everything[0, 16:24, 14:22, 10:16])


def test_it_is_many_times_faster_than_window_by_window():
    layers = [nn.Conv3d(2, 8, 3), nn.ReLU(), nn.MaxPool3d(2), nn.Conv3d(8, 8, 3), nn.ReLU()]
    network = seeded(*layers, nn.Flatten(), nn.Linear(8 * 5 * 5 * 5, 16), nn.ReLU(), nn.Linear(16, 2))
    window, image = (16, 16, 16), image_of((36, 36, 36))
    dense = Dense(network, window)
    with torch.inference_mode():
        dense(image[None])
        began = time.perf_counter()
        dense(image[None])
        at_once = time.perf_counter() - began
        boxes = torch.stack([image[:, i : i + 16, :16, :16] for i in range(20)] * 5)
        began = time.perf_counter()
        network(boxes)
        alone = (time.perf_counter() - began) * 21**3 / len(boxes)
    assert at_once < alone / 5, (at_once, alone)
