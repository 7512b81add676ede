"""The details of one job, read from all its events a little at a time, and kept up to date while it runs."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from MedDeepLib.jobs.events import EventReader
from MedDeepLib.jobs.summary import Overview, Summary, resources
from MedDeepLib.panels.changes import Changes
from MedDeepLib.panels.fields.slices import Slices
from MedDeepLib.panels.home.words import job_details
from MedDeepLib.panels.status import show_html


class JobDetails:
    """A label with the details of the chosen job. ``changes`` is emitted when there may be something new."""

    def __init__(self, label: Any):
        self.changes = Changes()
        self.summary = Summary()
        self._label = label
        self._job: Overview | None = None
        self._reader: EventReader | None = None
        self._slices = Slices()
        label.hide()

    def show(self, job: Overview | None) -> None:
        """Show this job as it is now; None: no job is chosen."""
        changed = self._path(job) != self._path(self._job)
        self._job = job
        if job is None:
            self._slices.cancel()
            self._write("")
        elif changed:
            self.summary, self._reader = Summary(), EventReader(job.folder.events_file)
            self._slices.start(self._read(self._reader), self._render)
            self._render()
        elif self._reader is not None and not self._slices.is_busy():
            self._slices.start(self._read(self._reader), self._render)

    def has_metrics(self) -> bool:
        """Whether the job has reported any metric."""
        return self._job is not None and bool(self.summary.metrics)

    def is_busy(self) -> bool:
        """Whether its events are still being read."""
        return self._slices.is_busy()

    def shut_down(self) -> None:
        """The panel is closed."""
        self._slices.cancel()

    def _read(self, reader: EventReader) -> Generator[None]:
        for events in reader.read_in_parts():
            self.summary.take(events)
            yield

    def _render(self) -> None:
        job = self._job
        if job is None:
            return
        usage = job.folder.result().get("usage")
        usage = usage if isinstance(usage, dict) else {}
        self._write(job_details(job, self.summary, resources(job.folder), usage))

    def _write(self, html: str) -> None:
        self._label.setVisible(bool(html))
        show_html(self._label, html)
        self.changes.emit()

    @staticmethod
    def _path(job: Overview | None) -> Any:
        return job.folder.path if job is not None else None
