"""Shows a running job on a terminal, and stops it on Ctrl-C."""

from __future__ import annotations

import sys
import time
from typing import Any

from MedDeepLib.errors import EXIT_FAILED, EXIT_STOPPED
from MedDeepLib.jobs.folder import State
from MedDeepLib.jobs.launcher import RunningJob
from MedDeepLib.jobs.words import in_words

_POLL_SECONDS = 0.1
_PLAIN_PROGRESS_SECONDS = 10.0


def watch(job: RunningJob) -> int:
    """Print a job's events until it ends and return the exit code for the script.

    The first Ctrl-C asks the worker to save and stop, the second ends it at once.
    """
    printer = _Printer()
    interrupted = False
    while True:
        try:
            running = job.is_running()  # asked first, so that the last events are still read below
            for event in job.poll():
                printer.show(event)
            if not running:
                break
            time.sleep(_POLL_SECONDS)
        except KeyboardInterrupt:
            if interrupted:
                job.kill()
            else:
                printer.line("Saving and stopping; press Ctrl-C again to end at once.")
                job.stop()
            interrupted = True
    printer.finish()
    if job.state in (State.DONE, State.STOPPED) and job.exit_code is not None:
        return job.exit_code
    if printer.failure_code is not None:
        return printer.failure_code
    if interrupted:
        return EXIT_STOPPED
    print(
        f"Error: The worker ended unexpectedly (exit code {job.exit_code}), perhaps for lack of memory or disk space; "
        "a training can be resumed from its last checkpoint.",
        file=sys.stderr,
    )
    return EXIT_FAILED


class _Printer:
    """Prints events; on a terminal the last line shows progress, elsewhere progress is printed now and then."""

    def __init__(self):
        self.failure_code: int | None = None
        self._terminal = sys.stdout.isatty() if hasattr(sys.stdout, "isatty") else False
        self._progress = ""
        self._printed = 0.0
        self._metrics: dict[str, Any] = {}

    def show(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind == "phase":
            self._metrics = {}
            self.line(event["phase"])
        elif kind == "message":
            self.line(event["message"])
        elif kind == "warning":
            self.line(f"Warning: {event['message']}", sys.stderr)
        elif kind == "result":
            for file in event.get("files", [event["output"]]):
                self.line(f"Wrote {file}")
            if event.get("words"):
                self.line(event["words"])
        elif kind == "metrics":
            self._metrics |= event["values"]
        elif kind == "progress":
            self._show_progress(event)
        elif kind == "state" and event["state"] == "failed":
            self.failure_code = event.get("exit_code", EXIT_FAILED)
            self.line(f"Error: {event['message']}", sys.stderr)
        elif kind == "state" and event["state"] in ("stopped", "done"):
            self.line(event["state"].capitalize() + ".")

    def line(self, text: str, stream=None) -> None:
        self.finish()
        print(text, file=stream or sys.stdout, flush=True)

    def finish(self) -> None:
        """End the progress line, if there is one."""
        if self._progress and self._terminal:
            print(flush=True)
        self._progress = ""

    def _show_progress(self, event: dict[str, Any]) -> None:
        metrics = ", ".join(f"{name} {value:.4g}" for name, value in self._metrics.items() if value is not None)
        text = f"  {event['step']} of {event['total']}"
        if event.get("remaining") is not None:
            text += f", {in_words(event['remaining'])} left"
        text += f" ({metrics})" if metrics else ""
        if self._terminal:
            print("\r" + text.ljust(len(self._progress)), end="", flush=True)
            self._progress = text
        elif time.monotonic() - self._printed > _PLAIN_PROGRESS_SECONDS or event["step"] == event["total"]:
            self._printed = time.monotonic()
            print(text, flush=True)
