"""What this computer can compute on, who uses it and who waits for it; importing this does not import torch.

See :mod:`~MedDeepLib.devices.manager` (which devices there are), :mod:`~MedDeepLib.devices.leases` (one job at a time,
and in which order), :mod:`~MedDeepLib.devices.threads` (the CPU, which is shared) and
:mod:`~MedDeepLib.devices.preflight` (whether a network fits).
"""

from MedDeepLib.devices.board import Board, Ticket
from MedDeepLib.devices.leases import Lease, holders, move, waiting
from MedDeepLib.devices.manager import (
    ALL,
    Device,
    Owner,
    Watching,
    check_request,
    devices_of_processes,
    list_devices,
    present_devices,
    resolve,
    torch_device,
    usable_devices,
)

__all__ = [
    "ALL",
    "Board",
    "Device",
    "Lease",
    "Owner",
    "Ticket",
    "Watching",
    "check_request",
    "devices_of_processes",
    "holders",
    "list_devices",
    "move",
    "present_devices",
    "resolve",
    "torch_device",
    "usable_devices",
    "waiting",
]
