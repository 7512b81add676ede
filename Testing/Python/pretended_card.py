"""Workers on a computer that seems to have one GPU; they wait for a file instead of working.

A sitecustomize.py on the workers' path pretends that the computer has one GPU, on which torch computes as on the CPU,
and replaces the work by waiting for a file named "go" in the job folder.
"""

from __future__ import annotations

import time
from pathlib import Path

from MedDeepLib.devices import Device

CARD = Device("cuda:0", "Pretended card")
PRETENDED = """
import os, sys, time, types


def perform(folder, report, stop_requested, **options):
    from MedDeepLib.devices import Device
    from MedDeepLib.errors import Stopped
    from MedDeepLib.worker import device_queue

    device_queue.usable_devices = lambda request: ([Device("cuda:0", "Pretended card")], "")
    with device_queue.leased_devices(folder.job(), folder, report, stop_requested) as (devices, threads):
        report("phase", phase="Computing")
        while not (folder.path / "go").exists():
            if stop_requested():
                raise Stopped
            time.sleep(0.02)
    return {"device": devices[0].id}


if os.environ.get("PLAY"):
    sys.modules["MedDeepLib.worker.actions"] = types.ModuleType("MedDeepLib.worker.actions")
    sys.modules["MedDeepLib.worker.actions"].perform = perform
"""


def pretend(tmp_path: Path, monkeypatch) -> None:
    """New workers see the simulated GPU from now on, but not the queues of other tests."""
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "sitecustomize.py").write_text(PRETENDED, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))
    monkeypatch.setenv("PLAY", "1")
    monkeypatch.setenv("MEDDEEP_STATE", str(tmp_path / "state"))


def wait_for(condition, seconds: float = 300.0):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return value


def computing(job) -> bool:
    return any(event.get("phase") == "Computing" for event in job.folder.events())


def let_end(job) -> None:
    (job.folder.path / "go").touch()
