"""A job waits for its device, and says so; then it has the device until it ends."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator

from MedDeepLib.devices import Device, Lease, usable_devices
from MedDeepLib.devices.threads import training_threads
from MedDeepLib.errors import Stopped
from MedDeepLib.jobs.folder import JobFolder, State, write_json
from MedDeepLib.jobs.job import Job

_POLL_SECONDS = 0.1


@contextlib.contextmanager
def leased_device(
    job: Job, folder: JobFolder, report: Callable[..., None], stop_requested: Callable[[], bool]
) -> Iterator[tuple[Device, int]]:
    """The device that the job computes on, for itself while the block lasts, and its number of processor threads.

    While others have every device that would do, the job is in the state "queued" and reports whom it waits for.

    Raises:
        Stopped: the user asked to stop while it waited.
        UserError: there is no such device, or torch cannot use it.
    """
    devices, reason = usable_devices(job.device)
    with Lease(devices, job.title, folder.path, _threads(job, folder)) as lease:
        _wait(lease, report, stop_requested)
        write_json(folder.resources_file, {"device": lease.device.id, "threads": lease.threads})
        report("message", message=f"Computing on {lease.device.name}{reason}.")
        yield lease.device, lease.threads


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
    """The number of threads that the job must have; 0: whatever is free.

    The last bits of a training's weights depend on it, so it does not depend on what else runs, and a resumed training
    keeps the number it began with.
    """
    if job.threads or job.action not in ("train", "crossvalidate"):
        return job.threads
    return _threads_before(folder) or training_threads()


def _threads_before(folder: JobFolder) -> int:
    """What a training has computed with so far; 0: it begins now."""
    if not folder.has_checkpoint():
        return 0
    try:
        return int(json.loads(folder.resources_file.read_text(encoding="utf-8"))["threads"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0
