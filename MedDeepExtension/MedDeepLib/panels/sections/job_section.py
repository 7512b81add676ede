"""The base of the sections: starts a job safely, reports why it cannot start, and shows how it ends."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from MedDeepLib.errors import UserError
from MedDeepLib.jobs import State
from MedDeepLib.panels.changes import ValueConnector
from MedDeepLib.panels.dependencies import ensure_packages
from MedDeepLib.panels.job_monitor import JobMonitor
from MedDeepLib.panels.status import JobLog, StatusLine
from MedDeepLib.scene.scene_jobs import SceneJob


class JobSection:
    """Base of the sections; a subclass connects its widgets and starts its job.

    The widgets of a section are those of the module's form whose names begin with the section's: ``trainButton``,
    ``trainStatusIcon``, ``trainStatusLabel``, ``trainProgressBar`` and so on.

    Attributes:
        logic: of the module; starts the jobs, see :class:`~MedDeepLib.scene.task_logic.TaskLogic`.
        monitor: follows the job.
        status: the sentence below the buttons.
        saves_work: whether a job of this section that is stopped has work to save.
        grace: seconds allowed for saving it; 0: the default.
    """

    saves_work = False
    grace = 0.0

    def __init__(self, name: str, title: str, ui: Any, logic: Any, log: JobLog):
        self.ui, self.logic = ui, logic
        self.log = log
        self.title = title
        self.status = StatusLine(getattr(ui, f"{name}StatusIcon"), getattr(ui, f"{name}StatusLabel"))
        progress_bar = getattr(ui, f"{name}ProgressBar")
        self.monitor = JobMonitor(title, self.status, progress_bar, log, self.saves_work, self.grace)
        self.monitor.on_finished = self._finished
        self._connectors: dict[str, ValueConnector] = {}

    def connectors(self) -> dict[str, ValueConnector]:
        """Connectors for the fields of the parameter node that this section shows, by field name."""
        if not self._connectors:
            self._connectors = self.make_connectors()
        return self._connectors

    def make_connectors(self) -> dict[str, ValueConnector]:
        """For subclasses; called once."""
        raise NotImplementedError

    def update_buttons(self) -> None:
        """Enable the buttons that can be clicked now; tool tips say why the others cannot."""
        raise NotImplementedError

    def finished(self, job: SceneJob, state: State) -> None:
        """For subclasses: show how it ended. A failure has already been reported."""

    def start(self, make_job: Callable[[], SceneJob | None]) -> bool:
        """Start a job and follow it; an error becomes the status. Returns whether it has started.

        ``make_job`` returns None when the user declined a question.
        """
        try:
            ensure_packages()
            job = make_job()
            if job is not None:
                self.monitor.watch(job)
        except UserError as error:
            self.fail(str(error))
        except Exception as error:
            logging.exception("A job could not be started")
            self.log.add(self.title, traceback.format_exc())
            self.fail(_("The job could not be started ({error}); see the log.").format(error=error))
        self.update_buttons()
        return self.monitor.is_busy()

    def fail(self, sentence: str) -> None:
        """Show an error in the status line and in the log."""
        self.status.error(sentence)
        self.log.add(self.title, sentence)

    def scene_closes(self) -> None:
        """The scene is about to be cleared: a running job is stopped, and its result is dropped."""
        self.monitor.stop()

    def _finished(self, job: SceneJob, state: State) -> None:
        try:
            self.finished(job, state)
        finally:
            self.update_buttons()


def explain_button(button: Any, obstacles: list[str], when_enabled: str) -> None:
    """Enable the button if there are no obstacles; otherwise its tool tip is the first of them."""
    button.enabled = not obstacles
    button.toolTip = obstacles[0] if obstacles else when_enabled
