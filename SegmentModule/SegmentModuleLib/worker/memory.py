"""Determines the memory that a training needs, and whether it fits, before it starts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from MedDeepLib.core import Context
from MedDeepLib.devices import preflight
from MedDeepLib.errors import NotEnoughMemory
from MedDeepLib.training.channels import channels_in_words
from MedDeepLib.training.precision import autocast_dtype

if TYPE_CHECKING:
    import torch

    from SegmentModuleLib.worker.patch_method import PatchMethod

# Upper limit of "automatic": nnU-Net's plans are made for this much, and larger patches seldom help.
_SENSIBLE_BYTES = 8e9
# Share of the free memory; other programs use the GPU for display.
_SHARE = 0.9


def counted_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """The dtype for which the memory of a training is counted; None for float32.

    On a CPU, automatic precision counts as float32, so that the same patch and batch are chosen on every processor.
    """
    return None if precision == "auto" and device.type == "cpu" else autocast_dtype(precision, device)


@dataclass(frozen=True)
class Need:
    """The memory and the operations that training a method takes, determined without training it; each counted once.

    Attributes:
        channels, classes: of the dataset; classes without the background.
        device_type: "cpu", "cuda" or "mps".
        dtype: of the forward pass where it is not float32.
    """

    channels: int
    classes: int
    device_type: str
    dtype: torch.dtype | None = None
    _counted: dict[tuple, int] = field(default_factory=dict, repr=False, compare=False)

    def build(self, method: PatchMethod) -> Callable[[], torch.nn.Module]:
        return lambda: method.network(self.channels, self.classes + 1)

    def bytes(self, method: PatchMethod, batch: int, patch: tuple[int, ...] | None = None) -> int:
        """Memory that must be free for a batch of patches, of the method's own size unless told otherwise."""
        patch = patch or patch_of(method)
        at_once = -(-batch // method.parameters.accumulation)
        key = ("bytes", *_identity(method), at_once, patch)
        if key not in self._counted:
            step = training_step((at_once, self.channels, *patch))
            with channels_in_words():
                tensors = preflight.training_bytes(self.build(method), step, self.dtype)
            self._counted[key] = preflight.needed_bytes(tensors, self.device_type)
        return self._counted[key]

    def operations(self, method: PatchMethod, batch: int) -> int:
        """Operations of a step, in units to compare with other methods and patches only."""
        patch = patch_of(method)
        key = ("operations", *_identity(method), patch)
        if key not in self._counted:
            with channels_in_words():
                self._counted[key] = preflight.forward_operations(self.build(method), self.channels, patch)
        return batch * self._counted[key]


def training_step(shape: tuple[int, ...]) -> preflight.Step:
    """A forward and backward pass for images (B, C, *patch), with a loss like Dice and cross-entropy of the scores."""

    def step(forward: Callable) -> None:
        import torch

        image = torch.empty(shape, device="meta")
        label = torch.zeros((shape[0], *shape[2:]), dtype=torch.long, device="meta")
        output = forward(image)
        scores = (output[0] if isinstance(output, (list, tuple)) else output).float()
        del output
        truth = torch.zeros_like(scores).scatter_(1, label[:, None], 1)
        loss = torch.nn.functional.cross_entropy(scores, label) + (scores.softmax(1) * truth).sum()
        del scores, truth
        loss.backward()

    return step


def _identity(method: PatchMethod) -> tuple:
    """The parameters that a method's network depends on."""
    return type(method), replace(method.parameters, batch_size=0, patch_size=())


def patch_of(method: PatchMethod) -> tuple[int, ...]:
    """Voxels along each axis of the network."""
    return tuple(method.parameters.patch_size[: method.dimensions])


def memory_to_count_on(wanted_gigabytes: float, free: int) -> int:
    """Bytes that a training is planned for: as requested, or a sensible amount, but no more than is free."""
    wanted = wanted_gigabytes * 1e9 if wanted_gigabytes else _SENSIBLE_BYTES
    return int(min(wanted, _SHARE * free))


def check_training_memory(
    method: PatchMethod, context: Context, patch: tuple[int, ...], dtype: torch.dtype | None
) -> None:
    """Report a warning when a batch does not fit; it will then be computed in parts.

    Args:
        patch: voxels along each axis of the network.
        dtype: of the forward pass where it is not float32.

    Raises:
        NotEnoughMemory: not even one patch at a time fits on the GPU.
    """
    free = preflight.free_bytes(context.device)
    dataset = context.dataset
    need = Need(len(dataset.channels), len(dataset.classes), context.device.type, dtype)
    fits, sentence = advice(method, patch, need, free)
    if fits:
        return
    if context.device.type == "cuda" and need.bytes(method, 1, patch) > free:
        raise NotEnoughMemory(f"{sentence} Choose smaller patches (patch_size), or another device.")
    context.report("warning", message=sentence)


def advice(method: PatchMethod, patch: tuple[int, ...], need: Need, free: int) -> tuple[bool, str]:
    """Whether a training fits into ``free`` bytes, and a sentence on what would fit if it does not."""
    batch = method.parameters.batch_size
    needed = need.bytes(method, batch, patch)
    device = "this computer" if need.device_type == "cpu" else "this GPU"
    fitting = [] if needed <= free else _what_fits(method, patch, need, free)
    return needed <= free, preflight.advice(needed, free, batch, patch, device, fitting)


def _what_fits(method: PatchMethod, patch: tuple[int, ...], need: Need, free: int) -> list[str]:
    """The settings that would fit, in words: a smaller patch, or a smaller batch."""
    batch, steps = method.parameters.batch_size, method.downsampling[: method.dimensions]
    smaller = preflight.largest_fitting_patch(lambda size: need.bytes(method, batch, size), patch, steps, free)
    fewer = preflight.largest_fitting_batch(lambda count: need.bytes(method, count, patch), batch, free)
    fits = [preflight.size_in_words(smaller)] if smaller else []
    return [*fits, f"batch {fewer}"] if fewer else fits
