"""Chooses a model: one that comes with the extension, one of the user's runs, an imported one, or a folder.

A method that needs no training is offered as well.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from MedDeepLib.bundles.model import Model, open_model, released_models
from MedDeepLib.core import methods
from MedDeepLib.errors import UserError
from MedDeepLib.panels.changes import Changes
from MedDeepLib.panels.fields.model_transfers import ModelTransfers
from MedDeepLib.panels.status import show_text
from MedDeepLib.scene import runs


class ModelChooser:
    """A combo box, a browse button and the description of the chosen model.

    Its value is the name of a released model or of a method without training, or the path of a run or model folder;
    empty when nothing is chosen.

    Attributes:
        model: the chosen model, None when nothing or something unusable is chosen.
        problem: why the chosen one cannot be used, in one sentence.
    """

    def __init__(self, task: str, combo_box: Any, browse_button: Any, description_label: Any):
        self.changes = Changes()
        self.model: Model | None = None
        self.problem = ""
        self._task = task
        self._combo_box, self._description_label = combo_box, description_label
        self._filling = False
        self._browsed: list[str] = []
        self._opened: Model | None = None  # also a model that cannot be used until it is trusted
        combo_box.toolTip = _("A model that comes with the extension, one of your runs, or an imported MONAI bundle.")
        browse_button.toolTip = _("Choose the folder of a run or a model; the arrow imports and exports models.")
        combo_box.connect("currentIndexChanged(int)", self._chosen)
        browse_button.connect("clicked()", self._browse)
        self.transfers = ModelTransfers(browse_button, self._show, self._imported, lambda: self._opened)
        self.refresh()

    def value(self) -> str:
        return self._combo_box.itemData(self._combo_box.currentIndex) or ""

    def set_value(self, reference: str) -> None:
        row = self._combo_box.findData(reference)
        if row < 0:
            self._browsed.append(reference)
            self._combo_box.addItem(Path(reference).name, reference)
            row = self._combo_box.count - 1
        self._combo_box.currentIndex = row

    def refresh(self) -> None:
        """List the models again; the chosen one stays chosen."""
        chosen = self.value()
        self._filling = True
        try:
            self._combo_box.clear()
            for title, reference in self._choices():
                self._combo_box.addItem(title, reference)
            self.set_value(chosen)
        finally:
            self._filling = False
        if self.model is None:
            self._describe()  # a run that had no model yet may have one now

    def _choices(self) -> list[tuple[str, str]]:
        choices = [(_("Choose a model"), "")]
        choices += [(name, name) for name in released_models(self._task)]
        choices += [(f"{model.title} ({run.name})", str(run)) for run, model in runs.models_in_runs(self._task)]
        choices += [(model.title, str(model.folder)) for model in runs.imported_models(self._task)]
        choices += [(method.title, name) for name, method in methods(self._task).items() if method.needs_no_model]
        known = [reference for _title, reference in choices]
        return choices + [(Path(path).name, path) for path in self._browsed if path not in known]

    def _chosen(self, row: int) -> None:
        if not self._filling:
            self._describe()
            self.changes.emit()

    def _describe(self) -> None:
        reference = self.value()
        self.model, self._opened, self.problem = None, None, ""
        if reference:
            try:
                self._opened = open_model(reference, self._task)
                question = self._opened.untrusted()
                if question is not None:
                    raise question
                self.model = self._opened
            except UserError as error:
                self.problem = str(error)
        self._show(self.model.summary() if self.model is not None else self.problem)
        self._description_label.toolTip = self._opened.description() if self._opened is not None else ""
        self.transfers.update()

    def _show(self, text: str) -> None:
        show_text(self._description_label, text)
        self._description_label.setVisible(bool(text))

    def _imported(self, folder: Path) -> None:
        """Choose a model that was just imported or trusted; a model for another module shows its own error."""
        self.refresh()
        self.set_value(str(folder))
        self._describe()
        self.changes.emit()
        if self._opened is not None and self.model is None:
            self.transfers.ask_for_trust(self._opened)

    def _browse(self) -> None:
        title = _("Choose the folder of a run or a model")
        path = qt.QFileDialog.getExistingDirectory(self._combo_box, title, str(runs.runs_folder()))
        if path:
            self.set_value(path)
