"""A training reports before it starts whether it fits into memory."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from MedDeepLib.core import Context, from_mapping, get
from MedDeepLib.devices import preflight
from MedDeepLib.errors import NotEnoughMemory
from SegmentModuleLib.worker.memory import check_training_memory

PATCH = (64, 64, 64)
DATASET = SimpleNamespace(channels=("CT",), classes=("liver", "spleen"))


def check(monkeypatch, free: float, device: str, batch_size: int = 4) -> list[str]:
    """The warnings for a U-Net on a device with ``free`` bytes of memory."""
    monkeypatch.setattr(preflight, "free_bytes", lambda _: int(free))
    unet = get("segment", "unet")
    settings = {"batch_size": batch_size, "features": (16, 32, 32), "resolution": "full"}
    method = unet(from_mapping(unet.Parameters, settings))
    warnings = []
    context = Context(torch.device(device), dataset=DATASET, report=lambda event, message: warnings.append(message))
    check_training_memory(method, context, PATCH, None)
    return warnings


def test_what_fits_needs_no_words(monkeypatch):
    assert check(monkeypatch, 100e9, "cuda") == check(monkeypatch, 100e9, "cpu") == []


def test_what_fits_in_parts_is_a_warning_that_says_what_would_fit(monkeypatch):
    (warning,) = check(monkeypatch, 1.5e9, "cuda")
    assert (
        warning.startswith("Needs about ") and " at patch 64 x 64 x 64, batch 4; this GPU has 1.5 GB free; " in warning
    )
    assert warning.endswith(" or batch 2 fits.") or warning.endswith(" or batch 3 fits.")
    assert " x " in warning.rpartition("free; ")[2]


def test_what_does_not_fit_on_a_card_is_refused(monkeypatch):
    with pytest.raises(NotEnoughMemory, match=r"no smaller patch fits\. Choose smaller patches") as caught:
        check(monkeypatch, 0.2e9, "cuda")
    assert (caught.value.kind, caught.value.exit_code) == ("memory", 2)


def test_a_computer_may_have_more_than_is_free_so_it_is_only_warned(monkeypatch):
    (warning,) = check(monkeypatch, 0.1e9, "cpu", batch_size=1)
    assert "; this computer has 0.1 GB free; " in warning
