"""The runs folder and its size on disk."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

from slicer.i18n import tr as _

from MedDeepLib.jobs.disk import size_of
from MedDeepLib.jobs.runs import ENVIRONMENT_VARIABLE
from MedDeepLib.panels.changes import Changes
from MedDeepLib.panels.fields.slices import Slices
from MedDeepLib.panels.home.words import size_in_words
from MedDeepLib.panels.status import StatusLine
from MedDeepLib.scene import runs


class RunsFolderSection:
    """The button that shows and changes the runs folder. ``changes`` is emitted when it changes."""

    def __init__(self, ui: Any):
        self.changes = Changes()
        self.status = StatusLine(ui.runsStatusIcon, ui.runsStatusLabel)
        self._button, self._label = ui.runsFolderButton, ui.runsSizeLabel
        self._measuring = Slices()
        self._showing = False
        self._bytes = 0
        self.refresh()
        self._button.connect("directoryChanged(QString)", self._chosen)

    def is_busy(self) -> bool:
        """Whether the folder is being measured."""
        return self._measuring.is_busy()

    def refresh(self) -> None:
        """Show the folder as it is set now, and measure it, a little at a time."""
        self._showing = True
        self._button.directory = str(runs.runs_folder())
        self._showing = False
        fixed = bool(os.environ.get(ENVIRONMENT_VARIABLE))
        self._button.enabled = not fixed
        self._button.toolTip = (
            _("The environment variable {name} sets this folder.").format(name=ENVIRONMENT_VARIABLE)
            if fixed
            else _("New runs go into this folder, and its jobs are listed above. Existing runs elsewhere stay there.")
        )
        self._measuring.start(self._measure(), self._measured)

    def shut_down(self) -> None:
        """The panel is closed."""
        self._measuring.cancel()

    def _measure(self) -> Generator[None]:
        for total in size_of(runs.runs_folder()):
            self._bytes = total
            yield

    def _measured(self) -> None:
        self._label.text = _("{size} in all").format(size=size_in_words(self._bytes))

    def _chosen(self, path: str) -> None:
        if self._showing:
            return
        if os.path.isdir(path) and os.access(path, os.W_OK):
            runs.set_runs_folder(path)
            self.status.clear()
        else:
            self.status.error(_("The folder {path} cannot be written: choose another one.").format(path=path))
        self.refresh()
        self.changes.emit()
