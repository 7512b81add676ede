"""The script ``jobs.py``: list, show, stop, resume and delete jobs by their folders."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from datetime import datetime
from pathlib import Path

from MedDeepLib.errors import EXIT_FAILED, EXIT_STOPPED, UserError
from MedDeepLib.jobs.console import in_words, watch
from MedDeepLib.jobs.devices_command import table
from MedDeepLib.jobs.folder import JobFolder, State, jobs_in
from MedDeepLib.jobs.launcher import GRACE_SECONDS, end_tree, launch
from MedDeepLib.jobs.runs import ENVIRONMENT_VARIABLE, TEMPORARY, runs_folder

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
    found = [*jobs_in(runs), *jobs_in(runs / TEMPORARY)]
    if not found:
        print(f"No jobs in {runs}.")
        return 0
    rows = [("Job", "What", "State", "Progress", "Begun")]
    rows += [
        (_name(folder, runs), _title(folder), str(folder.state()), _progress(folder), _begun(folder))
        for folder in found
    ]
    print(table(rows))
    return 0


def _show(folder: JobFolder) -> int:
    job, state, events = folder.job(), folder.state(), folder.events()
    lines = [("Folder", str(folder.path)), ("What", job.title), ("State", str(state)), ("Begun", _begun(folder))]
    lines += [("Device", job.device), ("Progress", _progress(folder))]
    states = [event for event in events if event["event"] == "state"]
    if states and states[-1].get("message") and state in (State.FAILED, State.QUEUED):
        lines.append(("Reason", states[-1]["message"]))
    lines += [("Warning", event["message"]) for event in events if event["event"] == "warning"]
    figures = {}
    for event in events:
        if event["event"] == "metrics":
            figures |= {name: value for name, value in event["values"].items() if value is not None}
    lines += [(name, f"{value:.4g}") for name, value in figures.items()]
    usage = folder.result().get("usage", {})
    lines += [(name.replace("_", " "), str(value)) for name, value in usage.items() if name != "device"]
    print(table(lines))
    return 0


def _stop(folder: JobFolder, grace_seconds: float) -> int:
    """Ask the worker to save and leave; after the time of grace it is ended with all it has started."""
    pid = folder.worker_pid()
    if pid is None:
        raise UserError(f"The job in {folder.path} is not running: there is nothing to stop.")
    folder.request_stop()
    if not _ended_within(grace_seconds, folder):
        end_tree(pid)
        _ended_within(GRACE_SECONDS, folder)
        print("It did not stop in time and was ended; its last checkpoint is kept.")
        return EXIT_FAILED
    print(f"{str(folder.state()).capitalize()}.")
    return 0


def _ended_within(seconds: float, folder: JobFolder) -> bool:
    deadline = time.monotonic() + seconds
    while folder.worker_alive():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def _resume(folder: JobFolder) -> int:
    return watch(launch(folder))


def _delete(folder: JobFolder, yes: bool) -> int:
    if folder.worker_alive():
        raise UserError(f"The job in {folder.path} is running: stop it before deleting it.")
    if not yes:
        if not sys.stdin.isatty():
            raise UserError("Deleting asks first, but nobody can answer here: say --yes.")
        question = f"Delete {folder.path} with everything in it, the trained model included? [y/N] "
        if input(question).strip().lower() not in ("y", "yes"):
            print("Nothing was deleted.")
            return EXIT_STOPPED
    try:
        shutil.rmtree(folder.path)
    except OSError as error:
        raise UserError(f"{folder.path} cannot be deleted ({error.strerror or error}): close what uses it.") from None
    print(f"Deleted {folder.path}.")
    return 0


def _job_folder(runs: Path, name: str) -> JobFolder:
    for path in (Path(name).expanduser(), runs / name):
        if (path / "job.json").is_file():
            return JobFolder(path)
    raise UserError(f"There is no job '{name}', neither as a folder nor in {runs}: 'list' names them.")


def _name(folder: JobFolder, runs: Path) -> str:
    return folder.path.relative_to(JobFolder(runs).path).as_posix()


def _title(folder: JobFolder) -> str:
    try:
        return folder.job().title
    except UserError:
        return "cannot be read"


def _progress(folder: JobFolder) -> str:
    progress = folder.latest_progress()
    if progress is None:
        return "-"
    text = f"{progress['step']} of {progress['total']}"
    if progress.get("remaining") and folder.worker_alive():
        text += f", {in_words(progress['remaining'])} left"
    return text


def _begun(folder: JobFolder) -> str:
    return f"{datetime.fromtimestamp(folder.job_file.stat().st_mtime):%Y-%m-%d %H:%M}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="jobs.py",
        description="Trainings, evaluations and applications, running, waiting and past.",
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
    actions.add_parser("show", parents=[one], help="print what is known of a job")
    stop = actions.add_parser("stop", parents=[one], help="let a job save and leave, also while it waits for a device")
    stop.add_argument(
        "--grace", type=float, default=GRACE_SECONDS, metavar="SECONDS", help="end it after that time (default 20)"
    )
    actions.add_parser("resume", parents=[one], help="go on with a job that was stopped or died, and watch it")
    delete = actions.add_parser("delete", parents=[one], help="delete a job's folder; asks first")
    delete.add_argument("--yes", action="store_true", help="do not ask")
    return parser
