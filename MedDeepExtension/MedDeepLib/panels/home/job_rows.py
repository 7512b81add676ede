"""The rows of the table of jobs."""

from __future__ import annotations

from slicer.i18n import tr as _

from MedDeepLib.jobs import State
from MedDeepLib.jobs.summary import Overview
from MedDeepLib.panels.fields.table import Cell, Column, Row
from MedDeepLib.panels.home import words


def columns() -> list[Column]:
    return [
        Column("title", _("Job"), "train segresne"),
        Column("state", _("State"), "stopping"),
        Column("progress", _("Progress"), "100 % 100"),
        Column("left", _("Time left"), "59 min"),
        Column("begun", _("Begun"), "22 Nov 23:10"),
        Column("name", _("Name"), ""),
    ]


def row(job: Overview) -> Row:
    path = job.folder.path
    share, computing = job.share_done, job.alive and job.state is not State.QUEUED
    percent = "" if share is None or job.state is State.DONE else _("{percent:.0f} %").format(percent=100 * share)
    left = job.seconds_left
    cells = (
        Cell(words.without_date(words.title_of(job)), hint=job.problem),
        Cell(words.state_in_words(job), hint=job.reason),
        Cell(percent, order=-1.0 if share is None else share, share=share if computing else None),
        Cell(words.left_in_words(job), order=float("inf") if left is None else left),
        Cell(words.moment_in_words(job.begun), order=job.begun, hint=words.exact_moment(job.begun)),
        Cell(words.without_date(path.name), order=path.name, hint=str(path)),
    )
    return Row(str(path), cells)
