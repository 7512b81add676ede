"""The home panel: devices, jobs and models of this computer, refreshed once a second while the panel is shown."""

from __future__ import annotations

import time
from typing import Any

import qt

from MedDeepLib.core import methods, tasks
from MedDeepLib.panels.changes import ValueConnector
from MedDeepLib.panels.home.devices import DevicesSection
from MedDeepLib.panels.home.jobs import JobsSection
from MedDeepLib.panels.home.models import ModelsSection
from MedDeepLib.panels.home.runs_folder import RunsFolderSection
from MedDeepLib.panels.job_monitor import shut_down_all
from MedDeepLib.panels.status import JobLog

LOOK_MILLISECONDS = 1000
_LOOKS_FOR_MODELS = 5  # models change when a training ends, which is noticed, or when another program changes them
_LAST_SECONDS = 1.0  # for folders being deleted


class Home:
    """The sections of the panel, and the timer that refreshes them.

    Attributes:
        devices, jobs, models, runs_folder: the sections.
    """

    def __init__(self, ui: Any, logic: Any):
        """``logic`` resumes trainings: ``logic.resume(run_folder)``, with the workers of ``logic.launcher``."""
        for task in tasks():
            methods(task)  # imported now, not while the panel is shown
        self._logic = logic
        self.jobs = JobsSection(ui, logic, JobLog(ui.logTextEdit, ui.jobsLogButton))
        self.devices = DevicesSection(ui, self.jobs.stop)
        self.models = ModelsSection(ui)
        self.runs_folder = RunsFolderSection(ui)
        for section in (self.jobs, self.models):
            section.space_changed.connect(self._space_changed)
        self.runs_folder.changes.connect(self._look_at_all)
        self._looks = 0
        self._connectors: dict[str, ValueConnector] = {}
        self._timer = qt.QTimer()
        self._timer.setInterval(LOOK_MILLISECONDS)
        self._timer.connect("timeout()", self._look)

    def connectors(self) -> dict[str, ValueConnector]:
        """Connectors for the fields of the parameter node, by field name."""
        if not self._connectors:
            self._connectors = {
                "selectedJob": ValueConnector(self.jobs.table),
                "jobOrder": ValueConnector(self.jobs.table.order),
                "selectedModel": ValueConnector(self.models.table),
                "modelOrder": ValueConnector(self.models.table.order),
            }
        return self._connectors

    def begin(self) -> None:
        """The panel is shown: refresh now, and then once a second."""
        if not self._timer.isActive():
            self.devices.begin()
            self._look_at_all()
            self._timer.start()

    def end(self) -> None:
        """Another module is shown. Jobs that were resumed here continue, and so do their curves."""
        self._timer.stop()
        self.devices.end()

    def is_looking(self) -> bool:
        """Whether the panel is refreshed once a second."""
        return self._timer.isActive()

    def is_busy(self) -> bool:
        """Whether any of the sections is busy."""
        return any(section.is_busy() for section in (self.jobs, self.models, self.runs_folder))

    def scene_closes(self) -> None:
        """The scene is about to be cleared."""
        self.jobs.scene_closes()

    def shut_down(self) -> None:
        """The panel or the application closes: everything ends, a resumed training saves and stops."""
        self.end()
        shut_down_all([self.jobs.resumed], self._logic.launcher)
        deadline = time.monotonic() + _LAST_SECONDS
        self.jobs.shut_down(deadline)
        self.models.shut_down(deadline)
        self.runs_folder.shut_down()  # must come last: it measures the folder again after deletions by the others

    def _look(self) -> None:
        self._looks += 1
        self.devices.refresh()
        self.jobs.refresh()
        if self._looks % _LOOKS_FOR_MODELS == 0:
            self.models.refresh()

    def _look_at_all(self) -> None:
        self.devices.refresh()
        self.jobs.refresh()
        self.models.refresh()
        self.runs_folder.refresh()

    def _space_changed(self) -> None:
        self.models.refresh()
        self.runs_folder.refresh()
