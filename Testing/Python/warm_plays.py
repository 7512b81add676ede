"""Jobs with a scripted play, for tests of warm workers."""

from __future__ import annotations

import time

import psutil
from MedDeepLib.jobs import RunningJob

# The play is the name of the model.
ACTIONS = """
import json, os, sys, time, types


def perform(folder, report, stop_requested, **options):
    from MedDeepLib.errors import JobError, Stopped, UserError

    play = json.loads(folder.job_file.read_text())["model"]
    print("printed by " + play)
    report("message", message=play)
    if play == "bad input":
        raise UserError("Bad input.")
    if play == "accident":
        raise RuntimeError("CUDA error: an illegal memory access was encountered")
    if play == "no memory":
        raise MemoryError
    while play == "deaf":
        time.sleep(0.02)
    while play == "long":
        if stop_requested():
            raise Stopped
        time.sleep(0.02)
    return {"answer": play}


if os.environ.get("PLAY"):
    sys.modules["MedDeepLib.worker.actions"] = types.ModuleType("MedDeepLib.worker.actions")
    sys.modules["MedDeepLib.worker.actions"].perform = perform
"""


def wait_for(condition, seconds: float = 300.0):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
    return value


def finish(job: RunningJob) -> list[dict]:
    """The events that its launcher reads."""
    events = []
    wait_for(lambda: [events.extend(job.poll()), not job.is_running()][-1])
    return events + job.poll()


def begun(job: RunningJob) -> RunningJob:
    """Wait until the worker runs it; checked in the folder, so that the job's own events stay unread."""
    wait_for(lambda: any(event["event"] == "message" for event in job.folder.events()))
    return job


def phases(events: list[dict]) -> list[str]:
    return [event["phase"] for event in events if event["event"] == "phase"]


def last_state(events: list[dict]) -> dict:
    return [event for event in events if event["event"] == "state"][-1]


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
