"""Shared by the fault tests: a real training small enough to be killed many times, and plays that need no torch.

A play is a worker whose work is replaced by a few lines: a sitecustomize.py on its path stands in for
``MedDeepLib.worker.actions``. Everything around the work is real.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

SCRIPT = Path(__file__).resolve().parents[2] / "SegmentModule" / "Scripts" / "segment.py"
LIBRARIES = [str(Path(__file__).resolve().parents[2] / name) for name in ("MedDeepExtension", "SegmentModule")]
# Two seconds of training with five checkpoints, on one idle core.
SETTINGS = {
    "steps": 50,
    "batch_size": 1,
    "learning_rate": 0.01,
    "patch_size": [16, 16, 16],
    "features": [4, 8, 8],
    "resolution": "full",
    "validate_every": 11,
    "elastic": 0.0,
}
PLAY = """
import os, sys, types

if os.environ.get("PLAY") and "MedDeepLib.worker" in sys.orig_argv:

    def perform(folder, report, stop_requested, **options):
        import subprocess, time
        from MedDeepLib.errors import Stopped

        {body}

    sys.modules["MedDeepLib.worker.actions"] = types.ModuleType("MedDeepLib.worker.actions")
    sys.modules["MedDeepLib.worker.actions"].perform = perform
"""


def training_job(dataset: Path, seed: int = 3, threads: int = 1, **changes):
    from MedDeepLib.jobs import Job

    settings = SETTINGS | changes
    return Job("segment", "train", "unet", settings, dataset=str(dataset), device="cpu", seed=seed, threads=threads)


def write_play(monkeypatch, tmp_path: Path, body: str) -> None:
    """From now on every worker runs only ``body``, which can use folder, report and stop_requested."""
    lines = textwrap.indent(textwrap.dedent(body).strip(), 8 * " ").strip()
    write_sitecustomize(monkeypatch, tmp_path, PLAY.format(body=lines))
    monkeypatch.setenv("PLAY", "1")


def write_sitecustomize(monkeypatch, tmp_path: Path, code: str) -> None:
    """Write code that every Python process started from now on runs first."""
    folder = tmp_path / "sitecustomize"
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(code, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(folder))


def wait_for(condition: Callable[[], Any], seconds: float = 300.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
    return value


def finish(job, seconds: float = 300.0) -> list[dict]:
    """Poll the job until it ends; returns its events."""
    events: list[dict] = []
    deadline = time.monotonic() + seconds
    while True:
        running = job.is_running()
        events += job.poll()
        if not running:
            return events
        assert time.monotonic() < deadline, events[-3:]
        time.sleep(0.02)


def resume_here(folder) -> dict:
    """Resume a training in this process, which has already imported torch, and return its final state."""
    from toy_cases import run_worker

    folder.prepare_restart()
    run_worker(folder.path)
    return last_state(folder.events())


def last_state(events: list[dict]) -> dict:
    return [event for event in events if event["event"] == "state"][-1]


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def begun(folder, step: int = 1) -> Callable[[], bool]:
    """A condition: the training in ``folder`` has reached a step."""
    return lambda: (event := folder.latest_progress() or {}).get("stage") is not None and event["step"] >= step


def weights(run: Path) -> dict:
    import torch

    return torch.load(run / "model" / "models" / "model.pt", weights_only=True)


def identical(first: Path, second: Path) -> bool:
    """Whether the models of two runs agree to the last bit."""
    import torch

    one, other = weights(first), weights(second)
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def script(*arguments, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess:
    """Scripts/segment.py as users run it."""
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
    )


def launcher(folder: Path) -> subprocess.Popen:
    """A separate process that starts the job in ``folder`` and waits for it, as an application does."""
    code = (
        "import sys\n"
        "from MedDeepLib.jobs import JobFolder, launch\n"
        "from MedDeepLib.cli.console import watch\n"
        "sys.exit(watch(launch(JobFolder(sys.argv[1]))))\n"
    )
    path = [*LIBRARIES, *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(path)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


CARD = """
import os, sys, types

if os.environ.get("PLAY") and "MedDeepLib.worker" in sys.orig_argv:

    def perform(folder, report, stop_requested, **options):
        import time
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

    sys.modules["MedDeepLib.worker.actions"] = types.ModuleType("MedDeepLib.worker.actions")
    sys.modules["MedDeepLib.worker.actions"].perform = perform
"""


def write_card(monkeypatch, tmp_path: Path) -> None:
    """From now on every worker holds the only GPU of this computer until a file "go" is in its folder."""
    write_sitecustomize(monkeypatch, tmp_path, CARD)
    monkeypatch.setenv("PLAY", "1")
    monkeypatch.setenv("MEDDEEP_STATE", str(tmp_path / "state"))
