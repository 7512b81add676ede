"""How to recognise that a device has run out of memory, and how to free some."""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

# torch's own error has a class; those of the CPU's allocator, cuDNN, cuBLAS and Apple's GPU are recognised by text.
_TEXTS = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that there was not enough memory, on whatever device; does not import torch."""
    torch = sys.modules.get("torch")
    if isinstance(error, MemoryError) or (torch is not None and isinstance(error, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error).lower() for text in _TEXTS)


def make_room(device: torch.device) -> None:
    """Free torch's cached memory; call it when the failed computation's tensors are gone."""
    import torch

    gc.collect()  # tensors that only a cycle of Python objects still holds
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
