"""Summaries of a job, for tables and details: a quick one from its last events, or a full one from all of them.

Scripts and panels show the same; both only read files, whichever process runs the job.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from MedDeepLib.errors import UserError
from MedDeepLib.jobs.events import last_events
from MedDeepLib.jobs.folder import JobFolder, State
from MedDeepLib.jobs.job import Job

_UNEXPLAINED = "Its worker ended without a message: it was killed, or the computer was shut down."


@dataclass(frozen=True)
class Overview:
    """A job at a glance.

    Attributes:
        folder: the job.
        job: what it does, None when its file cannot be read.
        problem: why it cannot be read; empty otherwise.
        state: of the job.
        alive: whether a process is running it or waiting for its device.
        reason: why it failed, or which job it waits for; empty otherwise.
        progress: its last ``progress`` event, None before the first.
        begun: when it was created (seconds since 1970).
    """

    folder: JobFolder
    job: Job | None
    problem: str
    state: State
    alive: bool
    reason: str
    progress: dict[str, Any] | None
    begun: float

    @property
    def title(self) -> str:
        """What it does, in two words."""
        return self.job.title if self.job is not None else "cannot be read"

    @property
    def share_done(self) -> float | None:
        """From 0 to 1; None when unknown."""
        if self.state is State.DONE:
            return 1.0
        if not self.progress:
            return None
        return self.progress.get("overall", self.progress["step"] / max(1, self.progress["total"]))

    @property
    def seconds_left(self) -> float | None:
        """Estimated at its last step; None for a job that is not running or has no estimate."""
        if not self.alive or self.state is State.QUEUED or not self.progress:
            return None
        left = self.progress.get("remaining")
        return None if left is None else max(0.0, left - (time.time() - self.progress["time"]))


def overview(folder: JobFolder) -> Overview:
    """The overview of a job; reads only its last events. No content of its folder makes this fail."""
    job, problem = None, ""
    try:
        job = folder.job()
    except UserError as error:
        problem = str(error)
    events, all_of_them = last_events(folder.events_file)
    state = folder.state_after(events, all_of_them)
    alive = not state.finished and folder.worker_alive()
    summary = Summary()
    summary.take(events)
    return Overview(
        folder, job, problem, state, alive, reason_of(folder, state, summary), summary.progress, _begun(folder)
    )


@dataclass
class Summary:
    """The summary of a job's events; pass them to :meth:`take` as they arrive.

    Attributes:
        reason: of the last state, in words: why it failed, or which job it waits for.
        phase: what it is doing now.
        message: the last one.
        progress: the last ``progress`` event.
        counts: whether the last ``progress`` event belongs to the current phase.
        metrics: the last values of all metrics.
        warnings: all of them, each once.
    """

    reason: str = ""
    phase: str = ""
    message: str = ""
    progress: dict[str, Any] | None = None
    counts: bool = False
    metrics: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def take(self, events: Iterable[dict[str, Any]]) -> None:
        """Add events; malformed ones are skipped."""
        for event in events:
            try:
                self._take(event)
            except (KeyError, TypeError, AttributeError):
                continue

    def _take(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind == "state":
            self.reason = str(event.get("message") or "")
        elif kind == "phase":
            self.phase, self.counts = str(event["phase"]), False
        elif kind == "progress":
            numbers = (event["time"], event.get("remaining") or 0, event.get("overall", 0))
            if event["total"] >= event["step"] >= 0 and all(isinstance(number, int | float) for number in numbers):
                self.progress, self.counts = event, True
        elif kind == "metrics":
            self.metrics |= {name: float(value) for name, value in event["values"].items() if value is not None}
        elif kind == "message":
            self.message = str(event["message"])
        elif kind == "warning" and event["message"] not in self.warnings:
            self.warnings.append(str(event["message"]))


def reason_of(folder: JobFolder, state: State, summary: Summary) -> str:
    """Why a job failed or which job it waits for, in one sentence; empty otherwise."""
    if state not in (State.FAILED, State.QUEUED):
        return ""
    if state is State.QUEUED or summary.reason:
        return summary.reason
    # Only this process knows the exit code; the end of a job that was asked to stop needs no explanation.
    return "It did not stop in time and was ended." if folder.stop_requested() else _UNEXPLAINED


def resources(folder: JobFolder) -> dict[str, Any]:
    """The device and number of threads of a job; empty until it has them."""
    try:
        content = json.loads(folder.resources_file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _begun(folder: JobFolder) -> float:
    try:
        return folder.job_file.stat().st_mtime
    except OSError:
        return 0.0  # it is being deleted
