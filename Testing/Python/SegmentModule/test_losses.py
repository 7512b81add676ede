"""Losses, the separating weight map, and the largest piece of a prediction."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from SegmentModuleLib.worker.losses import SegmentationLoss
from SegmentModuleLib.worker.prediction import keep_largest_components
from SegmentModuleLib.worker.separation import separation_weights

NAMES = ["dice_ce", "dice", "cross_entropy"]


def batch(shape=(2, 1, 6, 6, 6), classes: int = 3, weight=None) -> dict:
    label = torch.from_numpy(np.random.default_rng(0).integers(0, classes, shape))
    return {"label": label} | ({} if weight is None else {"weight": weight})


def scores(shape=(2, 3, 6, 6, 6)) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), requires_grad=True)


@pytest.mark.parametrize("name", NAMES)
def test_voxels_of_weight_zero_have_no_gradient(name):
    weight = torch.ones(2, 1, 6, 6, 6)
    weight[:, :, :3] = 0
    output = scores()
    SegmentationLoss(name)(output, batch(weight=weight)).backward()
    assert (output.grad[:, :, :3] == 0).all()
    assert (output.grad[:, :, 3:] != 0).any()


@pytest.mark.parametrize("name", NAMES)
def test_what_lies_under_weight_zero_changes_nothing(name):
    weight = torch.ones(2, 1, 6, 6, 6)
    weight[:, :, :3] = 0
    one, other = batch(weight=weight), batch(weight=weight)
    other["label"] = other["label"].clone()
    other["label"][:, :, :3] = 2 - other["label"][:, :, :3]
    assert torch.equal(SegmentationLoss(name)(scores(), one), SegmentationLoss(name)(scores(), other))


@pytest.mark.parametrize("name", NAMES)
def test_weights_of_one_are_no_weights(name):
    plain = SegmentationLoss(name)(scores(), batch())
    weighted = SegmentationLoss(name)(scores(), batch(weight=torch.ones(2, 1, 6, 6, 6)))
    torch.testing.assert_close(plain, weighted)


def test_cross_entropy_is_the_weighted_mean():
    weight = torch.rand(2, 1, 6, 6, 6, generator=torch.Generator().manual_seed(2))
    sample = batch(weight=weight)
    output = scores()
    probability = output.softmax(1).gather(1, sample["label"])
    expected = (-probability.log() * weight).sum() / weight.sum()
    torch.testing.assert_close(SegmentationLoss("cross_entropy")(output, sample), expected)


def test_dice_against_the_formula():
    sample, output = batch(), scores()
    expected = []
    for value in (1, 2):
        p, t = output.softmax(1)[:, value], (sample["label"][:, 0] == value).float()
        expected.append(2 * (p * t).sum() / (p.sum() + t.sum()))
    assert float(SegmentationLoss("dice")(output, sample)) == pytest.approx(1 - float(sum(expected)) / 2, abs=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_perfect_answer_costs_nothing_and_a_wrong_one_much(name):
    sample = batch()
    right = torch.nn.functional.one_hot(sample["label"][:, 0], 3).movedim(-1, 1) * 50.0
    assert float(SegmentationLoss(name)(right, sample)) == pytest.approx(0, abs=1e-4)
    assert float(SegmentationLoss(name)(right.roll(1, dims=1), sample)) > 0.9


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_without_structures_gives_finite_gradients(name):
    output = scores()
    loss = SegmentationLoss(name)(output, {"label": torch.zeros(2, 1, 6, 6, 6, dtype=torch.long)})
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(output.grad).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_that_counts_nowhere_gives_finite_gradients(name):
    output = scores()
    loss = SegmentationLoss(name)(output, batch(weight=torch.zeros(2, 1, 6, 6, 6)))
    loss.backward()
    assert float(loss) == 0 and (output.grad == 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_two_dimensions(name):
    loss = SegmentationLoss(name)(scores((2, 3, 6, 6)), batch((2, 1, 6, 6)))
    assert torch.isfinite(loss)


# --- the separating weight map ---------------------------------------------------------------------------------------


def brute_force(labels: np.ndarray, strength: float, sigma: float) -> np.ndarray:
    """Equation 2 of the U-Net paper, voxel by voxel; every connected component of every class is an object."""
    objects = pieces(labels)
    weights = np.ones(labels.shape)
    for voxel in np.argwhere(labels == 0):
        distances = sorted(min(np.linalg.norm(voxel - other) for other in piece) for piece in objects)
        if len(distances) >= 2:
            between = distances[0] + distances[1]
            weights[tuple(voxel)] += strength * np.exp(-(between**2) / (2 * sigma**2))
    return weights


def pieces(labels: np.ndarray) -> list[np.ndarray]:
    """Face-connected components of equal label as arrays of indices (N, axes), by flood fill."""
    left = {tuple(index) for index in np.argwhere(labels)}
    found = []
    while left:
        waiting = [left.pop()]
        piece = []
        while waiting:
            voxel = waiting.pop()
            piece.append(voxel)
            for axis in range(labels.ndim):
                for step in (-1, 1):
                    neighbour = tuple(c + step * (a == axis) for a, c in enumerate(voxel))
                    if neighbour in left and labels[neighbour] == labels[voxel]:
                        left.remove(neighbour)
                        waiting.append(neighbour)
        found.append(np.array(piece))
    return found


def small_labels(seed: int, shape) -> np.ndarray:
    random = np.random.default_rng(seed)
    labels = np.zeros(shape, np.uint8)
    for value in (1, 2, 1, 2, 1):
        place = [int(random.integers(0, n - 2)) for n in shape]
        labels[tuple(slice(p, p + int(random.integers(1, 4))) for p in place)] = value
    return labels


@pytest.mark.parametrize("seed", range(4))
def test_weights_against_brute_force_in_3d(seed):
    labels = small_labels(seed, (9, 8, 7))
    expected = brute_force(labels, 10, 2.0)
    np.testing.assert_allclose(separation_weights(labels, 10, 2.0, 3), expected, atol=10 * 4e-4)


@pytest.mark.parametrize("seed", range(4))
def test_weights_against_brute_force_in_2d(seed):
    """Slices are independent: an object in the next slice does not count."""
    labels = np.stack([small_labels(10 * seed + k, (12, 11)) for k in range(3)], axis=-1)
    expected = np.stack([brute_force(labels[..., k], 10, 2.0) for k in range(3)], axis=-1)
    weights = separation_weights(labels, 10, 2.0, 2)
    np.testing.assert_allclose(weights, expected, atol=10 * 4e-4)
    assert weights.dtype == np.float32 and weights.shape == labels.shape


@pytest.mark.parametrize("labels", [np.zeros((5, 5, 5), np.uint8), np.ones((5, 5, 5), np.uint8)])
def test_weights_where_nothing_is_between(labels):
    assert (separation_weights(labels, 10, 2.0, 3) == 1).all()


def test_one_object_alone_has_no_neighbour():
    labels = np.zeros((9, 9, 1), np.uint8)
    labels[3:5, 3:5] = 1
    assert (separation_weights(labels, 10, 2.0, 2) == 1).all()


# --- the largest piece -----------------------------------------------------------------------------------------------


def test_only_the_largest_piece_of_every_class_is_kept():
    labels = np.zeros((12, 12, 12), np.uint8)
    labels[1:4, 1:4, 1:4] = 1
    labels[4, 4, 4] = 1  # touches by a corner
    labels[8:10, 8:10, 8:10] = 1
    labels[9:12, 0:2, 0:2] = 3
    labels[6, 6, 6] = 3
    expected = labels.copy()
    expected[8:10, 8:10, 8:10] = 0
    expected[6, 6, 6] = 0
    view = np.flip(labels.transpose(2, 0, 1), 1)
    keep_largest_components(view, 3)
    np.testing.assert_array_equal(labels, expected)
