"""Curves of any job in the scene, drawn from its events and updated while it runs."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import qt

from MedDeepLib.jobs import JobFolder
from MedDeepLib.jobs.events import EventReader
from MedDeepLib.panels.fields.slices import Slices
from MedDeepLib.scene.curves import TrainingCurves, show_chart

_LOOK_MILLISECONDS = 1000
_EVENTS_AT_ONCE = 500


class LiveCurves:
    """The requested charts, one for each job. They are updated also while another module is shown."""

    def __init__(self):
        self._followed: dict[Path, _Followed] = {}
        self._slices = Slices()
        self._timer = qt.QTimer()
        self._timer.setInterval(_LOOK_MILLISECONDS)
        self._timer.connect("timeout()", self._look)

    def show(self, folder: JobFolder) -> Any:
        """Show a job's chart in the plot view of the layout and return its node; it is filled after that."""
        followed = self._followed.get(folder.path)
        if followed is None or followed.curves.chart is None:
            self._slices.cancel()
            followed = self._followed[folder.path] = _Followed(folder)
        show_chart(followed.curves.chart)
        self._timer.start()
        self._look()
        return followed.curves.chart

    def follow_again(self, folder: JobFolder) -> None:
        """A job was resumed: update its chart again if there is one."""
        if folder.path in self._followed:
            self._timer.start()

    def is_following(self) -> bool:
        """Whether any chart is not complete yet."""
        return self._timer.isActive()

    def forget(self) -> None:
        """The scene is cleared, or the panel is closed."""
        self._timer.stop()
        self._slices.cancel()
        self._followed = {}

    def _look(self) -> None:
        if not self._slices.is_busy():
            self._slices.start(self._fill(list(self._followed.values())), self._filled)

    def _fill(self, followed: list[_Followed]) -> Generator[None]:
        for one in followed:
            yield from one.read()

    def _filled(self) -> None:
        if all(one.complete for one in self._followed.values()):
            self._timer.stop()


class _Followed:
    """A job's curves and how far its events have been read."""

    def __init__(self, folder: JobFolder):
        self.curves = TrainingCurves(folder.path.name)
        self.complete = False
        self._folder = folder
        self._reader = EventReader(folder.events_file)
        self._unread: list[dict[str, Any]] = []

    def read(self) -> Generator[None]:
        alive = self._folder.worker_alive()  # checked first, so that its last events are read below
        for events in self._reader.read_in_parts():
            self._unread += [event for event in events if event["event"] == "metrics"]
            # Each addition makes the plot draw again.
            if len(self._unread) >= _EVENTS_AT_ONCE:
                self._add()
            yield
        self._add()
        self.complete = not alive

    def _add(self) -> None:
        if self._unread and self.curves.chart is not None:
            self.curves.add(self._unread)
        self._unread = []
