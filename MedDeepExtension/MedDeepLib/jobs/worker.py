"""The worker process: ``python -m MedDeepLib.jobs.worker JOBFOLDER``.

Does one job and exits with 0 (done), 2 (bad input), 3 (failed) or 130 (stopped). It never imports Slicer or Qt: a
crash, a lack of memory or a kill costs the job and nothing else. With ``--serve`` it does one job after the other,
see :mod:`MedDeepLib.jobs.server`.
"""

from __future__ import annotations

import argparse
import errno
import logging
import os
import signal
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from MedDeepLib.devices.memory import is_out_of_memory
from MedDeepLib.errors import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_STOPPED,
    CannotWrite,
    JobError,
    OutOfMemory,
    Stopped,
    UserError,
)
from MedDeepLib.jobs.events import EventWriter
from MedDeepLib.jobs.folder import JobFolder, process_alive

if TYPE_CHECKING:
    from MedDeepLib.jobs.server import Server

_PARENT_CHECK_SECONDS = 1.0
_ORPHAN_GRACE_SECONDS = 30.0


def main(arguments: list[str] | None = None) -> int:
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
    report = EventWriter(folder.events_file, echo=not options.quiet)
    stop = StopRequest(folder)
    _stop_when_told(stop, options.parent)
    try:
        return run_job(folder, report, stop).exit_code
    finally:
        report.close()


def _serve(options: argparse.Namespace) -> int:
    from MedDeepLib.jobs.server import Server

    server = Server(options.idle)
    _stop_when_told(server, options.parent)
    return server.serve()


def _stop_when_told(stop: StopRequest | Server, parent: int | None) -> None:
    """Ask for the end on a signal, and when the process ``parent`` has gone."""
    signal.signal(signal.SIGTERM, lambda *_: stop.request())
    signal.signal(signal.SIGINT, lambda *_: stop.request())
    if parent:
        threading.Thread(target=_watch_parent, args=(parent, stop), daemon=True).start()


class StopRequest:
    """True once the stop file is there, a signal has come or the parent is gone; asks the disk at most 10 times a s."""

    def __init__(self, folder: JobFolder):
        self._folder = folder
        self._requested = False
        self._next_look = 0.0

    def request(self) -> None:
        self._requested = True

    def __call__(self) -> bool:
        now = time.monotonic()
        if not self._requested and now >= self._next_look:
            self._next_look = now + 0.1
            self._requested = self._folder.stop_requested()
        return self._requested


@dataclass(frozen=True)
class Outcome:
    """How a job has ended.

    Attributes:
        exit_code: 0 (done), 2 (bad input), 3 (failed) or 130 (stopped).
        sound: whether the process can be trusted with another job: nothing unforeseen has happened to it.
    """

    exit_code: int
    sound: bool = True


def run_job(folder: JobFolder, report: EventWriter, stop: StopRequest, **options: Any) -> Outcome:
    """Do the job and report how it ends; ``options`` go to :func:`MedDeepLib.jobs.actions.perform`."""
    try:
        folder.register_worker()
        report("state", state="running")
        report("phase", phase="Starting")
        from MedDeepLib.jobs.actions import perform

        result = perform(folder, report, stop, **options)
        folder.write_result(result)
        report("state", state="done")
        return Outcome(EXIT_DONE)
    except Stopped:
        report("state", state="stopped")
        return Outcome(EXIT_STOPPED)
    except Exception as error:
        logging.error("%s", traceback.format_exc())
        failure = explain(error)
        report("state", state="failed", message=str(failure), kind=failure.kind, exit_code=failure.exit_code)
        return Outcome(failure.exit_code, sound=isinstance(error, UserError) and failure.kind != "memory")


def explain(error: Exception) -> UserError:
    """The error as one sentence for people; what is not known is named as it is, with the log as the place to look."""
    if isinstance(error, UserError):
        return error
    if is_out_of_memory(error):
        return OutOfMemory(
            "There was not enough memory: choose smaller patches or a smaller batch, close other programs, or use "
            "another device."
        )
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return CannotWrite(f"The disk is full ({error.filename or 'job folder'}): free some space and resume the job.")
    if isinstance(error, ModuleNotFoundError):
        return JobError(f"The Python package '{error.name}' is missing: install the packages of the extension.")
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    failure = JobError(f"The job failed unexpectedly ({reason}); log.txt has the details.")
    failure.kind = "internal"
    return failure


def _watch_parent(pid: int, stop: StopRequest | Server) -> None:
    """Leave when whoever started this worker is gone: nobody would ever stop it or use what it makes."""
    import psutil

    try:
        started = psutil.Process(pid).create_time()
        after_boot = started - psutil.boot_time()
    except psutil.Error:
        started = after_boot = 0.0
    while process_alive(pid, started, after_boot):
        time.sleep(_PARENT_CHECK_SECONDS)
    logging.warning("The application that started this job has ended: saving and leaving.")
    stop.request()
    time.sleep(_ORPHAN_GRACE_SECONDS)
    os._exit(EXIT_FAILED)


def _give_way() -> None:
    import psutil

    process = psutil.Process()
    process.nice(psutil.BELOW_NORMAL_PRIORITY_CLASS if os.name == "nt" else 10)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m MedDeepLib.jobs.worker",
        description="Do the job described by job.json in a folder; events go to events.jsonl and standard output.",
    )
    work = parser.add_mutually_exclusive_group(required=True)
    work.add_argument("folder", metavar="JOBFOLDER", nargs="?", help="folder with a job.json")
    work.add_argument("--serve", action="store_true", help="do the jobs that standard input names, one after the other")
    parser.add_argument(
        "--idle", type=float, default=600.0, metavar="SECONDS", help="stop serving after that time without a job"
    )
    parser.add_argument("--parent", type=int, metavar="PID", help="save and leave when this process ends")
    parser.add_argument("--background", action="store_true", help="run at a lower priority")
    parser.add_argument("--quiet", action="store_true", help="write events to events.jsonl only")
    return parser


if __name__ == "__main__":
    sys.exit(main())
