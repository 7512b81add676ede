"""The choice of a device: all GPUs together are offered if there are several and the job can use them."""

from __future__ import annotations

import pytest
from MedDeepLib.devices import Device

CARDS = [Device("cuda:0", "First", free_bytes=8 * 10**9), Device("cuda:1", "Second")]
CPU = Device("cpu", "CPU")


@pytest.fixture
def chooser(host):
    import qt
    from MedDeepLib.panels.fields.device_chooser import DeviceChooser

    boxes = []

    def make(devices, several):
        boxes.append(qt.QComboBox())
        return boxes[-1], DeviceChooser(boxes[-1], devices, several)

    return make


def requests(box) -> list[str]:
    return [box.itemData(row) for row in range(box.count)]


@pytest.mark.parametrize(
    ("devices", "several", "offered"),
    [
        ([*CARDS, CPU], True, ["auto", "all", "cuda:0", "cuda:1", "cpu"]),
        ([*CARDS, CPU], False, ["auto", "cuda:0", "cuda:1", "cpu"]),
        ([CARDS[0], CPU], True, ["auto", "cuda:0", "cpu"]),
    ],
)
def test_what_is_offered(chooser, devices, several, offered):
    box, _ = chooser(devices, several)
    assert requests(box) == offered


def test_all_cards_are_chosen_and_remembered(chooser):
    box, all_cards = chooser([*CARDS, CPU], True)
    told = []
    all_cards.changes.connect(lambda: told.append(all_cards.value()))
    box.setCurrentIndex(1)
    assert told == ["all"] and box.itemText(1) == "All 2 GPUs together"
    assert "a batch of the chosen size" in box.toolTip
    all_cards.set_value("auto")
    all_cards.set_value("all")
    assert all_cards.value() == "all" and box.count == 5
