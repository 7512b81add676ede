"""The choice of a device, on computers that have and have not got one."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
from MedDeepLib.devices import Device, check_request, list_devices, manager, resolve, torch_device
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
    with pytest.raises(UserError, match="is not a device: use auto, cpu"):
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
    """Auto goes on to the CPU and says so; a card asked for by name is an error that names the remedy."""
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
