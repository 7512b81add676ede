"""The dtype of the forward pass, by device: bfloat16, float16 with scaled losses, or float32."""

from __future__ import annotations

import torch

PRECISIONS = ("auto", "float32", "bfloat16", "float16")
_TENSOR_CORES = (7, 0)  # compute capability from which float16 is faster than float32


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """The dtype to compute the forward pass in, None for float32.

    Args:
        precision: one of :data:`PRECISIONS`; auto is bfloat16 on GPUs that compute in it, float16 on older ones with
            tensor cores, float32 elsewhere (on a CPU and on Apple's GPU half precision saves little time).
    """
    if precision != "auto":
        return {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}[precision]
    if device.type != "cuda":
        return None
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    return torch.float16 if torch.cuda.get_device_capability(device) >= _TENSOR_CORES else None


def loss_scaler(dtype: torch.dtype | None, device: torch.device) -> torch.amp.GradScaler:
    """Scales losses up so that small gradients do not become 0 in float16; does nothing for other dtypes."""
    return torch.amp.GradScaler(device.type, enabled=dtype is torch.float16)
