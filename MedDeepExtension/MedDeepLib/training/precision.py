"""The dtype of the forward pass, by device: bfloat16, float16 with scaled losses, or float32."""

from __future__ import annotations

import platform

import torch

PRECISIONS = ("auto", "float32", "bfloat16", "float16")
_TENSOR_CORES = (7, 0)  # compute capability from which float16 is faster than float32


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """The dtype of the forward pass, None for float32.

    Losses, gradients' sums and the optimiser stay in float32.

    Args:
        precision: one of :data:`PRECISIONS`; auto is bfloat16 on GPUs and CPUs that compute in it, float16 on older
            GPUs with tensor cores, float32 elsewhere (on Apple's GPU half precision saves little time).
    """
    if precision != "auto":
        return {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}[precision]
    if device.type == "cpu":
        return torch.bfloat16 if cpu_computes_in_bfloat16() else None
    if device.type != "cuda":
        return None
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    return torch.float16 if torch.cuda.get_device_capability(device) >= _TENSOR_CORES else None


def precision_name(dtype: torch.dtype | None) -> str:
    """The dtype as one of :data:`PRECISIONS`."""
    return str(dtype or torch.float32).removeprefix("torch.")


def cpu_computes_in_bfloat16() -> bool:
    """Whether the processor has instructions for products of bfloat16 (AVX-512 BF16, AMX, Arm BF16).

    Others emulate them, which is slower than float32. A processor whose instructions torch was told to leave alone
    (``ATEN_CPU_CAPABILITY``) counts as one that does not have them.
    """
    if not torch.backends.mkldnn.is_available():  # its kernels are the ones that use these instructions
        return False
    if platform.machine().lower() in ("aarch64", "arm64"):
        return bool(_answer(torch.ops.mkldnn, "_is_mkldnn_bf16_supported"))
    if not torch.backends.cpu.get_cpu_capability().startswith("AVX512"):
        return False
    return _answer(torch.cpu, "_is_avx512_bf16_supported") or _answer(torch.cpu, "_is_amx_tile_supported")


def _answer(module, name: str) -> bool:
    """What torch says of the processor; False where a version of torch has no such question."""
    try:
        return bool(getattr(module, name)())
    except (AttributeError, RuntimeError):
        return False


def loss_scaler(dtype: torch.dtype | None, device: torch.device) -> torch.amp.GradScaler:
    """Scales losses up so that small gradients do not become 0 in float16; does nothing for other dtypes."""
    return torch.amp.GradScaler(device.type, enabled=dtype is torch.float16)
