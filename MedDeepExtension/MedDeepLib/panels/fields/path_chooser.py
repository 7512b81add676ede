"""A path that may be a file or a folder."""

from __future__ import annotations

from typing import Any

import qt
from slicer.i18n import tr as _

from MedDeepLib.panels.changes import Changes


class PathChooser:
    """A ctkPathLineEdit, whose own button asks for a file, and a button beside it that asks for a folder."""

    def __init__(self, path_line_edit: Any, folder_button: Any = None):
        self.changes = Changes()
        self._path_line_edit = path_line_edit
        path_line_edit.connect("currentPathChanged(QString)", lambda path: self.changes.emit())
        if folder_button is not None:
            folder_button.connect("clicked()", self._ask_for_folder)

    def value(self) -> str:
        return self._path_line_edit.currentPath.strip()

    def set_value(self, path: str) -> None:
        self._path_line_edit.currentPath = path

    def remember(self) -> None:
        """Offer this path again next time."""
        self._path_line_edit.addCurrentPathToHistory()

    def _ask_for_folder(self) -> None:
        path = qt.QFileDialog.getExistingDirectory(self._path_line_edit, _("Choose a folder"), self.value())
        if path:
            self.set_value(path)
