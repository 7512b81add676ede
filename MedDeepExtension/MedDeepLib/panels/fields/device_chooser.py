"""Chooses the device to compute on."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from MedDeepLib.devices import ALL, Device, present_devices
from MedDeepLib.panels.changes import Changes

AUTO = "auto"


class DeviceChooser:
    """A combo box with "Auto" and the devices of this computer; its value is a device request such as ``cuda:0``."""

    def __init__(self, combo_box: Any, devices: list[Device] | None = None, several: bool = False):
        """
        Args:
            devices: of this computer, if they have been listed already.
            several: offer all GPUs together if there are several.
        """
        self.changes = Changes()
        self._combo_box = combo_box
        combo_box.clear()
        combo_box.addItem(_("Auto (the fastest free device)"), AUTO)
        devices = present_devices() if devices is None else devices
        gpus = [device for device in devices if device.id.startswith("cuda")]
        tool_tip = _("The device to compute on. Auto takes the GPU with the most free memory.")
        if several and len(gpus) > 1:
            combo_box.addItem(_("All {count} GPUs together").format(count=len(gpus)), ALL)
            tool_tip += " " + _("On all GPUs together, each takes a batch of the chosen size at every step.")
        for device in devices:
            combo_box.addItem(_title(device), device.id)
        combo_box.toolTip = tool_tip
        combo_box.connect("currentIndexChanged(int)", lambda index: self.changes.emit())

    def value(self) -> str:
        return self._combo_box.itemData(self._combo_box.currentIndex) or AUTO

    def set_value(self, request: str) -> None:
        """Choose a device; one that this computer does not have is marked, and starting a job will report it."""
        row = self._combo_box.findData(request)
        if row < 0:
            self._combo_box.addItem(_("{device} (not on this computer)").format(device=request), request)
            row = self._combo_box.count - 1
        self._combo_box.currentIndex = row


def _title(device: Device) -> str:
    if not device.free_bytes:
        return f"{device.name} [{device.id}]"
    free = _("{gigabytes:.0f} GB free").format(gigabytes=device.free_bytes / 1e9)
    return f"{device.name} [{device.id}], {free}"
