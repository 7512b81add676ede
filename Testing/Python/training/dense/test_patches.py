"""Patches: the right voxels, deformed as planned, whichever part of the image is copied to the device."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from MedDeepLib.training.dense import patches
from MedDeepLib.training.dense.augmentation import (
    Augmentation,
    Deformation,
    IntensityChange,
    blurred,
    random_deformation,
)
from MedDeepLib.training.dense.patches import CachedCase, Volume, cut, made, random_center
from MedDeepLib.training.randomness import random_state
from scipy import ndimage

PLAIN = Augmentation(rotation=0, scaling=0, elastic=0, intensity=0, probability=0)
WILD = Augmentation(rotation=40, scaling=0.3, elastic=3, flip_axes=(0, 1, 2), intensity=0, probability=1)
CPU = torch.device("cpu")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def segmentation(image, label, voxels, weight=None) -> CachedCase:
    volumes = {"image": Volume(image, linear=True, intensity=True), "label": Volume(label, dtype=torch.long)}
    return CachedCase(volumes if weight is None else volumes | {"weight": Volume(weight)}, voxels)


def coordinates(shape=(40, 30, 20)) -> CachedCase:
    """A case whose three channels are the voxel's own indices, and whose label is a ball."""
    index = torch.stack(torch.meshgrid(*[torch.arange(float(n)) for n in shape], indexing="ij"))
    middle = torch.tensor([(n - 1) / 2 for n in shape])[:, None, None, None]
    label = (((index - middle) ** 2).sum(0) < 36)[None].to(torch.uint8)
    return segmentation(index, label, {0: np.array([[1, 1, 1]]), 1: np.array([[20, 15, 10]])})


def patch(case, center, size, augmentation=PLAIN, seed=0):
    return made(cut(case, np.array(center), size, augmentation, random_state(seed)), generator(seed))


@pytest.mark.parametrize("seed", range(5))
def test_a_plain_patch_is_cut_out_of_the_image(seed):
    found = patch(coordinates(), (20, 15, 10), (16, 8, 12), seed=seed)
    image = found["image"]
    assert image.shape == (3, 16, 8, 12) and found["label"].shape == (1, 16, 8, 12)
    for axis in range(3):  # one voxel further, the value is one higher
        steps = image[axis].diff(dim=axis)
        torch.testing.assert_close(steps, torch.ones_like(steps), atol=1e-4, rtol=0)
    assert image.amin() >= 0 and (image.amax(dim=(1, 2, 3)) <= torch.tensor([39, 29, 19])).all()


def test_labels_and_weights_go_where_the_values_go():
    case = coordinates()
    case = segmentation(case["image"], case["label"], case.voxels, case["image"][:1].clone())
    found = patch(case, (20, 15, 10), (24, 24, 16), WILD, seed=3)
    middle = torch.tensor([19.5, 14.5, 9.5])[:, None, None, None]
    radius = ((found["image"] - middle) ** 2).sum(0).sqrt()
    label = found["label"][0]
    assert label.dtype == torch.long and label.any()
    assert radius[label == 1].max() < 6 + 0.9 and radius[label == 0].min() > 6 - 0.9
    inside = (found["image"][0] > 0.5) & (found["image"][0] < 38.5)  # beyond the border the weight is 0
    assert (found["weight"][0] - found["image"][0])[inside & (found["weight"][0] > 0)].abs().max() <= 0.51


@pytest.mark.parametrize("seed", range(8))
def test_the_part_that_is_copied_is_enough(seed, monkeypatch):
    """The patch is the same as from the whole image, also at its corners and if the image is smaller than the patch."""
    random = random_state(100 + seed)
    shape = tuple(random.randint(6, 40, 3))
    case = segmentation(
        torch.from_numpy(random.standard_normal((2, *shape)).astype("float32")),
        torch.from_numpy(random.randint(0, 4, (1, *shape)).astype("uint8")),
        {},
        torch.from_numpy(random.uniform(0.5, 2, (1, *shape)).astype("float32")),
    )
    center = random.uniform(0, shape)
    some = patch(case, center, (16, 12, 8), WILD, seed)
    monkeypatch.setattr(Deformation, "reach", lambda *_: np.full(3, 1000.0))
    whole = patch(case, center, (16, 12, 8), WILD, seed)
    torch.testing.assert_close(some["image"], whole["image"], atol=1e-4, rtol=0)
    for name in ("label", "weight"):  # where two voxels are equally near, rounding decides
        assert (some[name] != whole[name]).float().mean() < 0.001
    assert patches.cut(case, center, (16, 12, 8), PLAIN, random_state(seed))["image"].numel() <= case["image"].numel()


@pytest.mark.parametrize("seed", range(4))
def test_a_deformation_is_what_its_matrix_says(seed):
    augmentation = replace(WILD, elastic=0, flip_axes=())
    case = coordinates((60, 60, 60))
    sample = cut(case, np.array([30, 30, 30]), (12, 12, 12), augmentation, random_state(seed))
    image = made(sample, generator())["image"]
    matrix = sample["plan"].deformation.matrix
    for axis in range(3):
        step = image.diff(dim=axis + 1)
        expected = torch.from_numpy(matrix[:, axis].astype("float32"))[:, None, None, None].expand_as(step)
        torch.testing.assert_close(step, expected, atol=1e-3, rtol=0)
    angle = np.degrees(np.arccos(np.clip((np.trace(matrix / np.linalg.norm(matrix, axis=0)) - 1) / 2, -1, 1)))
    assert 0 < angle < 70 and np.linalg.det(matrix) > 0.3


def test_mirrored_axes_run_backwards():
    sample = cut(coordinates(), np.array([20, 15, 10]), (8, 8, 8), PLAIN, random_state(0))
    plan = sample["plan"]
    flipped = replace(plan, deformation=replace(plan.deformation, flips=(0, 2)))
    image = made(sample | {"plan": flipped}, generator())["image"]
    assert (image[0].diff(dim=0) < 0).all() and (image[1].diff(dim=1) > 0).all() and (image[2].diff(dim=2) < 0).all()


def test_each_axis_is_mirrored_half_of_the_time():
    augmentation = replace(PLAIN, flip_axes=(0, 2))
    drawn = [random_deformation(augmentation, (8, 8, 8), random_state(seed)).flips for seed in range(200)]
    for axis, share in ((0, 0.5), (1, 0.0), (2, 0.5)):
        assert sum(axis in flips for flips in drawn) / 200 == pytest.approx(share, abs=0.1)


def test_a_slice_stays_within_its_slice():
    case = coordinates((40, 30, 5))
    found = patch(case, (20, 15, 3), (16, 16, 1), replace(WILD, flip_axes=(0, 1)), seed=2)
    assert found["image"].shape == (3, 16, 16) and found["label"].shape == (1, 16, 16)
    torch.testing.assert_close(found["image"][2], torch.full((16, 16), 3.0))


def test_intensity_change_is_repeatable_and_each_change_does_what_it_says():
    channel = torch.rand(20, 20, 20, generator=generator(1)) * 3 - 1
    assert torch.equal(IntensityChange().apply(channel, generator()), channel)
    torch.testing.assert_close(IntensityChange(gain=2, offset=1).apply(channel, generator()), 2 * channel + 1)
    gamma = IntensityChange(gamma=2.0).apply(channel, generator())
    assert gamma.amin() == channel.amin() and gamma.mean() < channel.mean()
    torch.testing.assert_close(gamma.amax(), channel.amax())
    noisy = IntensityChange(noise=0.5).apply(channel, generator(7))
    assert float((noisy - channel).std()) == pytest.approx(0.5, rel=0.05)
    assert torch.equal(noisy, IntensityChange(noise=0.5).apply(channel, generator(7)))
    assert not torch.equal(noisy, IntensityChange(noise=0.5).apply(channel, generator(8)))
    flat = torch.full((4, 4, 4), 2.0)
    assert torch.equal(IntensityChange(gamma=1.7).apply(flat, generator()), flat)


@pytest.mark.parametrize("shape", [(9, 12, 15), (16, 16, 1)])
@pytest.mark.parametrize("sigma", [0.2, 0.5, 1.3])
def test_blur_is_a_gaussian(shape, sigma):
    channel = torch.rand(shape, generator=generator(2))
    sigmas = [sigma if n > 1 else 0 for n in shape]
    expected = ndimage.gaussian_filter(channel.numpy(), sigmas, truncate=max(1, np.ceil(2 * sigma)) / sigma)
    inside = tuple(slice(4, -4) if n > 8 else slice(None) for n in shape)  # scipy mirrors, we extend
    np.testing.assert_allclose(blurred(channel, sigma).numpy()[inside], expected[inside], atol=1e-4)


def test_the_same_number_gives_the_same_patch_and_others_give_others():
    case = coordinates()
    strong = replace(WILD, intensity=1.0)
    one, same, other = (patch(case, (20, 15, 10), (12, 12, 12), strong, seed) for seed in (4, 4, 5))
    assert torch.equal(one["image"], same["image"]) and not torch.equal(one["image"], other["image"])


def test_any_named_volumes_are_cut_alike_each_in_its_own_way():
    plain = coordinates()
    index = plain["image"]
    volumes = {
        "distance": Volume((index[:1] + 1).double(), linear=True, padded=True),
        "t2": Volume(index[1:2], linear=True, intensity=True, dtype=torch.float16),
        "instances": Volume(index[:1].to(torch.int32)),
        "mask": Volume(index[:1] < 100),
    }
    found = patch(CachedCase(volumes), (20, 15, 10), (48, 12, 12), replace(WILD, flip_axes=(0,)), seed=3)
    assert {name: values.dtype for name, values in found.items()} == {
        "distance": torch.float64,
        "t2": torch.float16,
        "instances": torch.int32,
        "mask": torch.bool,
    }
    mask = found["mask"]
    assert mask.any() and not mask.all() and (found["instances"][~mask] == 0).all()
    whole = patch(plain, (20, 15, 10), (48, 12, 12), replace(WILD, flip_axes=(0,)), seed=3)["image"]
    assert (found["instances"] - whole[:1])[mask].abs().max() < 0.51
    inside = (whole[0] > 0.01) & (whole[0] < 38.9) & (found["distance"][0] > whole[0] + 0.99)
    torch.testing.assert_close(found["distance"][0][inside].float(), whole[0][inside] + 1, atol=2e-3, rtol=0)
    assert found["distance"].amin() < 0.9, "0 outside, not the border's value of 1"


def test_cases_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="on one grid"):
        CachedCase({"image": Volume(torch.zeros(1, 4, 4, 4)), "label": Volume(torch.zeros(1, 4, 4, 5))})
    with pytest.raises(ValueError, match="cannot be named plan"):
        CachedCase({"plan": Volume(torch.zeros(1, 4, 4, 4))})
    with pytest.raises(ValueError, match="linearly cannot be torch.int64"):
        Volume(torch.zeros(1, 4, 4, 4), linear=True, dtype=torch.long)


def test_patches_lie_anywhere_in_a_case_without_classes():
    case = CachedCase({"image": Volume(torch.zeros(1, 5, 3, 4))})
    centers = np.array([random_center(case, random_state(seed), 0.9) for seed in range(200)])
    assert centers.min() == 0 and centers.max(0).tolist() == [4, 2, 3]
