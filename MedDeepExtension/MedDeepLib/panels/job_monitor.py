"""Follows one job at a time with a timer and shows its progress; never blocks the event loop."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import qt
from slicer.i18n import tr as _

from MedDeepLib.errors import UserError
from MedDeepLib.jobs import Launcher, State
from MedDeepLib.panels.status import JobLog, StatusLine, remaining_in_words
from MedDeepLib.scene.scene_jobs import SceneJob

POLL_MILLISECONDS = 200
_GRACE_SECONDS = 20.0  # the current step has to finish before a checkpoint can be written
_SHORT_GRACE_SECONDS = 2.0
_SHUT_DOWN_SECONDS = 2.0
_WHOLE = 1000


class JobMonitor:
    """Shows a job's events as a status line, a progress bar and log entries.

    Attributes:
        on_events: called with the new events at each poll.
        on_finished: called with the job and its final state, once its result is in the scene. It may set the status.
    """

    def __init__(
        self, title: str, status: StatusLine, progress_bar: Any, log: JobLog, saves_work: bool, grace: float = 0.0
    ):
        """
        Args:
            title: of the section, for the log.
            status: shows the state in words.
            progress_bar: shows the progress; hidden while nothing runs.
            log: gets messages and warnings.
            saves_work: whether a job that is stopped has work to save and needs time for it.
            grace: that time in s, if not the default.
        """
        self._title, self._status, self._progress_bar, self._log = title, status, progress_bar, log
        self._grace_seconds = grace or (_GRACE_SECONDS if saves_work else _SHORT_GRACE_SECONDS)
        self._saves_work = saves_work
        self.on_events: Callable[[list[dict[str, Any]]], None] = lambda events: None
        self.on_finished: Callable[[SceneJob, State], None] = lambda job, state: None
        self._job: SceneJob | None = None
        self._phase = ""
        self._progress: dict[str, Any] | None = None
        self._metrics: dict[str, float] = {}
        self._silence = ""  # what to show while the worker's heartbeat is missing
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MILLISECONDS)
        self._timer.connect("timeout()", self._look)
        progress_bar.hide()

    @property
    def job(self) -> SceneJob | None:
        """The job that is running, None when there is none."""
        return self._job

    def is_busy(self) -> bool:
        return self._job is not None

    def watch(self, job: SceneJob) -> None:
        """Follow a job that has just been started."""
        self._job, self._phase, self._progress = job, _("Starting"), None
        self._metrics, self._silence = {}, ""
        self._log.follow(job.folder)
        self._log.add(self._title, _("started in {folder}").format(folder=job.folder.path))
        self._show()
        self._progress_bar.show()
        self._timer.start()

    def stop(self) -> None:
        """Ask the job to stop; it is watched until it has. If that takes too long, it is ended."""
        if self._job is not None:
            self._job.stop(self._grace_seconds)
            self._show()

    def shut_down(self, deadline: float) -> None:
        """End the job now, permanently: the panel is closed.

        Args:
            deadline: ``time.monotonic()`` until which the worker may save its work; then it is killed.
        """
        job, self._job = self._job, None
        self._timer.stop()
        if job is None:
            return
        job.stop()
        while self._saves_work and job.is_running() and time.monotonic() < deadline:
            time.sleep(0.02)
        if job.is_running():
            job.kill()
        job.clean_up()

    def _look(self) -> None:
        job = self._job
        if job is None:
            return
        running = job.is_running()  # checked before reading, so that no event can be missed
        events = job.poll()
        for event in events:
            self._take(event)
        self.on_events(events)
        if running:
            self._show()
        else:
            self._finish(job)

    def _take(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        self._silence = event["message"] if kind == "warning" and event.get("silent") else ""
        if kind == "phase":
            self._phase, self._progress, self._metrics = event["phase"], None, {}
            self._log.add(self._title, event["phase"])
        elif kind == "progress":
            self._progress = event
        elif kind == "metrics":
            self._metrics |= {name: value for name, value in event["values"].items() if value is not None}
        elif kind == "message":
            self._log.add(self._title, event["message"])
        elif kind == "warning":
            self._log.add(self._title, _("Warning: {text}").format(text=event["message"]))

    def stop_requested(self) -> bool:
        """Whether the job has been asked to stop."""
        return self._job is not None and self._job.folder.stop_requested()

    def _show(self) -> None:
        stopping = self.stop_requested()
        if self._silence and not stopping:
            self._status.warning(self._silence)
        else:
            self._status.info(_("Stopping: saving the work...") if stopping else self._words())
        if self._progress is None or stopping:
            self._progress_bar.setRange(0, 0)  # indeterminate
        elif "overall" in self._progress:  # the count in the message is for one stage only
            self._progress_bar.setRange(0, _WHOLE)
            self._progress_bar.value = round(_WHOLE * self._progress["overall"])
        else:
            self._progress_bar.setRange(0, max(1, self._progress["total"]))
            self._progress_bar.value = self._progress["step"]

    def _words(self) -> str:
        if self._progress is None:
            return f"{self._phase}..."
        words = _("{phase}: {step} of {total}").format(
            phase=self._phase, step=self._progress["step"], total=self._progress["total"]
        )
        if self._progress.get("remaining") is not None:
            words += ", " + remaining_in_words(self._progress["remaining"])
        metrics = ", ".join(f"{name} {value:.3g}" for name, value in self._metrics.items())
        return f"{words} ({metrics})" if metrics else words

    def _finish(self, job: SceneJob) -> None:
        self._timer.stop()
        self._job = None
        self._progress_bar.hide()
        self._status.clear()
        try:
            state = job.finish()
            problem = job.failure
        except UserError as error:
            state, problem = State.FAILED, str(error)
        except Exception as error:
            logging.exception("The result of a job could not be loaded")
            state, problem = (
                State.FAILED,
                _("The result could not be loaded ({error}); see the log.").format(error=error),
            )
            self._log.add(self._title, traceback.format_exc())
        if state is State.FAILED:
            self._status.error(problem)
            self._log.add(self._title, problem)
            worker_log = job.log()
            if worker_log:
                self._log.add(self._title, "log.txt\n" + worker_log)
        else:
            self._log.add(self._title, str(state))
        self.on_finished(job, state)


class Following(Protocol):
    """Anything that follows jobs of the application."""

    def stop(self) -> None: ...

    def shut_down(self, deadline: float) -> None: ...


def shut_down_all(monitors: Sequence[Following], launcher: Launcher) -> None:
    """End the jobs of all monitors and the warm workers; takes about two seconds at most, whatever their number."""
    for monitor in monitors:
        monitor.stop()  # all at once, so that they save at the same time
    deadline = time.monotonic() + _SHUT_DOWN_SECONDS
    for monitor in monitors:
        monitor.shut_down(deadline)
    launcher.release()
