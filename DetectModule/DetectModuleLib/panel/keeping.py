"""Export of reviewed findings, and adding them to a dataset."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import qt
from MedDeepLib.errors import UserError
from MedDeepLib.panels.changes import ValueConnector
from MedDeepLib.panels.fields.path_chooser import PathChooser
from MedDeepLib.panels.sections.job_section import explain_button
from slicer.i18n import tr as _

from DetectModuleLib.panel.review import Review
from DetectModuleLib.scene.keeping import AddedCase, add_to_dataset, export_findings


class Keeping:
    """The buttons that write files: for others, and to train on."""

    def __init__(self, ui: Any, review: Review):
        self.ui, self._review = ui, review
        self.dataset = PathChooser(ui.reviewDatasetPathLineEdit)
        ui.reviewExportButton.connect("clicked()", self._export)
        ui.reviewDatasetButton.connect("clicked()", self._add)
        self.dataset.changes.connect(self._update_buttons)
        review.changes.connect(self._update_buttons)
        self._update_buttons()

    def connectors(self) -> dict[str, ValueConnector]:
        return {"reviewDataset": ValueConnector(self.dataset)}

    def _update_buttons(self) -> None:
        shown = self._review.shown
        missing = [] if shown is not None else [_("There are no findings: apply a model first.")]
        explain_button(
            self.ui.reviewExportButton,
            missing,
            _("Write the visible findings that were not rejected to a .mrk.json, .csv or DICOM (.dcm) file."),
        )
        unchosen = [] if self.dataset.value() else [_("Choose a dataset list first.")]
        unreviewed = []
        if shown is not None and shown.findings and not self._review.is_reviewed():
            unreviewed = [_("Accept or reject findings first: only what was reviewed is trained on.")]
        explain_button(
            self.ui.reviewDatasetButton,
            missing or unchosen or unreviewed,
            _("Append the volume with its accepted findings to the training cases of this list."),
        )

    def _export(self) -> None:
        shown = self._review.shown
        if shown is None:
            return
        name = f"{shown.points.GetName()}.mrk.json"
        kinds = "ROIs (*.mrk.json);;CSV (*.csv);;DICOM SR (*.dcm)"
        path = qt.QFileDialog.getSaveFileName(self.ui.reviewExportButton, _("Export findings"), name, kinds)
        if not path:
            return
        with _said(self._review):
            count = export_findings(shown, path)
            left_out = len(shown.findings) - count
            note = _(" {count} hidden or rejected ones were left out.").format(count=left_out) if left_out else ""
            self._review.status.info(_("{count} findings are in {path}.").format(count=count, path=path) + note)

    def _add(self) -> None:
        shown = self._review.shown
        if shown is None:
            return
        with _said(self._review):
            added = add_to_dataset(shown, self.dataset.value())
            self.dataset.remember()
            self._review.status.info(_in_words(added))


def _in_words(added: AddedCase) -> str:
    """One sentence on what was added, and one on what was not."""
    where = added.dataset.path.name
    if not added.findings:
        said = _("'{case}' was added to {dataset} as a case without findings").format(case=added.name, dataset=where)
    elif added.findings == 1:
        said = _("'{case}' was added to {dataset} with 1 finding").format(case=added.name, dataset=where)
    else:
        said = _("'{case}' was added to {dataset} with {count} findings").format(
            case=added.name, dataset=where, count=added.findings
        )
    count = len(added.dataset.training)
    training = _(", its first training case.") if count == 1 else _("; it has {count} training cases now.")
    training = training.format(count=count)
    note = _(" {count} that nobody has reviewed were left out.").format(count=added.left_out) if added.left_out else ""
    return said + training + note


@contextmanager
def _said(review: Review) -> Iterator[None]:
    """Whatever goes wrong is said in the status line."""
    try:
        yield
    except UserError as error:
        review.status.error(str(error))
    except Exception as error:
        logging.exception("Findings could not be written")
        review.status.error(_("This failed unexpectedly ({error}).").format(error=error))
