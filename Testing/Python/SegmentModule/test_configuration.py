"""What is left to data and device is chosen sensibly, shown, recorded and kept."""

from __future__ import annotations

import pytest
from SegmentModuleLib.configuration import chosen_patch_size, chosen_spacing


def test_zeros_of_the_spacing_become_the_median():
    assert chosen_spacing((0.0, 2.0, 0.0), (0.9, 0.9, 3.0)) == (0.9, 2.0, 3.0)


@pytest.mark.parametrize(
    ("wanted", "voxels", "step", "dimensions", "device", "expected"),
    [
        ((0, 0, 0), (180.0, 220.0, 180.0), 16, 3, "cpu", (64, 64, 64)),
        ((0, 0, 0), (180.0, 220.0, 180.0), 16, 3, "cuda", (96, 96, 96)),
        ((0, 0, 0), (512.0, 512.0, 24.0), 16, 3, "cuda", (96, 96, 32)),
        ((0, 0, 0), (40.0, 70.0, 70.0), 16, 3, "cpu", (48, 64, 64)),
        ((32, 0, 0), (180.0, 220.0, 180.0), 16, 3, "cpu", (32, 64, 64)),
        ((0, 0), (512.0, 512.0, 24.0), 16, 2, "cuda", (256, 256)),
        ((0, 0, 0), (10.0, 12.0, 8.0), 16, 3, "cpu", (32, 32, 32)),
        ((0, 0, 0), (300.0, 300.0, 300.0), 128, 3, "cpu", (256, 256, 256)),
    ],
)
def test_patches_fit_image_network_and_device(wanted, voxels, step, dimensions, device, expected):
    assert chosen_patch_size(wanted, voxels, step, dimensions, device) == expected
