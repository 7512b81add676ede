"""Windows of the patch methods: where they are cut, which are drawn, and which candidates count as hits."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from DetectModuleLib.worker.candidates import Candidates, judged, thinned
from DetectModuleLib.worker.networks import windows as networks
from DetectModuleLib.worker.windows import (
    WindowBatches,
    area_under_curve,
    background,
    lesions,
    pool_scores,
    turned_windows,
    window,
)
from MedDeepLib.inference.dense import Dense
from MedDeepLib.inference.sliding import cut_tile
from MedDeepLib.training.dense.augmentation import Augmentation
from MedDeepLib.training.dense.patches import CachedCase, Volume

PLAIN = Augmentation(rotation=0, scaling=0, intensity=0)


def case(shape=(40, 36, 24), boxes=((10, 12, 8, 6, 6, 4), (30, 20, 14, 4, 8, 6)), seed=0) -> CachedCase:
    image = torch.from_numpy(np.random.default_rng(seed).normal(1, 0.1, (1, *shape)).astype(np.float32))
    boxes = torch.tensor(np.array(boxes, np.float32).reshape(-1, 6))
    extras = {"boxes": boxes, "classes": torch.arange(len(boxes)) % 2}
    places = {0: np.random.default_rng(seed).integers(0, shape, (600, 3))}
    return CachedCase({"image": Volume(image, linear=True, intensity=True)}, places, extras)


@pytest.mark.parametrize("size", [(7, 7, 5), (8, 6, 4)])
@pytest.mark.parametrize("voxel", [(20, 18, 12), (1, 0, 23), (39, 35, 0)])
def test_the_middle_of_a_window_is_the_voxel(voxel, size):
    image = case()["image"]
    cut = window(image, np.array(voxel, float), size)
    middle = tuple(n // 2 for n in size)
    assert cut.shape == (1, *size) and cut[(0, *middle)] == image[(0, *voxel)]
    both = np.array([voxel, voxel], float)
    turned = turned_windows([image, image], both, size, np.stack([np.eye(3), np.diag([-1.0, 1.0, 1.0])]))
    torch.testing.assert_close(turned[0], cut, rtol=0, atol=1e-5)
    torch.testing.assert_close(turned[1][(0, *middle)], image[(0, *voxel)], rtol=0, atol=1e-5)
    if all(n % 2 for n in size):
        torch.testing.assert_close(turned[1], cut.flip(1), rtol=0, atol=1e-5)


def test_between_voxels_it_is_interpolated():
    image = case()["image"]
    (half,) = turned_windows([image], np.array([[20.5, 18, 12]]), (5, 5, 5), np.eye(3)[None])
    both = cut_tile(image, (18, 16, 10), (6, 5, 5))
    torch.testing.assert_close(half, (both[:, :-1] + both[:, 1:]) / 2, rtol=0, atol=1e-5)


def test_a_turned_window_shows_the_image_turned():
    image = torch.zeros(1, 30, 30, 10)
    image[0, 20, 15, 5] = 1.0  # 5 voxels beside the middle along the first axis
    turn = np.array([[[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]]])
    (turned,) = turned_windows([image], np.array([[15.0, 15, 5]]), (13, 13, 3), turn)
    assert turned[0, 6, 11, 1] == pytest.approx(1.0, abs=1e-5) and turned.sum() == pytest.approx(1.0, abs=1e-4)


def test_places_in_the_background_keep_away_from_lesions():
    one = case()
    found = background(one, 3, 500, seed=1)
    assert len(found) > 400 and set(found.cases) == {3} and not found.labels.any()
    boxes = one.extras["boxes"].numpy()
    apart = np.abs(found.voxels[:, None] - boxes[:, :3])
    assert not (apart <= boxes[:, 3:]).all(2).any()
    assert (found.voxels >= 0).all() and (found.voxels < (40, 36, 24)).all()
    again = background(one, 3, 500, seed=1)
    np.testing.assert_array_equal(found.voxels, again.voxels)
    assert len(background(case(boxes=np.zeros((0, 6))), 0, 50, seed=1)) == 50


def test_half_of_the_samples_show_a_lesion_and_errors_decide_about_the_others():
    one = case()
    pool = lesions(one, 0) + background(one, 0, 50, seed=1)
    batches = WindowBatches([one["image"]], pool, (6, 6, 4), 30, PLAIN, 0.0, seed=2)
    labels = Counter(int(label) for n in range(20) for label in batches(n)["label"])
    assert labels[0] == pytest.approx(300, abs=45) and labels[1] == pytest.approx(150, abs=40)
    errors = np.zeros(50)
    errors[7] = 1.0
    batches.errors.update(errors)
    wanted = window(one["image"], pool.voxels[2 + 7], (6, 6, 4))
    batch = batches(3)
    assert all(torch.equal(image, wanted) for image in batch["image"][batch["label"] == 0])


@pytest.mark.parametrize("size, shape", [((6, 6, 4), (1, 6, 6, 4)), ((7, 8, 1), (1, 7, 8))])
def test_a_batch_depends_on_its_number_only_and_windows_are_moved_and_turned(size, shape):
    one = case()
    pool = lesions(one, 0) + background(one, 0, 50, seed=1)
    augmentation = Augmentation(20, 0.2, flip_axes=(0, 1))
    batches = WindowBatches([one["image"]], pool, size, 8, augmentation, 2.0, seed=2)
    first = [batches(n) for n in range(4)]
    again = [batches(n) for n in reversed(range(4))][::-1]
    assert all(torch.equal(a["image"], b["image"]) for a, b in zip(first, again, strict=True))
    windows = torch.cat([batch["image"] for batch in first])
    assert windows.shape == (32, *shape) and len({float(image.sum()) for image in windows}) == 32
    assert windows.isfinite().all()


def test_scores_of_a_pool_come_in_its_order_whatever_the_batch():
    one = case()
    pool = background(one, 0, 23, seed=1)

    def network(windows):
        return torch.stack([windows.mean((1, 2, 3, 4)), torch.zeros(len(windows))], 1)

    few, many = (pool_scores(network, [one["image"]], pool, (6, 6, 4), torch.device("cpu"), n) for n in (4, 100))
    torch.testing.assert_close(few, many)
    assert few.shape == (23, 2)
    mean = window(one["image"], pool.voxels[5], (6, 6, 4)).mean()
    assert float(few[5, 0]) == pytest.approx(float(torch.sigmoid(mean)), abs=1e-5)


def test_hits_misses_and_what_lies_between():
    boxes, classes = np.array([[10, 10, 10, 6, 6, 4], [30, 10, 10, 4, 4, 4.0]]), np.array([0, 1])
    voxels = np.array([[10, 10, 10], [13, 10, 10], [15, 10, 10], [20, 10, 10], [30, 12, 10], [30, 10, 15.1]])
    assert judged(voxels, boxes, classes).tolist() == [1, 1, -1, 0, 2, 0]
    assert judged(voxels, np.zeros((0, 6)), np.zeros(0)).tolist() == [0] * 6


def test_of_close_candidates_the_likeliest_stays():
    points = [[0, 0, 0], [1, 0, 0], [2.5, 0, 0], [9, 0, 0]]
    found = Candidates.at(points, [0.5, 0.9, 0.4, 0.2], 3.0, 1)
    assert thinned(found.points, found.scores, 2.0, 10).tolist() == [1, 3]
    assert thinned(found.points, found.scores, 0.0, 3).tolist() == [1, 0, 2]
    assert found[[1, 3]].points[:, 0].tolist() == [1, 9] and found.classes.tolist() == [1, 1, 1, 1]
    again = Candidates.from_tensors(found.tensors())
    np.testing.assert_array_equal(again.points, found.points)
    nothing = Candidates.empty()
    assert len(thinned(nothing.points, nothing.scores, 1.0, 5)) == len(nothing) == 0


def test_candidates_know_their_voxels_on_any_grid():
    affine = np.array([[0, -0.5, 0, 3], [2.0, 0, 0, -7], [0, 0, 1.5, 1], [0, 0, 0, 1]])
    voxels = np.array([[1.0, 2, 3], [4, 5.5, 6]])
    points = voxels @ affine[:3, :3].T + affine[:3, 3]
    np.testing.assert_allclose(Candidates.at(points).voxels(affine), voxels, atol=1e-12)


def test_the_area_under_the_curve():
    truth = np.array([False, False, True, True])
    assert area_under_curve(np.array([0.1, 0.2, 0.3, 0.4]), truth) == 1.0
    assert area_under_curve(np.array([0.1, 0.3, 0.3, 0.4]), truth) == 0.875
    assert np.isnan(area_under_curve(np.array([0.1]), truth[:1]))


@pytest.mark.parametrize(
    "make",
    [
        networks.microbleed_screen,
        networks.microbleed_discriminator,
        *(lambda c, o, w, level=level: networks.level_network(level, c, o, w) for level in range(3)),
        *(
            lambda c, o, w, layers=layers: (networks.mitosis_network(layers, c, o, w), (101, 101))
            for layers in (13, 11)
        ),
        lambda c, o, w: networks.three_planes(15, c, o, w),
    ],
)
def test_every_network_takes_its_window_and_is_evaluated_densely(make):
    network, size = make(2, 3, 0.1)
    network.eval()
    image = torch.randn(1, 2, *(n + 1 for n in size))
    with torch.inference_mode():
        answers = Dense(network, size)(image)
        corner = network(image[(slice(None), slice(None), *(slice(1, None) for _ in size))])
    assert answers.shape == (1, 3, *(2 for _ in size))
    torch.testing.assert_close(answers.flatten(2)[..., -1], corner, rtol=0, atol=1e-5)


def test_published_sizes():
    """As the notes in the docstrings say: parameters of the convolutions and the first dense layer."""
    screen, _ = networks.microbleed_screen(1, 2, 1.0)
    assert [tuple(p.shape) for p in screen.parameters() if p.ndim > 1] == [
        (64, 1, 5, 5, 3),
        (64, 64, 3, 3, 3),
        (64, 64, 3, 3, 1),
        (150, 64 * 2 * 2 * 2),
        (2, 150),
    ]
    judge, _ = networks.microbleed_discriminator(1, 2, 1.0)
    assert [tuple(p.shape) for p in judge.parameters() if p.ndim > 1][2:] == [
        (500, 64 * 3 * 3 * 4),
        (100, 500),
        (2, 100),
    ]
