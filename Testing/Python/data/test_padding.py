"""Padding of CT is distinguished from air and from similar backgrounds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from MedDeepLib.data.padding import fill_padding, find_padding, padding_in_words, without_padding
from MedDeepLib.data.preparation import Plan, prepare
from MedDeepLib.data.sources.image import Image
from toy_ct import scan
from toy_pairs import draw


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize("padding", [-2000, -2048, -3024, -32768])
def test_padding_is_found_and_becomes_air(padding, dtype):
    padded, plain = (scan("oblique", padding=value, dtype=dtype) for value in (padding, None))
    assert find_padding(padded.array[0]) == padding and find_padding(plain.array[0]) is None
    filled = without_padding(padded)
    assert filled.array.dtype == dtype and filled.array.min() == -1024
    outside = padded.array == padding
    assert (filled.array[~outside] == plain.array[~outside]).all() and (filled.array[outside] == -1024).all()
    assert padded.array.min() == padding  # the caller's image is unchanged
    assert without_padding(plain) is plain


def test_blends_of_padding_and_image_become_air_too():
    array = scan("oblique", padding=-3024, dtype=np.float32).array.copy()
    array[0, :-1] = (array[0, :-1] + array[0, 1:]) / 2
    fill_padding(array)
    assert array.min() == -1024


def test_a_field_without_air_is_surrounded_by_air():
    array = np.random.default_rng(0).normal(40, 10, (1, 30, 30, 10)).astype(np.float32)
    array[:, :4] = -3024
    fill_padding(array)
    assert (array[:, :4] == -1000).all()


def _negative_outlier() -> np.ndarray:
    array = scan("oblique").array[0].copy()
    array[30, 30, 20] = -3024  # a metal artefact
    return array


@pytest.mark.parametrize(
    "array",
    [
        np.maximum(1000 * draw("plain") - 20, 0),  # MR on a background of 0
        np.where(draw("plain") > 0.2, 500 + 1000 * draw("plain"), 0),  # a skull-stripped brain
        np.where(draw("plain") > 0.2, 500 + 1000 * draw("plain"), 0) - 32768,  # the same with a signed dtype
        np.where(draw("plain") > 0.2, 1e6 * draw("plain"), -1e6),
        draw("plain") * 3 - 2,  # z-scores
        scan("oblique").array[0],  # air of -1024
        scan("oblique", padding=-1024).array[0],
        (scan("oblique").array[0] + 1048).astype(np.uint16),  # 24 above 0
        scan("oblique", padding=-1048).array[0] + 1048,  # padding of 0, air at 24
        np.full((9, 9, 9), -3024),
        _negative_outlier(),
    ],
)
def test_other_backgrounds_are_left_alone(array):
    assert find_padding(array) is None
    before = array.copy()
    fill_padding(array[None])
    assert (array == before).all()


def test_only_the_padded_channel_changes():
    array = np.stack([scan("oblique", padding=-3024).array[0], scan("oblique").array[0]])
    before = array.copy()
    fill_padding(array)
    assert array[0].min() == -1024 and (array[1] == before[1]).all()


def test_networks_see_padded_and_plain_images_alike():
    """Z-score statistics exclude the padding, and resampling does not smear it into the image."""
    plan = Plan((8.0, 8.0, 8.0), (32, 32, 32))
    padded, plain = scan("oblique", padding=-3024, dtype=np.float32), scan("oblique", dtype=np.float32)
    shown = torch.from_numpy(plain.array > -200)
    full = Plan((0.0, 0.0, 0.0), (32, 32, 32))
    values = prepare(padded, full).image[shown], prepare(plain, full).image[shown]
    assert torch.allclose(*values, atol=0.05)
    assert prepare(padded, plan).image.min() > prepare(plain, plan).image.min() - 0.1


def test_it_is_said_once():
    padded, plain = scan("oblique", padding=-3024), scan("oblique")
    other = Image(scan("oblique", padding=-2000).array, plain.affine)
    assert padding_in_words([plain, plain]) == ""
    assert padding_in_words([padded]) == (
        "The image has padding of -3024 around the scanned field: it was treated as air."
    )
    assert padding_in_words([plain, padded]).startswith("1 of 2 images has padding of -3024 around")
    assert padding_in_words([other, padded]).startswith("2 of 2 images have padding of -2000 and -3024 around")
