"""All trained models: what they are, and taking them elsewhere or deleting them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from MedDeepLib.bundles.export import export_model
from MedDeepLib.jobs import JobFolder
from MedDeepLib.jobs.disk import delete_model
from MedDeepLib.jobs.models import ModelEntry, ModelList
from MedDeepLib.panels import home_words as words
from MedDeepLib.panels.changes import Changes
from MedDeepLib.panels.home_jobs import open_folder
from MedDeepLib.panels.home_slices import Slices
from MedDeepLib.panels.home_table import Cell, Column, Row, Table
from MedDeepLib.panels.job_section import explain_button
from MedDeepLib.panels.status import StatusLine, show_html
from MedDeepLib.scene import runs

NEWEST_FIRST = "-made"


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
        self._looking, self._deleting, self._exporting = Slices(), Slices(), Slices()
        self._rows: list[Row] = []
        menu = qt.QMenu(ui.modelsExportButton)
        self.export_zip_action = menu.addAction(_("As a zip file..."))
        self.export_folder_action = menu.addAction(_("As a folder..."))
        self.export_zip_action.connect("triggered()", self._export_zip)
        self.export_folder_action.connect("triggered()", self._export_folder)
        ui.modelsExportButton.setMenu(menu)
        ui.modelsFolderButton.connect("clicked()", lambda: open_folder(self.chosen().folder))
        ui.modelsDeleteButton.connect("clicked()", self._delete_chosen)
        ui.modelsProgressBar.hide()
        self.table.changes.connect(self._show_chosen)
        self._show_chosen()

    @property
    def entries(self) -> list[ModelEntry]:
        """The models as they were at the last look."""
        return self._models.entries

    def chosen(self) -> ModelEntry | None:
        """The model that is chosen in the table."""
        return next((entry for entry in self._models.entries if str(entry.folder) == self.table.value()), None)

    def is_busy(self) -> bool:
        """Whether a look, a copy or a deletion is under way."""
        return any(slices.is_busy() for slices in (self._looking, self._deleting, self._exporting, self.table))

    def refresh(self) -> None:
        """Look at all models, a few of them at a time."""
        if not self._looking.is_busy():
            self._looking.start(self._look(), self._looked, self.status.error)

    def shut_down(self, deadline: float) -> None:
        """The panel goes away: a copy that is not complete is removed."""
        self._looking.cancel()
        self._exporting.cancel()
        self.table.shut_down()
        self._deleting.finish(deadline)

    def update_buttons(self) -> None:
        model, ui = self.chosen(), self.ui
        none = [_("Choose a model in the table.")] if model is None else []
        is_damaged, is_released = (bool(model.problem), model.run is None) if model is not None else (False, False)
        damaged = [_("It is damaged: there is nothing to take elsewhere.")] if is_damaged else []
        exporting = [_("A model is being copied.")] if self._exporting.is_busy() else []
        released = [_("It belongs to the extension.")] if is_released else []
        deleting = [_("Another model is being deleted.")] if self._deleting.is_busy() else []
        explain_button(
            ui.modelsExportButton, none or damaged or exporting, _("Copy the model to a folder or a zip file of yours.")
        )
        explain_button(ui.modelsFolderButton, none, _("Show the model's folder in the file manager."))
        explain_button(
            ui.modelsDeleteButton,
            none or released or exporting or deleting,
            _("Delete the model; the run that has trained it stays. Asks first."),
        )

    def _look(self) -> Iterator[None]:
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

    def _export_zip(self) -> None:
        suggested = str(Path.home() / f"{self.chosen().name}.zip")
        path = qt.QFileDialog.getSaveFileName(
            self.ui.modelsExportButton, _("Save the model as"), suggested, _("Zip files (*.zip)")
        )
        if path:
            self._export(Path(path) if path.lower().endswith(".zip") else Path(path + ".zip"))

    def _export_folder(self) -> None:
        path = qt.QFileDialog.getExistingDirectory(
            self.ui.modelsExportButton, _("Choose where the model's folder is made"), str(Path.home())
        )
        if path:
            self._export(Path(path) / self.chosen().name)

    def _export(self, target: Path) -> None:
        bar = self.ui.modelsProgressBar
        bar.setRange(0, 100)
        bar.value = 0
        bar.show()
        self.status.info(_("Copying to {target}...").format(target=target))
        work = self._with_progress(export_model(self.chosen().folder, target))
        self._exporting.start(work, lambda: self._exported(target), self._not_exported)
        self.update_buttons()

    def _with_progress(self, work: Iterator[float]) -> Iterator[None]:
        for share in work:
            self.ui.modelsProgressBar.value = round(100 * share)
            yield

    def _exported(self, target: Path) -> None:
        self.ui.modelsProgressBar.hide()
        self.status.info(_("The model is in {target}.").format(target=target))
        self.update_buttons()

    def _not_exported(self, sentence: str) -> None:
        self.ui.modelsProgressBar.hide()
        self.status.error(sentence)
        self.update_buttons()

    def _delete_chosen(self) -> None:
        model = self.chosen()
        question = _("Delete the model '{title}' of the run '{name}' for good?").format(
            title=model.title, name=model.name
        )
        question += "\n\n" + _("The run with its curves and its log stays, but cannot be applied any more.")
        if slicer.util.confirmYesNoDisplay(question):
            self.status.clear()
            work = delete_model(JobFolder(model.run))
            self._deleting.start(work, lambda: self._deleted(model), self._not_deleted)
            self.update_buttons()

    def _deleted(self, model: ModelEntry) -> None:
        self.status.info(_("The model of {name} was deleted.").format(name=model.name))
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
        Column("name", _("Run"), ""),
    ]


def _row(model: ModelEntry) -> Row:
    run = words.without_date(model.name) if model.run is not None else _("comes with the extension")
    made, figures = words.made_at(model), words.figures_in_words(model)
    cells = (
        Cell(model.title, hint=model.description),
        Cell(_("damaged") if model.problem else model.task, hint=model.problem),
        Cell(words.moment_in_words(made) if made else "", order=made),
        Cell(figures.replace("validation ", ""), order=model.figures[0][1] if figures else -1.0, hint=figures),
        Cell(run, order=model.name, hint=str(model.folder)),
    )
    return Row(str(model.folder), cells)
