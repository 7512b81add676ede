"""All trained models: their details, and copying or deleting them."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from MedDeepLib.jobs import JobFolder
from MedDeepLib.jobs.disk import delete, delete_model
from MedDeepLib.jobs.model_transfer import ModelTransfer
from MedDeepLib.jobs.models import ModelEntry, ModelList, Origin
from MedDeepLib.panels.changes import Changes
from MedDeepLib.panels.fields.slices import Slices
from MedDeepLib.panels.fields.table import Cell, Column, Row, Table
from MedDeepLib.panels.home import words
from MedDeepLib.panels.home.files import open_folder
from MedDeepLib.panels.sections.job_section import explain_button
from MedDeepLib.panels.status import StatusLine, show_html
from MedDeepLib.scene import runs

NEWEST_FIRST = "-made"
_POLL_MILLISECONDS = 100


class ModelsSection:
    """The table of models, the details of the chosen one, and the buttons for it.

    Attributes:
        table: its value is the path of the chosen model's folder.
        space_changed: emitted when a model was deleted.
    """

    def __init__(self, ui: Any):
        self.ui = ui
        self.status = StatusLine(ui.modelsStatusIcon, ui.modelsStatusLabel)
        self.table = Table(ui.modelsTable, _columns(), NEWEST_FIRST)
        self.space_changed = Changes()
        self._models = ModelList()
        self._looking, self._deleting = Slices(), Slices()
        self._transfer: ModelTransfer | None = None
        self._transfer_timer = qt.QTimer()
        self._transfer_timer.setInterval(_POLL_MILLISECONDS)
        self._transfer_timer.connect("timeout()", self._look_at_transfer)
        self._rows: list[Row] = []
        menu = qt.QMenu(ui.modelsExportButton)
        self.export_zip_action = menu.addAction(_("As a zip file..."))
        self.export_folder_action = menu.addAction(_("As a folder..."))
        self.export_zip_action.connect("triggered()", self._export_zip)
        self.export_folder_action.connect("triggered()", self._export_folder)
        ui.modelsExportButton.setMenu(menu)
        ui.modelsFolderButton.connect("clicked()", lambda: open_folder(self._the_chosen().folder))
        ui.modelsDeleteButton.connect("clicked()", self._delete_chosen)
        ui.modelsProgressBar.hide()
        self.table.changes.connect(self._show_chosen)
        self._show_chosen()

    @property
    def entries(self) -> list[ModelEntry]:
        """The models at the last refresh."""
        return self._models.entries

    def chosen(self) -> ModelEntry | None:
        """The model that is chosen in the table."""
        return next((entry for entry in self._models.entries if str(entry.folder) == self.table.value()), None)

    def is_busy(self) -> bool:
        """Whether a refresh, a copy or a deletion is running."""
        busy = any(slices.is_busy() for slices in (self._looking, self._deleting, self.table))
        return busy or self._transfer is not None

    def refresh(self) -> None:
        """Refresh all models, a few at a time."""
        if not self._looking.is_busy():
            self._looking.start(self._look(), self._looked, self.status.error)

    def shut_down(self, deadline: float) -> None:
        """The panel is closed; a running copy is ended."""
        self._deleting.finish(deadline)  # must come first: it refreshes the models at its end
        self._looking.cancel()
        self._transfer_timer.stop()
        if self._transfer is not None:
            self._transfer.cancel()
        self.table.shut_down()

    def update_buttons(self) -> None:
        model, ui = self.chosen(), self.ui
        none = [_("Choose a model in the table.")] if model is None else []
        is_damaged = model is not None and bool(model.problem)
        is_released = model is not None and model.origin is Origin.RELEASED
        damaged = [_("It is damaged: it cannot be copied.")] if is_damaged else []
        exporting = [_("A model is being copied.")] if self._transfer is not None else []
        released = [_("It comes with the extension.")] if is_released else []
        deleting = [_("Another model is being deleted.")] if self._deleting.is_busy() else []
        explain_button(
            ui.modelsExportButton, none or damaged or exporting, _("Copy the model to a folder or a zip file.")
        )
        explain_button(ui.modelsFolderButton, none, _("Show the model's folder in the file manager."))
        explain_button(
            ui.modelsDeleteButton,
            none or released or exporting or deleting,
            _("Delete the model, but keep the run that trained it; asks first."),
        )

    def _look(self) -> Generator[None]:
        yield from self._models.refresh(runs.runs_folder())
        self._rows = []
        for entry in self._models.entries:
            self._rows.append(_row(entry))
            yield

    def _looked(self) -> None:
        self.table.show(self._rows)
        self.ui.modelsEmptyLabel.setVisible(not self._models.entries)
        self.ui.modelsTable.setVisible(bool(self._models.entries))
        self._show_chosen()

    def _show_chosen(self) -> None:
        model = self.chosen()
        details = words.model_details(model) if model is not None else ""
        self.ui.modelsDetails.setVisible(bool(details))
        show_html(self.ui.modelsDetails, details)
        self.update_buttons()

    def _the_chosen(self) -> ModelEntry:
        model = self.chosen()
        assert model is not None  # the buttons are disabled without a model
        return model

    def _export_zip(self) -> None:
        suggested = str(Path.home() / f"{self._the_chosen().name}.zip")
        path = qt.QFileDialog.getSaveFileName(
            self.ui.modelsExportButton, _("Save the model as"), suggested, _("Zip files (*.zip)")
        )
        if path:
            self._export(Path(path) if path.endswith(".zip") else Path(f"{path}.zip"))

    def _export_folder(self) -> None:
        path = qt.QFileDialog.getExistingDirectory(
            self.ui.modelsExportButton, _("Choose where the model's folder is made"), str(Path.home())
        )
        if path:
            self._export(Path(path) / self._the_chosen().name)

    def _export(self, target: Path) -> None:
        self._transfer = ModelTransfer(runs.models_folder(), "export", self._the_chosen().folder, target)
        self.ui.modelsProgressBar.setRange(0, 0)
        self.ui.modelsProgressBar.show()
        self.status.info(_("Copying to {target}...").format(target=target))
        self._transfer_timer.start()
        self.update_buttons()

    def _look_at_transfer(self) -> None:
        transfer, bar = self._transfer, self.ui.modelsProgressBar
        assert transfer is not None  # the timer runs only during a transfer
        if transfer.is_running():
            if transfer.share():
                bar.setRange(0, 100)
                bar.value = round(100 * transfer.share())
            return
        self._transfer_timer.stop()
        self._transfer = None
        bar.hide()
        if transfer.path is not None:
            self.status.info(_("The model is in {target}.").format(target=transfer.path))
        else:
            self.status.error(transfer.error)
        self.update_buttons()

    def _delete_chosen(self) -> None:
        model = self._the_chosen()
        question = _("Delete the model '{title}' for good?").format(title=model.title) + "\n\n"
        if model.run is not None:
            question += _("The run '{name}' keeps its curves and its log, but can no longer be applied.")
        else:
            question += _("It was imported as '{name}'; the original stays where it is.")
        if slicer.util.confirmYesNoDisplay(question.format(name=model.name)):
            self.status.clear()
            work = delete_model(JobFolder(model.run)) if model.run is not None else delete(model.folder)
            self._deleting.start(work, lambda: self._deleted(model), self._not_deleted)
            self.update_buttons()

    def _deleted(self, model: ModelEntry) -> None:
        self.status.info(_("The model '{title}' was deleted.").format(title=model.title))
        self.space_changed.emit()
        self.refresh()

    def _not_deleted(self, sentence: str) -> None:
        self.status.error(sentence)
        self.update_buttons()


def _columns() -> list[Column]:
    return [
        Column("title", _("Model"), "U-Net: deep brain"),
        Column("task", _("Task"), "segment"),
        Column("made", _("Made"), "22 Nov 23:10"),
        Column("figures", _("Validation"), "Dice 0.912, F1"),
        Column("name", _("From"), ""),
    ]


def _row(model: ModelEntry) -> Row:
    made, metrics = words.made_at(model), words.metrics_in_words(model)
    cells = (
        Cell(model.title, hint=model.description),
        Cell(_("damaged") if model.problem else model.task, hint=model.problem),
        Cell(words.moment_in_words(made) if made else "", order=made),
        Cell(metrics.replace("validation ", ""), order=model.metrics[0][1] if metrics else -1.0, hint=metrics),
        Cell(words.origin_in_words(model), order=model.name, hint=str(model.folder)),
    )
    return Row(str(model.folder), cells)
