"""The choice of a device, on computers with and without a GPU."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace

import pytest
from MedDeepLib.devices import Device, check_request, list_devices, manager, resolve, torch_device, usable_devices
from MedDeepLib.errors import UserError

CPU = Device("cpu", "CPU", 8, 4)
SMALL = Device("cuda:0", "Small card", 10, 9)
LARGE = Device("cuda:1", "Large card", 20, 15)
APPLE = Device("mps", "Apple GPU")


@pytest.mark.parametrize("request_", ["auto", "cpu", "mps", "cuda", "cuda:0", "cuda:12"])
def test_ways_to_name_a_device(request_):
    check_request(request_)


@pytest.mark.parametrize("request_", ["", "gpu", "CUDA", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "auto ", "cuda:0 "])
def test_what_is_no_device_is_refused(request_):
    with pytest.raises(UserError, match="is not a device: use auto, all, cpu"):
        check_request(request_)


def test_the_cpu_is_always_there_and_last():
    devices = list_devices()
    assert devices[-1].id == "cpu"
    assert devices[-1].total_bytes >= devices[-1].free_bytes > 0


@pytest.mark.parametrize(
    "request_, devices, expected",
    [
        ("auto", [CPU], CPU),
        ("auto", [SMALL, LARGE, CPU], LARGE),
        ("auto", [APPLE, CPU], APPLE),
        ("cuda", [SMALL, LARGE, CPU], SMALL),
        ("cuda:1", [SMALL, LARGE, CPU], LARGE),
        ("cpu", [SMALL, CPU], CPU),
    ],
)
def test_what_a_request_means(request_, devices, expected):
    assert resolve(request_, devices) is expected


def test_a_missing_device_is_never_replaced_in_silence():
    with pytest.raises(UserError) as caught:
        resolve("cuda:3", [SMALL, LARGE, CPU])
    assert str(caught.value) == ("This computer has no device 'cuda:3': choose one of cuda:0, cuda:1, cpu, or auto.")


def test_cards_come_from_the_driver_library(monkeypatch):
    class DriverError(Exception):
        pass

    library = SimpleNamespace(
        NVMLError=DriverError,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetMemoryInfo=lambda handle: SimpleNamespace(total=100, free=40 + handle),
        nvmlDeviceGetName=lambda handle: [b"Old card", "New card"][handle],
    )
    monkeypatch.setitem(sys.modules, "pynvml", library)
    cards = list_devices()[:2]
    assert cards == [Device("cuda:0", "Old card", 100, 40), Device("cuda:1", "New card", 100, 41)]

    def no_driver():
        raise DriverError

    library.nvmlInit = no_driver
    assert [device.id for device in list_devices() if device.id.startswith("cuda")] == []


def test_a_card_that_torch_cannot_use(monkeypatch):
    """Auto falls back to the CPU with a message; a GPU requested by name is an error that names the remedy."""
    import torch

    monkeypatch.setattr(manager, "list_devices", lambda: [SMALL, CPU])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    device, sentence = torch_device("auto")
    assert device.type == "cpu"
    assert sentence == "Computing on CPU (the installed torch cannot use Small card)."
    with pytest.raises(UserError, match=r"cannot use Small card \(cuda:0\): install a torch built for it"):
        torch_device("cuda:0")


def test_the_cpu_by_name():
    device, sentence = torch_device("cpu")
    assert device.type == "cpu"
    assert sentence.startswith("Computing on CPU")


class Driver(SimpleNamespace):
    """Stands in for NVIDIA's library on a computer with three GPUs; one process computes on the second."""

    class NVMLError(Exception):
        pass

    nvmlInit = nvmlShutdown = staticmethod(lambda: None)
    nvmlDeviceGetCount = staticmethod(lambda: 3)
    nvmlDeviceGetHandleByIndex = staticmethod(lambda index: index)
    nvmlDeviceGetMemoryInfo = staticmethod(lambda handle: SimpleNamespace(total=100, free=40 + handle))
    nvmlDeviceGetName = staticmethod(lambda handle: f"Card {handle}")
    nvmlDeviceGetUUID = staticmethod(lambda handle: f"GPU-{'abc'[handle]}123")

    @staticmethod
    def nvmlDeviceGetComputeRunningProcesses(handle):
        if handle == 2:
            raise Driver.NVMLError  # not supported on this GPU
        own = SimpleNamespace(pid=os.getpid(), usedGpuMemory=7)
        gone = SimpleNamespace(pid=2**22 + 1, usedGpuMemory=None)  # of another container: no name, no memory use
        return [own, gone] if handle == 1 else []


def test_who_computes_on_a_card(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setitem(sys.modules, "pynvml", Driver())
    idle, used, silent = list_devices()[:3]
    assert idle.owners == silent.owners == ()
    assert [(owner.pid, owner.used_bytes, owner.title) for owner in used.owners] == [
        (os.getpid(), 7, ""),
        (2**22 + 1, 0, ""),
    ]
    assert used.owners[0].name.startswith("py") and used.owners[1].name == ""
    assert used.lease_key == "GPU-b123"


@pytest.mark.parametrize(
    "visible, cards",
    [
        ("", []),
        ("2", [("cuda:0", "Card 2")]),
        ("2,0", [("cuda:0", "Card 2"), ("cuda:1", "Card 0")]),
        ("GPU-b", [("cuda:0", "Card 1")]),
        ("1,-1,0", [("cuda:0", "Card 1")]),
        ("7", []),
        ("GPU-", []),
    ],
)
def test_cards_that_programs_may_see(monkeypatch, visible, cards):
    """CUDA renumbers the visible GPUs; the key still identifies each GPU."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setitem(sys.modules, "pynvml", Driver())
    found = [device for device in list_devices() if device.id.startswith("cuda")]
    assert [(device.id, device.name) for device in found] == cards


def test_auto_prefers_free_memory_among_all_usable_cards(monkeypatch):
    monkeypatch.setattr(manager, "list_devices", lambda: [SMALL, LARGE, CPU])
    monkeypatch.setattr(manager, "_torch_can_use", lambda device, torch: True)
    assert usable_devices("auto") == ([LARGE, SMALL], "")
    assert usable_devices("cuda:0") == ([SMALL], "")
    monkeypatch.setattr(manager, "_torch_can_use", lambda device, torch: device is not LARGE)
    assert usable_devices("auto") == ([SMALL], " (the installed torch cannot use Large card)")
