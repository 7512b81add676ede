"""Waits until the job's device is free, reports the wait, and leases the device until the job ends."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator

from MedDeepLib.devices import Device, Lease, devices_of_processes, usable_devices
from MedDeepLib.devices.threads import training_threads
from MedDeepLib.errors import Stopped
from MedDeepLib.jobs.folder import JobFolder, State, write_json
from MedDeepLib.jobs.job import Job

_POLL_SECONDS = 0.1


@contextlib.contextmanager
def leased_devices(
    job: Job, folder: JobFolder, report: Callable[..., None], stop_requested: Callable[[], bool]
) -> Iterator[tuple[list[Device], int]]:
    """The device of each process of the job, leased inside the block, and the total number of CPU threads.

    While every suitable device is taken, the job is in the state "queued" and reports which job it waits for.

    Raises:
        Stopped: the user asked to stop while the job waited.
        UserError: there are no such devices, or torch cannot use them.
    """
    usable, reason = usable_devices(job.device)
    of_processes = devices_of_processes(usable, job.device, job.processes)
    # A single process takes the first free device; several processes need specific devices from the start.
    choices = [usable] if len(of_processes) == 1 else [[device] for device in dict.fromkeys(of_processes)]
    with contextlib.ExitStack() as stack:
        leases = []
        for devices in choices:
            leases.append(stack.enter_context(Lease(devices, job.title, folder.path, _threads(job, folder))))
            _wait(leases[-1], report, stop_requested)
        devices = [lease.device for lease in leases]
        devices = devices * len(of_processes) if len(devices) == 1 else devices
        threads = leases[0].threads
        write_json(folder.resources_file, {"device": ",".join(device.id for device in devices), "threads": threads})
        report("message", message=f"Computing on {_in_words(devices)}{reason}.")
        yield devices, threads


def _in_words(devices: list[Device]) -> str:
    if len(devices) == 1:
        return devices[0].name
    names = list(dict.fromkeys(f"{device.name} [{device.id}]" for device in devices))
    return f"{' and '.join(names)} in {len(devices)} processes"


def _wait(lease: Lease, report: Callable[..., None], stop_requested: Callable[[], bool]) -> None:
    said = ""
    while not lease.take():
        sentence = lease.reason()
        if sentence != said:
            report("state", state=State.QUEUED, message=sentence)
            report("phase", phase=sentence)
            said = sentence
        if stop_requested():
            raise Stopped
        time.sleep(_POLL_SECONDS)
    if said:
        report("state", state=State.RUNNING)
        report("phase", phase="Starting")


def _threads(job: Job, folder: JobFolder) -> int:
    """The number of threads that the job must use; 0: whatever is free.

    The last bits of the weights depend on it, so it does not depend on what else runs, and a resumed training
    keeps the number it started with.
    """
    if job.threads or job.action not in ("train", "crossvalidate"):
        return job.threads
    return _threads_before(folder) or training_threads()


def _threads_before(folder: JobFolder) -> int:
    """The number of threads of the training before it was resumed; 0: it starts now."""
    if not folder.has_checkpoint():
        return 0
    try:
        return int(json.loads(folder.resources_file.read_text(encoding="utf-8"))["threads"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0
