"""Painted images: random, but mostly symmetric and often made of a few tissues, as real images are."""

from __future__ import annotations

import numpy as np
import torch
from RegisterModuleLib.worker.painting import painted, twin_values

NAMES = {2: "left white matter", 3: "Left caudate", 41: "right white matter", 50: "Right caudate", 16: "brain-stem"}
VALUES = np.array([0, 2, 3, 16, 41, 50, 99])


def test_left_and_right_of_a_name_are_twins():
    assert list(twin_values(NAMES, VALUES)) == [0, 1, 2, 3, 1, 2, 6]


def test_images_differ_and_twins_mostly_do_not():
    twins = twin_values(NAMES, VALUES)
    shares = torch.zeros((len(VALUES), len(VALUES), 1, 1), dtype=torch.uint8)
    for number in range(len(VALUES)):
        shares[number, number] = 255
    is_structure = np.array([False, True, True, True, True, True, False])
    images = np.stack(
        [
            painted(shares, is_structure, twins, np.random.RandomState(seed), bare=0.5)[0, :, 0, 0].numpy()
            for seed in range(200)
        ]
    )
    assert images.min() >= 0 and images.max() <= 1.0
    alike = np.abs(images[:, 1] - images[:, 4]) < 1e-6
    assert 0.6 < alike.mean() < 0.95
    assert images[:, 1].std() > 0.15, "brightness has to differ from image to image"
    close = np.abs(images[:, 1] - images[:, 2]) < 0.1
    assert 0.15 < close.mean() < 0.6, "different structures are often, but not always, of one tissue"
    assert 0.3 < (images[:, 6] == 0).mean() < 0.7, "half of them show the structures only"
