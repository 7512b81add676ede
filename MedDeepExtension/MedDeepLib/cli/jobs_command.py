"""The script ``jobs.py``: list, show, stop, resume and delete jobs by their folders."""

from __future__ import annotations

import argparse
import sys
import time
from datetime import datetime
from pathlib import Path

from MedDeepLib.cli.console import watch
from MedDeepLib.cli.devices_command import table
from MedDeepLib.errors import EXIT_FAILED, EXIT_STOPPED, UserError
from MedDeepLib.jobs.disk import delete_job, losses
from MedDeepLib.jobs.folder import JobFolder
from MedDeepLib.jobs.launcher import GRACE_SECONDS, launch
from MedDeepLib.jobs.listing import JobList
from MedDeepLib.jobs.runs import ENVIRONMENT_VARIABLE, runs_folder
from MedDeepLib.jobs.stopping import Stopping
from MedDeepLib.jobs.summary import Overview, Summary, overview, resources
from MedDeepLib.jobs.words import in_words

_POLL_SECONDS = 0.1


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 done, 2 bad usage, 3 failed, 130 stopped."""
    options = _parser().parse_args(arguments)
    runs = Path(options.runs).expanduser() if options.runs else runs_folder()
    try:
        if options.action == "list":
            return _list(runs)
        folder = _job_folder(runs, options.job)
        if options.action == "stop":
            return _stop(folder, options.grace)
        if options.action == "delete":
            return _delete(folder, options.yes)
        return {"show": _show, "resume": _resume}[options.action](folder)
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return EXIT_STOPPED


def _list(runs: Path) -> int:
    jobs = JobList()
    for _ in jobs.refresh(runs):
        pass
    if not jobs.overviews:
        print(f"No jobs in {runs}.")
        return 0
    rows = [("Job", "What", "State", "Progress", "Begun")]
    rows += [(_name(o.folder, runs), o.title, str(o.state), _progress(o), _begun(o)) for o in jobs.overviews]
    print(table(rows))
    return 0


def _show(folder: JobFolder) -> int:
    found, summary = overview(folder), Summary()
    summary.take(folder.events())
    lines = [("Folder", str(folder.path)), ("What", found.title), ("State", str(found.state)), ("Begun", _begun(found))]
    if found.job is not None:
        lines.append(("Device", resources(folder).get("device", found.job.device)))
    lines += [("Progress", _progress(found))]
    lines += [("Reason", text) for text in (found.problem, found.reason) if text]
    lines += [("Warning", message) for message in summary.warnings]
    lines += [(name, f"{value:.4g}") for name, value in summary.metrics.items()]
    usage = folder.result().get("usage", {})
    lines += [(name.replace("_", " "), str(value)) for name, value in usage.items() if name != "device"]
    print(table(lines))
    return 0


def _stop(folder: JobFolder, grace_seconds: float) -> int:
    """Ask the worker to save and exit; after the grace time it is killed with all its child processes."""
    stopping = Stopping(folder, grace_seconds)
    deadline = time.monotonic() + grace_seconds + GRACE_SECONDS  # for a worker that cannot even be killed
    while not stopping.ended() and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    if stopping.forced:
        print("It did not stop in time and was ended; its last checkpoint is kept.")
        return EXIT_FAILED
    state = folder.state()
    print(f"{str(state).capitalize()}." if state.finished else "It had not started.")
    return 0


def _resume(folder: JobFolder) -> int:
    return watch(launch(folder))


def _delete(folder: JobFolder, yes: bool) -> int:
    if not yes:
        if not sys.stdin.isatty():
            raise UserError("Deleting asks first, but this is not a terminal: use --yes.")
        lost = losses(folder)
        what = f"{folder.path} with {', '.join(lost)}" if lost else f"{folder.path}"
        if input(f"Delete {what} for good? [y/N] ").strip().lower() not in ("y", "yes"):
            print("Nothing was deleted.")
            return EXIT_STOPPED
    for _ in delete_job(folder):
        pass
    print(f"Deleted {folder.path}.")
    return 0


def _job_folder(runs: Path, name: str) -> JobFolder:
    for path in (Path(name).expanduser(), runs / name):
        if (path / "job.json").is_file():
            return JobFolder(path)
    raise UserError(f"There is no job '{name}', neither as a folder nor in {runs}: 'list' names them.")


def _name(folder: JobFolder, runs: Path) -> str:
    return folder.path.relative_to(JobFolder(runs).path).as_posix()


def _progress(job: Overview) -> str:
    if job.progress is None:
        return "-"
    left = job.seconds_left
    text = f"{job.progress['step']} of {job.progress['total']}"
    return text if left is None else f"{text}, {in_words(left)} left"


def _begun(job: Overview) -> str:
    return f"{datetime.fromtimestamp(job.begun):%Y-%m-%d %H:%M}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="jobs.py",
        description="All jobs: running, waiting and finished.",
        epilog="Exit codes: 0 done, 2 bad usage or input, 3 failed, 130 stopped.",
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--runs",
        metavar="FOLDER",
        help=f"the folder with the jobs (default: {ENVIRONMENT_VARIABLE}, or MedDeepExtension in your documents)",
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    actions.add_parser("list", parents=[common], help="print a table of all jobs, the newest first")
    one = argparse.ArgumentParser(add_help=False, parents=[common])
    one.add_argument("job", metavar="JOB", help="its folder, or its name in the table")
    actions.add_parser("show", parents=[one], help="print the details of a job")
    stop = actions.add_parser("stop", parents=[one], help="let a job save and exit, also while it waits for a device")
    stop.add_argument(
        "--grace", type=float, default=GRACE_SECONDS, metavar="SECONDS", help="end it after this time (default 20)"
    )
    actions.add_parser("resume", parents=[one], help="resume a job that was stopped or died, and watch it")
    delete = actions.add_parser("delete", parents=[one], help="delete a job's folder; asks first")
    delete.add_argument("--yes", action="store_true", help="do not ask")
    return parser
