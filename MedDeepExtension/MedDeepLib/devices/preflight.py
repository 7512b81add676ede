"""Estimates, before anything starts, whether a network fits into a device's memory.

The network runs once without the device: on torch's "meta" device, where tensors have a shape and a dtype but no
values. What is done with it, a forward and backward pass for instance, is a :data:`Step` that the method supplies.
Every tensor is counted while it exists, so the peak is what the device would hold, for any network. This takes a
fraction of a second and no memory. Libraries need some more, and memory is allocated in blocks: :data:`MARGIN` and
:data:`LIBRARIES_BYTES` allow for that.

    def step(forward):
        image = torch.empty((2, 1, 96, 96, 96), device="meta")
        forward(image).float().mean().backward()

    needed = needed_bytes(training_bytes(build, step, torch.bfloat16), "cuda")
"""

from __future__ import annotations

import bisect
import weakref
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

# What the allocator and the convolutions' workspaces take on top of the tensors.
MARGIN = 1.15
# CUDA's own context with the kernels of cuDNN and cuBLAS.
LIBRARIES_BYTES = 500_000_000

Size = tuple[int, ...]
# Given the network's forward pass, makes meta tensors of a batch's shapes and runs the measured computation on them.
Step = Callable[[Callable[..., Any]], None]


def training_bytes(build: Callable[[], torch.nn.Module], step: Step, dtype: torch.dtype | None = None) -> int:
    """Peak memory in bytes of one training step with AdamW.

    Args:
        build: makes the network.
        step: one forward and backward pass for a micro-batch; tensors that it keeps until it returns are counted.
        dtype: of the forward pass where it is not float32 (torch.bfloat16).
    """
    import torch

    network = _on_meta(build)
    counter = _counter()
    with counter:
        counter.count(*network.parameters(), *network.buffers())
        # AdamW keeps two values for each weight, from the second step on.
        state = [torch.empty_like(parameter) for parameter in network.parameters() for _ in range(2)]
        weights = sum(tensor.nbytes for tensor in network.parameters())
        step(_forward(network, dtype))
    # The optimiser works on lists of weights: weights, gradients, state, and as much again for temporaries.
    del state
    return max(counter.peak, 5 * weights)


def forward_operations(build: Callable[[], torch.nn.Module], channels: int, patch: Size) -> int:
    """Floating-point operations of a network for one patch, to compare its run time with that of another one.

    A training step takes three times as many, for any network.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    network = _on_meta(build)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.empty((1, channels, *patch), device="meta"))
    return counter.get_total_flops()


def count_weights(build: Callable[[], torch.nn.Module]) -> int:
    """The number of weights that training changes."""
    return sum(parameter.numel() for parameter in _on_meta(build).parameters() if parameter.requires_grad)


def application_bytes(network: torch.nn.Module, step: Step, dtype: torch.dtype | None = None) -> int:
    """Peak memory in bytes of applying ``network``, which stays as it is.

    Args:
        step: a forward pass for a batch of tiles, and what is then computed from its output; runs without gradients.
        dtype: of the forward pass where it is not float32.
    """
    import torch

    network = _on_meta(lambda: network)
    counter = _counter()
    with torch.no_grad(), counter:
        counter.count(*network.parameters(), *network.buffers())
        step(_forward(network, dtype))
    return counter.peak


def needed_bytes(estimate: int, device_type: str) -> int:
    """What must be free on a device before a computation that holds ``estimate`` bytes of tensors begins."""
    return int(estimate * MARGIN) + (LIBRARIES_BYTES if device_type == "cuda" else 0)


def largest_fitting_patch(need: Callable[[Size], int], patch: Size, steps: Size, free: int) -> Size | None:
    """The largest patch below ``patch``, in multiples of ``steps`` per axis, for which ``need(patch)`` is at most
    ``free``.

    The longest axes shrink first, so patches become more cubic; None when none fits.
    """
    smaller = patch
    while (smaller := _next_smaller(smaller, steps)) is not None:
        if need(smaller) <= free:
            return smaller
    return None


def largest_fitting_batch(need: Callable[[int], int], batch: int, free: int) -> int:
    """The largest batch below ``batch`` for which ``need(batch)`` is at most ``free``; 0 when none fits."""
    return bisect.bisect_right(range(1, batch), free, key=need)


def free_bytes(device: torch.device) -> int:
    """Memory in bytes that a computation on ``device`` can still get (worker only)."""
    import torch

    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type == "mps":
        return max(0, torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    import psutil

    return psutil.virtual_memory().available


def advice(needed: int, free: int, batch: int, patch: Size, device: str, fitting: Sequence[str] = ()) -> str:
    """One sentence on the memory needed and available, e.g. "Needs about 9.8 GB at patch 128 x 128 x 128, batch 2; this
    GPU has 7.1 GB free; 96 x 96 x 96 fits."

    Args:
        device: in words, e.g. "this GPU".
        fitting: what would fit, e.g. "96 x 96 x 96" and "batch 1".
    """
    sentence = f"Needs about {gigabytes(needed)} at patch {size_in_words(patch)}, batch {batch}"
    sentence += f"; {device} has {gigabytes(free)} free"
    if needed <= free:
        return f"{sentence}."
    return f"{sentence}; " + (f"{' or '.join(fitting)} fits." if fitting else "no smaller patch fits.")


def gigabytes(count: float) -> str:
    """Bytes in words: "7.1 GB"."""
    return f"{count / 1e9:.1f} GB"


def size_in_words(size: Size) -> str:
    return " x ".join(map(str, size))


def _next_smaller(patch: Size, steps: Size) -> Size | None:
    """The patch with its longest axes one step shorter; None when that would leave a single voxel at the coarsest
    resolution. An axis of a single step stays as it is."""
    longest = max((length for length, step in zip(patch, steps, strict=True) if length > step), default=0)
    smaller = tuple(
        (length - 1) // step * step if length == longest and length > step else length
        for length, step in zip(patch, steps, strict=True)
    )
    return smaller if smaller not in (patch, steps) else None


def _on_meta(build: Callable[[], torch.nn.Module]) -> torch.nn.Module:
    import copy

    import torch

    with torch.device("meta"):
        network = build()
    if any(not parameter.is_meta for parameter in network.parameters()):
        # An existing network is not changed; its copy has shapes only.
        memo = {id(tensor): _empty(tensor) for tensor in [*network.parameters(), *network.buffers()]}
        network = copy.deepcopy(network, memo)
    return network


def _empty(tensor: torch.Tensor) -> torch.Tensor:
    import torch

    empty = torch.empty_like(tensor, device="meta")
    return torch.nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, torch.nn.Parameter) else empty


def _forward(network: torch.nn.Module, dtype: torch.dtype | None) -> Callable[..., Any]:
    def forward(*inputs: Any) -> Any:
        with _autocast(dtype):
            return network(*inputs)

    return forward


def _autocast(dtype: torch.dtype | None):
    """What torch.autocast does on a GPU, for meta tensors, which it does not support."""
    import torch
    from torch.overrides import TorchFunctionMode

    functional = torch.nn.functional
    reduced = {functional.linear, functional.conv1d, functional.conv2d, functional.conv3d, torch.matmul, torch.bmm}
    reduced |= {functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d}
    full = {functional.group_norm, functional.layer_norm, functional.softmax, torch.softmax}

    class Autocast(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            wanted = dtype if function in reduced else torch.float32 if function in full else None
            if wanted is not None:
                args = [_converted(value, wanted) for value in args]
                kwargs = {name: _converted(value, wanted) for name, value in (kwargs or {}).items()}
            return function(*args, **(kwargs or {}))

    return nullcontext() if dtype is None else Autocast()


def _converted(value, dtype: torch.dtype):
    import torch

    return value.to(dtype) if isinstance(value, torch.Tensor) and value.is_floating_point() else value


def _counter():
    """Counts the bytes of live tensors while it is active; ``peak`` is the most there were at once."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    class Counter(TorchDispatchMode):
        def __init__(self):
            super().__init__()
            self.living = self.peak = 0
            self._storages: dict[int, weakref.ref] = {}

        def count(self, *tensors) -> None:
            """Count the memory behind tensors, once, until nothing refers to it any more."""
            for tensor in tensors:
                storage = tensor.untyped_storage()
                key, size = storage._cdata, storage.nbytes()
                if key in self._storages:
                    continue
                self._storages[key] = weakref.ref(storage, lambda _, key=key, size=size: self._end(key, size))
                self.living += size
            self.peak = max(self.peak, self.living)

        def _end(self, key: int, size: int) -> None:
            self._storages.pop(key, None)
            self.living -= size

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            self.count(*(leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)))
            return result

    return Counter()
