"""The devices of this computer and the choice between them.

Listing needs neither torch nor a GPU: NVIDIA's management library lists the GPUs, psutil reports the memory. Only the
worker, which has torch, turns a choice into a ``torch.device`` and finds out whether torch can use it.
"""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from MedDeepLib.devices.board import Board, Ticket
from MedDeepLib.errors import UserError

if TYPE_CHECKING:
    import torch

ALL = "all"  # the request for every GPU of this computer
_REQUEST = re.compile(rf"auto|{ALL}|cpu|mps|cuda(:\d+)?")
_BOARD_SECONDS = 0.05  # panels ask too, and must not block


@dataclass(frozen=True)
class Owner:
    """A process that computes on a device, or holds memory of it.

    Attributes:
        pid: of the process.
        name: the program, or what started the job ("Slicer"); empty when that is unknown.
        title: of the job, if it is one of ours.
        used_bytes: of the device's memory; 0: not known.
        folder: of the job, if it is one of ours.
    """

    pid: int
    name: str = ""
    title: str = ""
    used_bytes: int = 0
    folder: str = ""


@dataclass(frozen=True)
class Device:
    """One place where a network can run.

    Attributes:
        id: what a job asks for, e.g. "cuda:0".
        name: for people.
        total_bytes, free_bytes: of memory; 0: not known.
        key: the same in every process, even where CUDA_VISIBLE_DEVICES renumbers the GPU.
        owners: who uses it, as far as this user may see.
        note: a remark on the numbers, for people.
        waiting: the jobs that wait for it, the next one first.
    """

    id: str
    name: str
    total_bytes: int = 0
    free_bytes: int = 0
    key: str = ""
    owners: tuple[Owner, ...] = ()
    note: str = ""
    waiting: tuple[Ticket, ...] = ()

    @property
    def lease_key(self) -> str:
        return self.key or self.id

    @property
    def shared(self) -> bool:
        """True for the CPU: several jobs compute on it at once."""
        return self.id == "cpu"


def check_request(request: str) -> None:
    """Raise UserError when ``request`` does not have the form of a device name."""
    if not _REQUEST.fullmatch(request):
        raise UserError(f"'{request}' is not a device: use auto, all, cpu, cuda, cuda:0, cuda:1, ... or mps.")


def list_devices() -> list[Device]:
    """All devices, the fastest first, with who uses them and who waits; the CPU is always there and always last."""
    tickets = _tickets()
    return [_with_jobs(device, tickets) for device in present_devices()]


def present_devices() -> list[Device]:
    """The same devices without the jobs on them; faster, since the queue is not read."""
    return [*_cuda_devices(), *_apple_devices(), _cpu()]


def resolve(request: str, devices: list[Device] | None = None) -> Device:
    """The device that ``request`` (auto, cpu, cuda, cuda:N, mps) means on this computer.

    ``auto`` takes the NVIDIA GPU with the most free memory, else Apple's GPU, else the CPU. ``all`` gives the same
    device, the first of all. A device that was asked for by name and is not there is an error: nothing ever falls back
    to another device silently.
    """
    check_request(request)
    devices = list_devices() if devices is None else devices
    if request in ("auto", ALL):
        return _preferred(devices)[0]
    wanted = "cuda:0" if request == "cuda" else request
    for device in devices:
        if device.id == wanted:
            return device
    present = ", ".join(device.id for device in devices)
    raise UserError(f"This computer has no device '{wanted}': choose one of {present}, or auto.")


def usable_devices(request: str) -> tuple[list[Device], str]:
    """The devices that match ``request`` and that torch can use, the preferred one first (worker only).

    Returns them with the reason why others were passed over, e.g. " (the installed torch cannot use X)", or "".

    Raises UserError when a device was asked for by name that does not exist or that the installed torch cannot use.
    """
    # The driver's order, in which they are listed here; CUDA's default order begins with the fastest.
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    import torch

    present = list_devices()
    usable = [device for device in present if _torch_can_use(device, torch)]
    if request in ("auto", ALL):
        passed_over = [device.name for device in present if device not in usable]
        reason = f" (the installed torch cannot use {', '.join(passed_over)})" if passed_over else ""
        return _preferred(usable), reason
    chosen = resolve(request, present)
    if chosen not in usable:
        raise UserError(
            f"The installed torch {torch.__version__} cannot use {chosen.name} ({chosen.id}): install a torch built "
            "for it (in Slicer: PyTorch Util module), or choose the device cpu."
        )
    return [chosen], ""


def devices_of_processes(usable: list[Device], request: str, processes: int = 0) -> list[Device]:
    """The device of each process of a job that trains in several; one for a job that does not.

    Args:
        usable: what :func:`usable_devices` has found for the request, the preferred one first.
        processes: number of processes; 0: one, or for the request ``all`` one for each GPU.

    GPUs come in the order of their keys: jobs that take several take them in the same order, so that no two of them
    wait for each other.

    Raises UserError when there are more processes than GPUs; any number share the CPU.
    """
    count = processes or (len(usable) if request == ALL else 1)
    if usable[0].shared:
        return usable[:1] * count
    if count > len(usable):
        gpus = "GPU" if len(usable) == 1 else "GPUs"
        raise UserError(
            f"{count} processes need a GPU each, and '{request}' has {len(usable)} {gpus}: ask for {len(usable)} at "
            "most, for the device 'all', or for the device 'cpu', which any number can share."
        )
    return usable[:1] if count == 1 else sorted(usable[:count], key=lambda device: device.lease_key)


def torch_device(request: str) -> tuple[torch.device, str]:
    """The torch device for ``request``, busy or not, and a sentence that says which one it is and why (worker only).

    Raises UserError when the device exists but the installed torch cannot use it; ``auto`` then takes the next one
    and the sentence says so.
    """
    import torch

    devices, reason = usable_devices(request)
    return torch.device(devices[0].id), f"Computing on {devices[0].name}{reason}."


def driver_version() -> str:
    """The version of NVIDIA's driver, empty where there is none."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # the package, the driver or the permission is missing
        return ""
    try:
        return _text(_asked(pynvml, "nvmlSystemGetDriverVersion"))
    finally:
        pynvml.nvmlShutdown()


def process_name(pid: int) -> str:
    """The program that runs as ``pid``; empty when that is unknown."""
    try:
        import psutil
    except ImportError:
        return ""
    try:
        return psutil.Process(pid).name()
    except (psutil.Error, OSError):
        return ""


def _preferred(devices: list[Device]) -> list[Device]:
    """The candidates of ``auto``: NVIDIA GPUs, most free memory first, else Apple's GPU, else the CPU."""
    gpus = [device for device in devices if device.id.startswith("cuda")]
    return sorted(gpus, key=lambda gpu: -gpu.free_bytes) if gpus else devices[:1]


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
        return [
            Device("mps", "Apple GPU", note="It shares the computer's memory; only a job can tell how much is free.")
        ]
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
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        keys = [_text(_asked(pynvml, "nvmlDeviceGetUUID", handle)) for handle in handles]
        gpus = []
        for number, index in enumerate(_visible(keys)):
            memory = pynvml.nvmlDeviceGetMemoryInfo(handles[index])
            name = _text(pynvml.nvmlDeviceGetName(handles[index]))
            owners = _processes(pynvml, handles[index])
            gpus.append(Device(f"cuda:{number}", name, int(memory.total), int(memory.free), keys[index], tuple(owners)))
        return gpus
    except pynvml.NVMLError:
        return []
    finally:
        pynvml.nvmlShutdown()


class Watching:
    """Keeps the driver's library loaded between queries of the devices, which would otherwise load it each time."""

    def __init__(self):
        self._begun = False

    def begin(self) -> None:
        """Does nothing where there is no such library or no GPU."""
        try:
            import pynvml
        except ImportError:
            return
        if not self._begun:
            try:
                pynvml.nvmlInit()
            except pynvml.NVMLError:
                return
            self._begun = True

    def end(self) -> None:
        """Unload the library; may be called again."""
        if self._begun:
            import pynvml

            self._begun = False
            pynvml.nvmlShutdown()


def _visible(keys: list[str]) -> list[int]:
    """The driver's numbers of the GPUs that CUDA_VISIBLE_DEVICES shows to programs, in the order it gives them."""
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return list(range(len(keys)))
    numbers: list[int] = []
    for entry in wanted.split(","):
        entry = entry.strip()
        if entry.isdecimal():
            matching = [int(entry)] if int(entry) < len(keys) else []
        else:
            matching = [number for number, key in enumerate(keys) if entry and key.startswith(entry)]
        if len(matching) != 1:
            break  # as CUDA does: entries after an invalid one are ignored
        numbers += matching
    return numbers


def _processes(pynvml: Any, handle: Any) -> list[Owner]:
    processes = _asked(pynvml, "nvmlDeviceGetComputeRunningProcesses", handle) or []
    return [Owner(process.pid, process_name(process.pid), "", process.usedGpuMemory or 0) for process in processes]


def _asked(pynvml: Any, function: str, *handle: Any) -> Any:
    """The driver's answer, None where an old or virtual driver has none."""
    try:
        return getattr(pynvml, function)(*handle)
    except (AttributeError, pynvml.NVMLError):
        return None


def _text(value: str | bytes | None) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value or ""


def _tickets() -> list[Ticket]:
    try:
        return Board().tickets(_BOARD_SECONDS)
    except (ImportError, UserError):
        return []  # no package for locks yet, or no folder: then no job runs either


def _with_jobs(device: Device, tickets: list[Ticket]) -> Device:
    """The device with the jobs that hold it in front of its other owners, and the jobs that wait for it."""
    holding = [ticket for ticket in tickets if ticket.holds == device.lease_key]
    waiting = tuple(ticket for ticket in tickets if not ticket.holds and device.lease_key in ticket.devices)
    used = {owner.pid: owner.used_bytes for owner in device.owners}
    jobs = [Owner(t.pid, t.application, t.title, used.get(t.pid, 0), t.folder) for t in holding]
    others = [owner for owner in device.owners if owner.pid not in {job.pid for job in jobs}]
    return replace(device, owners=(*jobs, *others), waiting=waiting)
