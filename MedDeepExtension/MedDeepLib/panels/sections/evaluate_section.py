"""Evaluating a model on the test cases of a dataset."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from MedDeepLib.jobs import State
from MedDeepLib.panels.changes import Changes, ValueConnector
from MedDeepLib.panels.fields.device_chooser import DeviceChooser
from MedDeepLib.panels.fields.model_chooser import ModelChooser
from MedDeepLib.panels.fields.path_chooser import PathChooser
from MedDeepLib.panels.sections.job_section import JobSection, explain_button
from MedDeepLib.panels.status import JobLog
from MedDeepLib.scene.scene_jobs import EvaluationJob


class EvaluateSection(JobSection):
    """Model, dataset, and the table of metrics."""

    def __init__(self, ui: Any, logic: Any, log: JobLog, devices: list):
        super().__init__("evaluate", _("Evaluate"), ui, logic, log)
        self.model_chooser = ModelChooser(
            logic.task, ui.evaluateModelComboBox, ui.evaluateModelBrowseButton, ui.evaluateModelDescriptionLabel
        )
        self.dataset = PathChooser(ui.evaluateDatasetPathLineEdit, ui.evaluateDatasetFolderButton)
        self.device_chooser = DeviceChooser(ui.evaluateDeviceComboBox, devices)
        self.table = MetricsTable(ui.evaluateTableView)
        self.report = ReportPath(ui.evaluateReportLineEdit, ui.evaluateReportTitle)
        for part in (self.model_chooser, self.dataset, self.device_chooser):
            part.changes.connect(self.update_buttons)
        ui.evaluateButton.connect("clicked()", self._clicked)
        self.update_buttons()

    def make_connectors(self) -> dict[str, ValueConnector]:
        return {
            "evaluationModel": ValueConnector(self.model_chooser),
            "evaluationDataset": ValueConnector(self.dataset),
            "device": ValueConnector(self.device_chooser),
            "metricsTable": ValueConnector(self.table),
            "metricsReport": ValueConnector(self.report),
        }

    def update_buttons(self) -> None:
        button = self.ui.evaluateButton
        if self.monitor.is_busy():
            button.text = _("Stop")
            stopping = self.monitor.stop_requested()
            obstacles = [_("It is already being stopped.")] if stopping else []
            explain_button(button, obstacles, _("Stop; there will be no metrics."))
            return
        button.text = _("Evaluate")
        explain_button(
            button, self._obstacles(), _("Evaluate the model on the dataset's test cases in the background.")
        )

    def _obstacles(self) -> list[str]:
        if not self.model_chooser.value():
            return [_("Choose a model first.")]
        if self.model_chooser.problem:
            return [self.model_chooser.problem]
        return [] if self.dataset.value() else [_("Choose a dataset with test cases.")]

    def _clicked(self) -> None:
        if self.monitor.is_busy():
            self.monitor.stop()
            self.update_buttons()
            return
        started = self.start(
            lambda: self.logic.evaluate(self.model_chooser.value(), self.dataset.value(), self.device_chooser.value())
        )
        if started:
            self.dataset.remember()

    def scene_closes(self) -> None:
        super().scene_closes()
        self.table.set_value(None)

    def finished(self, job: EvaluationJob, state: State) -> None:
        if state is State.STOPPED:
            self.status.info(_("Stopped; there are no metrics."))
        elif state is State.DONE:
            self.show_metrics(job)
            if "sites" in job.group_tables:
                self.status.info(_("Done. The table is the summary; cases and sites have tables of their own."))
            else:
                self.status.info(_("Done. The table is the summary; a second table has one row for each case."))

    def show_metrics(self, job: EvaluationJob) -> None:
        """Show the tables of a finished evaluation, or of a cross-validation started by another section."""
        self.table.set_value(job.summary_table)
        self.table.changes.emit()
        self.report.set_value(str(job.report))
        self.report.changes.emit()


class MetricsTable:
    """The table view and the table node it shows."""

    def __init__(self, table_view: Any):
        self.changes = Changes()
        self._table_view = table_view
        table_view.hide()

    def value(self) -> Any:
        return self._table_view.mrmlTableNode()

    def set_value(self, node: Any) -> None:
        self._table_view.setMRMLTableNode(node)
        self._table_view.setVisible(node is not None)
        if node is not None:
            self._table_view.resizeColumnsToContents()


class ReportPath:
    """Shows where the metrics were saved, as text that can be copied."""

    def __init__(self, line_edit: Any, title: Any):
        self.changes = Changes()
        self._line_edit, self._title = line_edit, title
        self.set_value("")

    def value(self) -> str:
        return self._line_edit.text

    def set_value(self, path: str) -> None:
        self._line_edit.text = path
        self._line_edit.toolTip = path
        for widget in (self._line_edit, self._title):
            widget.setVisible(bool(path))
