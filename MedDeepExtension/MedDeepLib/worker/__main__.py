"""The worker process: ``python -m MedDeepLib.worker JOBFOLDER``.

Runs one job and exits with 0 (done), 2 (bad input), 3 (failed) or 130 (stopped). It never imports Slicer or Qt: a
crash, a lack of memory or a kill costs the job and nothing else. With ``--serve`` it does one job after the other, see
:mod:`MedDeepLib.worker.server`.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from MedDeepLib.errors import CannotWrite, UserError
from MedDeepLib.jobs.events import EventWriter
from MedDeepLib.jobs.folder import JobFolder
from MedDeepLib.worker.process import StopRequest, process_argument, run_job, stop_when_told
from MedDeepLib.worker.server import Server

Action = Callable[..., dict[str, Any]]


def main(arguments: list[str] | None = None, more_actions: Mapping[str, Action] | None = None) -> int:
    """Run one job, or serve; ``more_actions`` maps names to the actions of packages above this one."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if options.background:
        _give_way()
    if options.serve:
        return _serve(options)
    folder = JobFolder(options.folder)
    if not folder.path.is_dir():
        print(f"The job folder {folder.path} does not exist.", file=sys.stderr)
        return UserError.exit_code
    try:
        report = EventWriter(folder.events_file, echo=not options.quiet)
    except OSError as error:
        print(folder.not_writable(error), file=sys.stderr)
        return CannotWrite.exit_code
    stop = StopRequest(folder)
    stop_when_told(stop, options.parent)
    try:
        options = {"more_actions": more_actions} if more_actions else {}
        return run_job(folder, report, stop, **options).exit_code
    finally:
        report.close()


def _serve(options: argparse.Namespace) -> int:
    server = Server(options.idle)
    stop_when_told(server, options.parent)
    return server.serve()


def _give_way() -> None:
    import psutil

    process = psutil.Process()
    process.nice(psutil.BELOW_NORMAL_PRIORITY_CLASS if os.name == "nt" else 10)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m MedDeepLib.worker",
        description="Run the job described by job.json in a folder; events go to events.jsonl and standard output.",
    )
    work = parser.add_mutually_exclusive_group(required=True)
    work.add_argument("folder", metavar="JOBFOLDER", nargs="?", help="folder with a job.json")
    work.add_argument("--serve", action="store_true", help="run the jobs named on standard input, one after the other")
    parser.add_argument(
        "--idle", type=float, default=600.0, metavar="SECONDS", help="exit after this many seconds without a job"
    )
    parser.add_argument("--parent", type=process_argument, metavar="PID", help="save and exit when this process ends")
    parser.add_argument("--background", action="store_true", help="run at a lower priority")
    parser.add_argument("--quiet", action="store_true", help="write events to events.jsonl only")
    return parser


if __name__ == "__main__":
    sys.exit(main())
