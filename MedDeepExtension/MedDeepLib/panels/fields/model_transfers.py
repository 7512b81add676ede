"""The menu beside a model: import a bundle, export the chosen model, trust it. Another process does the copying."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from MedDeepLib.bundles.model import Model
from MedDeepLib.jobs.model_transfer import ModelTransfer
from MedDeepLib.scene import runs

_POLL_MILLISECONDS = 100


class ModelTransfers:
    """One transfer at a time, started from a menu.

    Attributes:
        show: called with a sentence on its progress, and with an empty one when it is over.
        imported: called with the folder of a model that was just imported or trusted.
        chosen: returns the chosen model, None when there is none.
    """

    def __init__(
        self,
        button: Any,
        show: Callable[[str], None],
        imported: Callable[[Path], None],
        chosen: Callable[[], Model | None],
    ):
        """``button`` is a tool button; its click action is unchanged, its arrow opens the menu."""
        self._button, self._show, self._imported, self._chosen = button, show, imported, chosen
        self._transfer: ModelTransfer | None = None
        self._words = ""
        self._finished: Callable[[Path], None] = imported
        self._timer = qt.QTimer()
        self._timer.setInterval(_POLL_MILLISECONDS)
        self._timer.connect("timeout()", self._look)
        menu = qt.QMenu(button)
        self.import_folder = menu.addAction(_("Import a folder..."))
        self.import_archive = menu.addAction(_("Import an archive..."))
        menu.addSeparator()
        self.export = menu.addAction(_("Export the chosen model..."))
        self.trust = menu.addAction(_("Trust the chosen model..."))
        self.import_folder.toolTip = _("Copy a MONAI bundle, or a model of this extension, to your models.")
        self.import_archive.toolTip = _(
            "The same from a zip file, or from a TorchScript file with its metadata inside."
        )
        self.export.toolTip = _("Write the model as a MONAI bundle for others: a zip file.")
        self.trust.toolTip = _("Let an imported bundle run its own code.")
        menu.toolTipsVisible = True
        actions = (
            (self.import_folder, self._import_folder),
            (self.import_archive, self._import_archive),
            (self.export, self._export),
            (self.trust, self._trust),
        )
        for action, slot in actions:
            action.connect("triggered()", slot)
        menu.connect("aboutToShow()", self.update)
        button.setMenu(menu)
        button.popupMode = qt.QToolButton.MenuButtonPopup
        self.menu = menu
        self.update()

    def is_busy(self) -> bool:
        return self._transfer is not None

    def update(self) -> None:
        """Enable the actions that are possible now."""
        model = self._chosen()
        free = not self.is_busy()
        self.import_folder.enabled = self.import_archive.enabled = free
        self.export.enabled = free and model is not None
        self.trust.enabled = free and model is not None and model.untrusted() is not None

    def ask_for_trust(self, model: Model) -> None:
        """Tell the user what the bundle wants to run; if they agree, remember it."""
        question = model.untrusted()
        if question is None:
            return
        # Not a dialog of slicer.util: these are answered automatically in testing mode.
        buttons, title = qt.QMessageBox.Ok | qt.QMessageBox.Cancel, _("Trust this bundle?")
        answer = qt.QMessageBox.warning(
            slicer.util.mainWindow(), title, question.question, buttons, qt.QMessageBox.Cancel
        )
        if answer == qt.QMessageBox.Ok:
            self._start(_("Reading all files of the bundle"), self._imported, "trust", model.folder)

    def _import_folder(self) -> None:
        title = _("Choose the folder of a MONAI bundle or of a model")
        self._import(qt.QFileDialog.getExistingDirectory(self._button, title, str(Path.home())))

    def _import_archive(self) -> None:
        title = _("Choose the archive of a MONAI bundle or of a model")
        filters = _("Models") + " (*.zip *.ts)"
        self._import(qt.QFileDialog.getOpenFileName(self._button, title, str(Path.home()), filters))

    def _import(self, source: str) -> None:
        if source:
            words = _("Importing {name}").format(name=Path(source).name)
            self._start(words, self._imported, "import", source)

    def _export(self) -> None:
        model = self._chosen()
        if model is None:
            return
        proposed = Path.home() / f"{model.title.replace(':', '').replace(' ', '_')}.zip"
        title = _("Write the model as a MONAI bundle")
        target = qt.QFileDialog.getSaveFileName(self._button, title, str(proposed), _("Archive") + " (*.zip)")
        if target:
            target = target if target.endswith(".zip") else f"{target}.zip"
            words = _("Exporting {name}").format(name=model.title)
            self._start(words, self._exported, "export", model.folder, target)

    def _exported(self, path: Path) -> None:
        self._show(_("The model was written to {path}.").format(path=path))

    def _trust(self) -> None:
        model = self._chosen()
        if model is not None:
            self.ask_for_trust(model)

    def _start(self, words: str, finished: Callable[[Path], None], *arguments: str | Path) -> None:
        self._words, self._finished = words, finished
        self._transfer = ModelTransfer(runs.models_folder(), *arguments)
        self._show(f"{words}...")
        self.update()
        self._timer.start()

    def _look(self) -> None:
        transfer = self._transfer
        if transfer is None or transfer.is_running():
            if transfer is not None and transfer.share():
                self._show(f"{self._words}: {transfer.share():.0%}")
            return
        self._timer.stop()
        self._transfer = None
        if transfer.path is not None:
            self._finished(transfer.path)
        else:
            self._show(transfer.error)
        self.update()
