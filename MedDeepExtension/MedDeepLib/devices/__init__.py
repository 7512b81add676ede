"""What this computer can compute on, asked without importing torch."""

from MedDeepLib.devices.manager import Device, check_request, list_devices, resolve, torch_device

__all__ = ["Device", "check_request", "list_devices", "resolve", "torch_device"]
