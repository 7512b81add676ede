"""Estimates the time of a training by measuring some of its steps."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from MedDeepLib.core import Context
from MedDeepLib.devices import preflight
from MedDeepLib.training.nested import in_float32
from MedDeepLib.training.precision import autocast_dtype

from SegmentModuleLib.worker.memory import Need, patch_of

if TYPE_CHECKING:
    from SegmentModuleLib.worker.patch_method import PatchMethod

_LONGEST_SECONDS = 10.0
_MOST_STEPS = 5


def time_of_training(method: PatchMethod, context: Context) -> str:
    """A sentence on the time; empty on a GPU, which another job may be using, and when free memory does not suffice."""
    dataset, batch = context.dataset, method.parameters.batch_size
    need = Need(len(dataset.channels), len(dataset.classes), context.device.type)
    if context.device.type != "cpu" or need.bytes(method, batch) > preflight.free_bytes(context.device):
        return ""
    seconds, steps = _seconds_for_a_step(method, need), method.parameters.steps
    minutes = seconds * steps / 60
    duration = f"{minutes:.0f} minutes" if minutes < 100 else f"{minutes / 60:.0f} hours"
    return (
        f"A step takes about {seconds:.2g} s, measured on this computer as busy as it is now, so {steps} steps take "
        f"about {duration}, plus reading, augmentation and validation."
    )


def _seconds_for_a_step(method: PatchMethod, need: Need) -> float:
    import torch

    from SegmentModuleLib.worker.losses import SegmentationLoss

    network = need.build(method)()
    optimizer = torch.optim.AdamW(network.parameters())
    loss = SegmentationLoss(method.parameters.loss)
    shape = (method.parameters.batch_size, 1, *patch_of(method))
    image = torch.randn(shape[0], need.channels, *shape[2:])
    label = torch.randint(0, need.classes + 1, shape)

    dtype = autocast_dtype(method.parameters.precision, torch.device("cpu"))

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype, enabled=dtype is not None):
            scores = network(image)
        loss(in_float32(scores), {"label": label}).backward()
        optimizer.step()

    step()  # warm-up
    began, steps = time.perf_counter(), 0
    while steps < _MOST_STEPS and time.perf_counter() - began < _LONGEST_SECONDS:
        step()
        steps += 1
    return (time.perf_counter() - began) / steps
