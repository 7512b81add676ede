"""Whether a training fits into the device's memory, said before it starts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from MedDeepLib.devices import preflight
from MedDeepLib.errors import NotEnoughMemory
from MedDeepLib.methods import Context

if TYPE_CHECKING:
    import torch

    from SegmentModuleLib.segmentation import SegmentationMethod


def check_training_memory(
    method: SegmentationMethod, context: Context, patch: tuple[int, ...], number_type: torch.dtype | None
) -> None:
    """Report a warning when a batch does not fit; it will then be computed in parts.

    Args:
        patch: voxels along each axis of the network.
        number_type: of the forward pass where it is not float32.

    Raises:
        NotEnoughMemory: not even one patch at a time fits on the card.
    """
    free = preflight.free_bytes(context.device)
    batch, dataset = method.parameters.batch_size, context.dataset

    def build() -> torch.nn.Module:
        return method.network(len(dataset.channels), len(dataset.classes) + 1)

    def need(count: int, size: tuple[int, ...]) -> int:
        tensors = preflight.training_bytes(build, count, len(dataset.channels), size, number_type)
        return preflight.needed_bytes(tensors, context.device.type)

    needed = need(batch, patch)
    if needed <= free:
        return
    device = "this computer" if context.device.type == "cpu" else "this card"
    fits = _what_fits(need, batch, patch, method.downsampling, free)
    sentence = preflight.advice(needed, free, batch, patch, device, fits)
    if context.device.type == "cuda" and need(1, patch) > free:
        raise NotEnoughMemory(f"{sentence} Choose smaller patches (patch_size), or another device.")
    context.report("warning", message=sentence)


def _what_fits(
    need: Callable[[int, tuple[int, ...]], int], batch: int, patch: tuple[int, ...], step: int, free: int
) -> list[str]:
    """What to choose instead, in words: a smaller patch, or fewer of them at a time."""
    smaller = preflight.largest_fitting_patch(lambda size: need(batch, size), patch, step, free)
    fewer = preflight.largest_fitting_batch(lambda count: need(count, patch), batch, free)
    fits = [preflight.size_in_words(smaller)] if smaller else []
    return [*fits, f"batch {fewer}"] if fewer else fits
