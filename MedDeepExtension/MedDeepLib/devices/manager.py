"""The devices of this computer and the choice between them.

Listing needs neither torch nor a GPU: NVIDIA's management library says what cards there are, psutil says what
memory there is. Only the worker, which has torch, turns a choice into a ``torch.device`` and finds out whether torch
can use it.
"""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from MedDeepLib.errors import UserError

if TYPE_CHECKING:
    import torch

_REQUEST = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


@dataclass(frozen=True)
class Device:
    """One place where a network can run; memory in bytes (0: not known)."""

    id: str
    name: str
    total_bytes: int = 0
    free_bytes: int = 0


def check_request(request: str) -> None:
    """Raise UserError when ``request`` is not a way of naming a device at all."""
    if not _REQUEST.fullmatch(request):
        raise UserError(f"'{request}' is not a device: use auto, cpu, cuda, cuda:0, cuda:1, ... or mps.")


def list_devices() -> list[Device]:
    """All devices, the fastest first; the CPU is always there and always last."""
    return [*_cuda_devices(), *_apple_devices(), _cpu()]


def resolve(request: str, devices: list[Device] | None = None) -> Device:
    """The device that ``request`` (auto, cpu, cuda, cuda:N, mps) means on this computer.

    ``auto`` takes the card with the most free memory, else Apple's GPU, else the CPU. A device that was asked for by
    name and is not there is an error: nothing ever falls back to another device in silence.
    """
    check_request(request)
    devices = list_devices() if devices is None else devices
    if request == "auto":
        cards = [device for device in devices if device.id.startswith("cuda")]
        return max(cards, key=lambda card: card.free_bytes) if cards else devices[0]
    wanted = "cuda:0" if request == "cuda" else request
    for device in devices:
        if device.id == wanted:
            return device
    present = ", ".join(device.id for device in devices)
    raise UserError(f"This computer has no device '{wanted}': choose one of {present}, or auto.")


def torch_device(request: str) -> tuple[torch.device, str]:
    """The torch device for ``request`` and a sentence that says which one it is and why (worker only).

    Raises UserError when the device exists but the installed torch cannot use it; ``auto`` then takes the next one
    and the sentence says so.
    """
    import torch

    usable = [device for device in list_devices() if _torch_can_use(device, torch)]
    if request == "auto":
        chosen = resolve("auto", usable)
        passed_over = [device.name for device in list_devices() if device not in usable]
        reason = f" (the installed torch cannot use {', '.join(passed_over)})" if passed_over else ""
        return torch.device(chosen.id), f"Computing on {chosen.name}{reason}."
    chosen = resolve(request)
    if chosen.id not in [device.id for device in usable]:
        raise UserError(
            f"The installed torch {torch.__version__} cannot use {chosen.name} ({chosen.id}): install a torch built "
            "for it (in Slicer: PyTorch Util module), or choose the device cpu."
        )
    return torch.device(chosen.id), f"Computing on {chosen.name}."


def _torch_can_use(device: Device, torch) -> bool:
    if device.id.startswith("cuda"):
        return torch.cuda.is_available() and int(device.id.split(":")[1]) < torch.cuda.device_count()
    if device.id == "mps":
        return torch.backends.mps.is_available()
    return True


def _cpu() -> Device:
    try:
        import psutil

        memory = psutil.virtual_memory()
        total, free = memory.total, memory.available
    except ImportError:
        total = free = 0
    return Device("cpu", f"CPU ({os.cpu_count()} cores)", total, free)


def _apple_devices() -> list[Device]:
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        return [Device("mps", "Apple GPU")]
    return []


def _cuda_devices() -> list[Device]:
    try:
        import pynvml
    except ImportError:
        return []
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []  # no NVIDIA driver on this computer
    try:
        cards = []
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
            name = pynvml.nvmlDeviceGetName(handle)
            name = name.decode("utf-8", "replace") if isinstance(name, bytes) else name
            cards.append(Device(f"cuda:{index}", name, int(memory.total), int(memory.free)))
        return cards
    except pynvml.NVMLError:
        return []
    finally:
        pynvml.nvmlShutdown()
