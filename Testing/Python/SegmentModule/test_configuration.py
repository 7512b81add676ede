"""What is left to data and device is chosen sensibly, shown, recorded and kept."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from MedDeepLib.data.dataset import load_dataset
from MedDeepLib.errors import UserError
from MedDeepLib.jobs.actions import _configured
from MedDeepLib.jobs.folder import JobFolder
from MedDeepLib.methods import Context
from SegmentModuleLib.configuration import chosen_patch_size, chosen_spacing
from SegmentModuleLib.methods.unet import UNet, UNetParameters


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


def test_a_run_keeps_what_was_chosen_and_refuses_changed_settings(toy_dataset, tmp_path):
    folder = JobFolder(tmp_path)
    said = []
    context = Context(torch.device("cpu"), dataset=load_dataset(toy_dataset), report=lambda _, **e: said.append(e))
    wanted = {"features": (4, 8, 8), "patch_size": (0, 16, 0)}
    chosen = _configured(UNet(UNetParameters(**wanted)), folder, context)
    assert chosen.parameters.resolution == "half" and chosen.parameters.patch_size[1] == 16
    assert all(chosen.parameters.patch_size) and all(chosen.parameters.spacing)
    assert "patch_size" in said[0]["message"] and "spacing" in said[0]["message"]
    on_a_card = replace(context, device=torch.device("cuda"))
    assert _configured(UNet(UNetParameters(**wanted)), folder, on_a_card).parameters == chosen.parameters
    with pytest.raises(UserError, match="have changed since this training began"):
        _configured(UNet(UNetParameters(**wanted, steps=7)), folder, context)
