"""Shows the plan of a training before it is started."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from MedDeepLib.jobs import State
from MedDeepLib.panels.status import StatusLine
from MedDeepLib.scene.scene_jobs import PlanningJob


class PlanView:
    """The text of the last plan; hidden as soon as a setting changes, because it is then out of date."""

    def __init__(self, text_edit: Any, status: StatusLine):
        self._text_edit, self._status = text_edit, status
        self.hide()

    def hide(self) -> None:
        self._text_edit.setPlainText("")
        self._text_edit.hide()

    def finished(self, job: PlanningJob, state: State) -> None:
        """Show the plan, or say that there is none; a failure has been reported already."""
        if state is State.DONE:
            self._text_edit.setPlainText(job.text)
            self._text_edit.show()
            self._status.info(_("This is the plan of a training. Nothing has been trained yet."))
        elif state is State.STOPPED:
            self._status.info(_("Stopped; there is no plan."))
