"""Number types of the forward pass, by device: bfloat16, float16 with scaled losses, or float32."""

from __future__ import annotations

import torch

PRECISIONS = ("auto", "float32", "bfloat16", "float16")
_TENSOR_CORES = (7, 0)  # compute capability from which float16 is faster than float32


def number_type(precision: str, device: torch.device) -> torch.dtype | None:
    """The type to compute the forward pass in, None for float32.

    Args:
        precision: one of :data:`PRECISIONS`; auto is bfloat16 on cards that compute in it, float16 on older ones with
            tensor cores, float32 elsewhere (on a processor and on Apple's GPU a shorter type saves little time).
    """
    if precision != "auto":
        return {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}[precision]
    if device.type != "cuda":
        return None
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    return torch.float16 if torch.cuda.get_device_capability(device) >= _TENSOR_CORES else None


def loss_scaler(number: torch.dtype | None, device: torch.device) -> torch.amp.GradScaler:
    """Scales losses up so that small gradients do not become 0 in float16; does nothing for other types."""
    return torch.amp.GradScaler(device.type, enabled=number is torch.float16)
