"""All jobs of the runs folder, whichever program started them: their progress, and the actions on them."""

from __future__ import annotations

import logging
from collections.abc import Generator
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from MedDeepLib.errors import UserError
from MedDeepLib.jobs import JobFolder, State
from MedDeepLib.jobs.disk import delete_job, losses
from MedDeepLib.jobs.listing import JobList
from MedDeepLib.jobs.stopping import Stopping
from MedDeepLib.jobs.summary import Overview
from MedDeepLib.panels.changes import Changes
from MedDeepLib.panels.dependencies import ensure_packages
from MedDeepLib.panels.fields.slices import Slices
from MedDeepLib.panels.fields.table import Row, Table
from MedDeepLib.panels.home.curves import LiveCurves
from MedDeepLib.panels.home.files import open_folder
from MedDeepLib.panels.home.job_details import JobDetails
from MedDeepLib.panels.home.job_rows import columns, row
from MedDeepLib.panels.home.resumed_jobs import ResumedJobs
from MedDeepLib.panels.job_monitor import POLL_MILLISECONDS
from MedDeepLib.panels.sections.job_section import explain_button
from MedDeepLib.panels.status import JobLog, StatusLine
from MedDeepLib.scene import runs
from MedDeepLib.scene.scene_jobs import SceneJob

NEWEST_FIRST = "-begun"


class JobsSection:
    """The table of jobs, the details of the chosen one, and the buttons for it.

    Attributes:
        table: its value is the path of the chosen job.
        details: of the chosen job.
        curves: those that were asked for.
        resumed: the jobs that were resumed here.
        space_changed: emitted when folders or models were added or deleted.
    """

    def __init__(self, ui: Any, logic: Any, log: JobLog):
        """``logic.resume(run_folder)`` resumes a training."""
        self.ui = ui
        self.status = StatusLine(ui.jobsStatusIcon, ui.jobsStatusLabel)
        self.table = Table(ui.jobsTable, columns(), NEWEST_FIRST)
        self.curves = LiveCurves()
        self.resumed = ResumedJobs(self._resumed_ended)
        self.space_changed = Changes()
        self.details = JobDetails(ui.jobsDetails)
        self._log, self._logic = log, logic
        self._jobs = JobList()
        self._rows: dict[str, tuple[Overview, Row]] = {}
        self._seen_any, self._died = False, 0
        self._looking, self._deleting = Slices(), Slices()
        self._stopping: list[Stopping] = []
        self._stop_timer = qt.QTimer()
        self._stop_timer.setInterval(POLL_MILLISECONDS)
        self._stop_timer.connect("timeout()", self._look_at_stopping)
        self.table.changes.connect(self._show_chosen)
        self.details.changes.connect(self.update_buttons)
        for name, function in (
            ("Stop", self._stop_chosen),
            ("Resume", self._resume_chosen),
            ("Curves", self._show_curves),
            ("Folder", self._open_folder),
            ("Delete", self._delete_chosen),
        ):
            getattr(ui, f"jobs{name}Button").connect("clicked()", function)
        ui.jobsLogButton.connect("clicked()", self._open_log)  # the log itself is filled by JobLog
        self._show_chosen()

    @property
    def overviews(self) -> list[Overview]:
        """The jobs at the last refresh, the newest first."""
        return self._jobs.overviews

    def chosen(self) -> Overview | None:
        """The job that is chosen in the table."""
        found = self._rows.get(self.table.value())
        return found[0] if found is not None else None

    def is_busy(self) -> bool:
        """Whether the jobs are being refreshed."""
        return self._looking.is_busy() or self.table.is_busy() or self.details.is_busy() or self._deleting.is_busy()

    def refresh(self) -> None:
        """Refresh all jobs, a few at a time."""
        if not self._looking.is_busy():
            self._looking.start(self._look(), self._looked, self.status.error)

    def stop(self, folder: JobFolder) -> None:
        """Ask a job to save and stop, whichever program started it."""
        mine = self.resumed.job(folder.path)
        try:
            if mine is not None:
                mine.stop()
            else:
                self._stopping.append(Stopping(folder))
                self._stop_timer.start()
            self.status.info(_("Stopping {name}...").format(name=folder.path.name))
        except UserError as error:
            self.status.error(str(error))
        self.refresh()
        self.update_buttons()

    def scene_closes(self) -> None:
        """Trainings started here stop when the scene is closed, as in the other panels; charts go with it."""
        self.resumed.stop()
        self.curves.forget()

    def shut_down(self, deadline: float) -> None:
        """The panel is closed; the resumed jobs are ended by their own function."""
        self._stop_timer.stop()
        self._deleting.finish(deadline)  # must come first: it refreshes the jobs at its end
        self._looking.cancel()
        self.table.shut_down()
        self.details.shut_down()
        self.curves.forget()

    def update_buttons(self) -> None:
        job, ui = self.chosen(), self.ui
        none = [_("Choose a job in the table.")] if job is None else []
        mine = job is not None and self.resumed.job(job.folder.path) is not None
        to_stop = _stop_obstacles(job, mine) if job is not None else none
        explain_button(ui.jobsStopButton, to_stop, _("Let the job save its work and stop."))
        problem = _resume_problem(job, mine) if job is not None else ""
        explain_button(ui.jobsResumeButton, none or ([problem] if problem else []), _resume_words(job))
        no_curves = [] if self.details.has_metrics() else [_("It has no metrics to draw.")]
        explain_button(ui.jobsCurvesButton, none or no_curves, _("Draw loss and validation in the layout's plot view."))
        explain_button(ui.jobsFolderButton, none, _("Show the job's folder in the file manager."))
        deleting = [_("Another job is being deleted.")] if self._deleting.is_busy() else []
        running = [_("It is running: stop it first.")] if job is not None and (job.alive or mine) else []
        explain_button(ui.jobsDeleteButton, none or running or deleting, _("Delete the job's folder; asks first."))
        explain_button(ui.jobsLogButton, none, _("Show the worker's log, including tracebacks."))

    def _look(self) -> Generator[None]:
        yield from self._jobs.refresh(runs.runs_folder())
        fresh: dict[str, tuple[Overview, Row]] = {}
        died = 0
        for job in self._jobs.overviews:
            key = str(job.folder.path)
            before = self._rows.get(key)
            # The time left of a running job changes also between its steps.
            fresh[key] = before if before is not None and before[0] is job and not job.alive else (job, row(job))
            if not self._seen_any and job.state is State.FAILED and not _resume_problem(job):
                died += job.folder.has_checkpoint()
            yield
        self._rows, self._died = fresh, died

    def _looked(self) -> None:
        first = bool(self._rows) and not self._seen_any
        self._seen_any = self._seen_any or first
        if first and not self.table.value():
            self.table.set_value(next(iter(self._rows)))
        self.table.show([row for _job, row in self._rows.values()])
        self.ui.jobsEmptyLabel.setVisible(not self._rows)
        self.ui.jobsTable.setVisible(bool(self._rows))
        if first:
            self._offer_interrupted()
        self._show_chosen()

    def _offer_interrupted(self) -> None:
        """Report trainings that were interrupted, for instance by a crash of the computer."""
        if self._died == 1:
            self.status.warning(_("One training did not finish: choose it and press Resume."))
        elif self._died:
            self.status.warning(
                _("{count} trainings did not finish: choose one and press Resume.").format(count=self._died)
            )

    def _show_chosen(self) -> None:
        job = self.chosen()
        self._log.follow(job.folder if job is not None else None)
        self.details.show(job)
        self.update_buttons()

    def _chosen_folder(self) -> JobFolder:
        job = self.chosen()
        assert job is not None  # the buttons are disabled without a job
        return job.folder

    def _stop_chosen(self) -> None:
        self.stop(self._chosen_folder())

    def _look_at_stopping(self) -> None:
        for stopping in list(self._stopping):
            if stopping.ended():
                self._stopping.remove(stopping)
                self._say_end(stopping.folder, stopping.folder.state(), stopping.forced)
                self.refresh()
        if not self._stopping:
            self._stop_timer.stop()

    def _resume_chosen(self) -> None:
        folder = self._chosen_folder()
        try:
            ensure_packages()
            self.resumed.watch(self._logic.resume(folder.path))
            self.curves.follow_again(folder)
            self.status.info(_("{name} was resumed in the background.").format(name=folder.path.name))
        except UserError as error:
            self.status.error(str(error))
        except Exception as error:
            logging.exception("A job could not be resumed")
            self.status.error(_("The job could not be resumed ({error}).").format(error=error))
        self.refresh()
        self.update_buttons()

    def _resumed_ended(self, job: SceneJob, state: State) -> None:
        if state is State.FAILED:
            self.status.error(f"{job.folder.path.name}: {job.failure}")
        else:
            self._say_end(job.folder, state, forced=False)
        self.space_changed.emit()
        self.refresh()

    def _say_end(self, folder: JobFolder, state: State, forced: bool) -> None:
        name = folder.path.name
        if forced:
            self.status.warning(_("{name} did not stop in time and was ended.").format(name=name))
        elif state is State.STOPPED:
            self.status.info(_("{name} has stopped.").format(name=name))
        elif state is State.DONE:
            self.status.info(_("{name} is done.").format(name=name))
        else:
            self.status.clear()

    def _show_curves(self) -> None:
        self.curves.show(self._chosen_folder())

    def _open_log(self) -> None:
        self.ui.logCollapsibleButton.collapsed = False

    def _open_folder(self) -> None:
        open_folder(self._chosen_folder().path)

    def _delete_chosen(self) -> None:
        folder = self._chosen_folder()
        question = _("Delete the job '{name}' for good?").format(name=folder.path.name)
        lost = losses(folder)
        if lost:
            question += "\n\n" + _("This also deletes: {things}.").format(things="; ".join(lost))
        if slicer.util.confirmYesNoDisplay(question):
            self.status.clear()
            self._deleting.start(delete_job(folder), lambda: self._deleted(folder), self._not_deleted)
            self.update_buttons()

    def _deleted(self, folder: JobFolder) -> None:
        self.status.info(_("{name} was deleted.").format(name=folder.path.name))
        self.space_changed.emit()
        self.refresh()

    def _not_deleted(self, sentence: str) -> None:
        self.status.error(sentence)
        self.refresh()


def _stop_obstacles(job: Overview, mine: bool) -> list[str]:
    """``mine``: whether it was resumed here, and so is running even if its worker has not reported yet."""
    if not job.alive and not mine and not job.folder.is_starting():
        return [_("It is not running: there is nothing to stop.")]
    return [_("It is already being stopped.")] if job.folder.stop_requested() else []


def _resume_problem(job: Overview, mine: bool = False) -> str:
    """Why a job cannot be resumed; empty when it can."""
    if job.job is None:
        return _("Its job.json cannot be read.")
    if job.alive or mine:
        return _("It is running.")
    if job.state is State.DONE:
        return _("It is done: there is nothing to resume.")
    if job.job.action not in ("train", "crossvalidate", "cohort"):
        return _("Only trainings and cohorts can be resumed: start it again from its own panel.")
    return ""


def _resume_words(job: Overview | None) -> str:
    if job is not None and job.job is not None and job.job.action == "cohort":
        return _("Resume with the cases that are not done yet, in the background.")
    if job is not None and not job.folder.has_checkpoint():
        return _("Start it again from the beginning, in the background: it left no checkpoint.")
    return _("Resume from the last checkpoint, in the background.")
