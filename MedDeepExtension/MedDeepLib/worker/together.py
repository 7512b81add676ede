"""One training in several processes on this computer, under torch's elastic launcher.

The worker leases the devices and waits; the processes (:mod:`MedDeepLib.worker.rank`) train, and each writes its
outcome to a file. torch's launcher ends all of them when one dies; the training can then be resumed, even with a
different number of processes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from MedDeepLib.errors import EXIT_DONE, EXIT_STOPPED, CannotWrite, JobError, OutOfMemory, Stopped, UserError
from MedDeepLib.jobs.folder import JobFolder, read_json, write_json
from MedDeepLib.jobs.launcher import kill_tree, this_process

_OUTCOMES = "processes"
_POLL_SECONDS = 0.2
_ERRORS = {kind.kind: kind for kind in (UserError, JobError, CannotWrite, OutOfMemory)}
_SUMMED = ("processor_seconds", "resident_bytes", "device_bytes", "device_seconds")


def train_together(
    folder: JobFolder, devices: Sequence[str], threads: int, stop_requested: Callable[[], bool]
) -> dict[str, Any]:
    """Train the job in ``folder`` with one process for each of ``devices`` and return its result.

    Args:
        devices: one for each process: GPUs, or "cpu" several times.
        threads: CPU threads of all processes together.

    Raises:
        Stopped: the user asked to stop; a checkpoint has been written.
        JobError: one of the processes ended unexpectedly, or the job failed while it ran.
        UserError: the request or its data are at fault.
    """
    outcomes = folder.path / _OUTCOMES
    shutil.rmtree(outcomes, ignore_errors=True)
    outcomes.mkdir()
    # A hanging process must be noticed: this one only waits for the others, so it sends no heartbeat itself.
    stop_requested = getattr(stop_requested, "asked", stop_requested)
    each = max(1, threads // len(devices))
    command = [
        sys.executable, "-m", "torch.distributed.run",
        "--nnodes=1", f"--nproc-per-node={len(devices)}", "--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0",
        "--max-restarts=0", "-m", "MedDeepLib.worker.rank", str(folder.path),
        "--devices", ",".join(devices), "--threads", str(each), "--parent", this_process(),
    ]  # fmt: skip
    environment = dict(os.environ, OMP_NUM_THREADS=str(each))
    if sys.platform.startswith("linux"):
        environment.setdefault("GLOO_SOCKET_IFNAME", "lo")  # no other computer needs to reach it
    launcher = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)
    try:
        while launcher.poll() is None:
            if stop_requested() and not folder.stop_requested():
                folder.request_stop()  # the processes look there
            time.sleep(_POLL_SECONDS)
    finally:
        kill_tree(launcher)
    result = _result([_outcome(folder, rank) for rank in range(len(devices))])
    shutil.rmtree(outcomes, ignore_errors=True)
    return result


def write_outcome(folder: JobFolder, rank: int, outcome: dict[str, Any]) -> None:
    """Called by a process when it ends: its exit code and a result, or the message and kind of a failure."""
    write_json(folder.path / _OUTCOMES / f"{rank}.json", outcome)


def _outcome(folder: JobFolder, rank: int) -> dict[str, Any]:
    return read_json(folder.path / _OUTCOMES / f"{rank}.json")


def _result(outcomes: list[dict[str, Any]]) -> dict[str, Any]:
    ends = [outcome.get("exit_code") for outcome in outcomes]
    if all(end == EXIT_DONE for end in ends):
        results = [outcome["result"] for outcome in outcomes]
        usage = dict(results[0]["usage"], device=",".join(result["usage"]["device"] for result in results))
        usage |= {key: sum(r["usage"][key] for r in results) for key in _SUMMED if key in usage}
        return results[0] | {"usage": usage}
    if EXIT_STOPPED in ends:
        raise Stopped
    # When one has died, the others only report that it is gone, so its own message takes precedence.
    for outcome in outcomes:
        if outcome.get("message") and outcome.get("kind") != "internal":
            raise _ERRORS.get(outcome["kind"], JobError)(outcome["message"])
    if None not in ends:
        raise JobError(next(outcome["message"] for outcome in outcomes if outcome.get("message")))
    missing = " and ".join(str(rank) for rank, end in enumerate(ends) if end is None)
    raise JobError(
        f"Of the {len(ends)} processes that trained together, number {missing} ended unexpectedly, so all were ended: "
        "resume the training, with the same or another number of processes; log.txt has the details."
    )
