"""One of several processes that train together: ``torchrun ... -m MedDeepLib.worker.rank JOBFOLDER``.

The worker starts them for a job with several processes on this computer (:mod:`MedDeepLib.worker.together`). On several
computers that share the job folder, torch's launcher is started on each of them, see Scripts/train_rank.py.

The first process is the leader: it writes events, checkpoints, the model and, without a parent worker, the result.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import traceback
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from MedDeepLib.errors import EXIT_DONE, EXIT_FAILED, EXIT_STOPPED, Stopped, UserError
from MedDeepLib.jobs.events import EventWriter
from MedDeepLib.jobs.folder import JobFolder, process_identity
from MedDeepLib.worker.process import FolderGone, StopRequest, explain, process_argument, stop_when_told
from MedDeepLib.worker.together import write_outcome

_LONGEST_WAIT = timedelta(hours=12)  # seconds to wait for the leader, which plans and validates while the others wait


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if "RANK" not in os.environ:
        print("This is one process of several: start it with torchrun (see --help).", file=sys.stderr)
        return UserError.exit_code
    folder = JobFolder(options.folder)
    if not folder.job_file.exists():
        print(f"The folder {folder.path} contains no job: create one with 'train --prepare'.", file=sys.stderr)
        return UserError.exit_code
    under_worker = options.parent is not None
    if folder.result_file.exists():
        print(f"The job in {folder.path} is done: there is nothing to resume.", file=sys.stderr)
        return UserError.exit_code
    leads = os.environ["RANK"] == "0"
    report = EventWriter(folder.events_file, echo=not under_worker) if leads else _silent
    stop = StopRequest(folder)
    stop_when_told(stop, options.parent, process_identity(os.getppid()))
    if leads and not under_worker:
        try:
            folder.prepare_restart()
        except UserError as error:
            print(error, file=sys.stderr)
            return error.exit_code
        stop.watch_folder(folder.register_worker())
        report("state", state="running")
    elif under_worker:
        stop.watch_folder(folder.worker())
    outcome = _outcome(folder, options.devices, options.threads, report, stop)
    if under_worker:
        write_outcome(folder, int(os.environ["RANK"]), outcome)
    elif leads:
        _tell(folder, report, outcome)
    return EXIT_DONE if outcome["exit_code"] == EXIT_STOPPED else outcome["exit_code"]


def _outcome(folder: JobFolder, devices: list[str], threads: int, report, stop: StopRequest) -> dict[str, Any]:
    """Train, and return how it ended."""
    try:
        import torch

        from MedDeepLib.worker.actions import train_here

        device = _device(devices)
        if device != "cpu":
            torch.cuda.set_device(device)
        torch.distributed.init_process_group("gloo" if device == "cpu" else "nccl", timeout=_LONGEST_WAIT)
        result = train_here(folder, device, threads or torch.get_num_threads(), report, stop)
        # After a failure the process group is not destroyed: the others may be blocked in it forever.
        torch.distributed.destroy_process_group()
        return {"exit_code": EXIT_DONE, "result": result}
    except Stopped:
        return {"exit_code": EXIT_STOPPED}
    except FolderGone:
        return {
            "exit_code": EXIT_FAILED,
            "message": f"The job folder {folder.path} was deleted, moved or taken over by another worker: leave it "
            "in place while the job runs.",
            "kind": "input",
        }
    except Exception as error:
        logging.error("%s", traceback.format_exc())
        failure = explain(error)
        return {"exit_code": failure.exit_code, "message": str(failure), "kind": failure.kind}


def _device(devices: list[str]) -> str:
    """The device of this process: one that the parent worker leased, or else one GPU for each process."""
    import torch

    local = int(os.environ["LOCAL_RANK"])
    if devices:
        return devices[local]
    gpus = torch.cuda.device_count()
    if not gpus:
        return "cpu"
    if local >= gpus:
        raise UserError(f"This computer has {gpus} GPUs: start {gpus} processes on it at most (--nproc-per-node).")
    return f"cuda:{local}"


def _tell(folder: JobFolder, report: Callable[..., None], outcome: dict[str, Any]) -> None:
    """Report the end as a worker would."""
    if outcome["exit_code"] == EXIT_DONE:
        folder.write_result(outcome["result"])
        report("state", state="done")
    elif outcome["exit_code"] == EXIT_STOPPED:
        report("state", state="stopped")
    else:
        report("state", state="failed", **outcome)


def _silent(event: str, **fields: Any) -> None:
    """Report for all processes; only the leader does."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="train_rank.py",
        description="One of several processes that train together, started by torchrun on each computer.",
    )
    parser.add_argument("folder", metavar="RUN", help="run folder shared by all computers, made by 'train --prepare'")
    parser.add_argument(
        "--devices", type=lambda text: text.split(","), default=[], metavar="LIST",
        help="of each process of this computer, e.g. cuda:0,cuda:2 (default: its GPUs in their order, else the CPU)",
    )  # fmt: skip
    parser.add_argument("--threads", type=int, default=0, help="CPU threads of each process (default: OMP_NUM_THREADS)")
    parser.add_argument("--parent", type=process_argument, metavar="PID", help="save and exit when this process ends")
    return parser


if __name__ == "__main__":
    sys.exit(main())
