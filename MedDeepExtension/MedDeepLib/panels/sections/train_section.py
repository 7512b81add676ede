"""Training a network: dataset, method, its parameters, and the run with its curves."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from MedDeepLib.core import methods
from MedDeepLib.jobs import JobFolder, State
from MedDeepLib.panels.changes import Changes, ValueConnector
from MedDeepLib.panels.fields.device_chooser import DeviceChooser
from MedDeepLib.panels.fields.parameter_form import ParameterForm, dictionary_from_text
from MedDeepLib.panels.fields.path_chooser import PathChooser
from MedDeepLib.panels.fields.plan_view import PlanView
from MedDeepLib.panels.fields.validation_chooser import ValidationChooser
from MedDeepLib.panels.sections.job_section import JobSection, explain_button
from MedDeepLib.panels.status import JobLog, show_text
from MedDeepLib.scene import runs
from MedDeepLib.scene.curves import TrainingCurves, show_chart
from MedDeepLib.scene.scene_jobs import EvaluationJob, PlanningJob, SceneJob


class TrainSection(JobSection):
    """Start, stop and resume a training or cross-validation, and watch its curves grow.

    Attributes:
        model_trained: emitted at each new model.
        on_metrics: called with a finished cross-validation.
    """

    saves_work = True

    def __init__(self, ui: Any, logic: Any, log: JobLog, devices: list):
        super().__init__("train", _("Train"), ui, logic, log)
        self.curves: TrainingCurves | None = None
        self.chart = ChartReference()
        self.dataset = PathChooser(ui.trainDatasetPathLineEdit, ui.trainDatasetFolderButton)
        self.run_folder = PathChooser(ui.trainRunFolderPathLineEdit)
        self.method = MethodWithParameters(logic.task, ui)
        self.validation = ValidationChooser(ui.trainValidationComboBox, ui.trainFoldsSpinBox, ui.trainValidationNote)
        self.device_chooser = DeviceChooser(ui.trainDeviceComboBox, devices, several=True)
        self.model_trained = Changes()
        self.plan = PlanView(ui.trainPlanTextEdit, self.status)
        for part in (self.dataset, self.method, self.device_chooser):
            part.changes.connect(self.plan.hide)
        self.on_metrics: Callable[[EvaluationJob], None] = lambda job: None
        for part in (self.dataset, self.method, self.validation, self.device_chooser, self.chart):
            part.changes.connect(self.update_buttons)
        self.run_folder.changes.connect(self._run_folder_chosen)
        self.monitor.on_events = self._events_came
        ui.trainPlanButton.connect("clicked()", self._plan_clicked)
        ui.trainStartButton.connect("clicked()", self._start_clicked)
        ui.trainStopButton.connect("clicked()", self._stop_clicked)
        ui.trainResumeButton.connect("clicked()", self._resume_clicked)
        ui.trainCurvesButton.connect("clicked()", self._show_curves)
        self._run_folder_chosen()

    def make_connectors(self) -> dict[str, ValueConnector]:
        return {
            "trainingDataset": ValueConnector(self.dataset),
            "method": ValueConnector(self.method.name),
            "trainingParameters": ValueConnector(self.method),
            "validation": ValueConnector(self.validation),
            "runFolder": ValueConnector(self.run_folder),
            "device": ValueConnector(self.device_chooser),
            "trainingChart": ValueConnector(self.chart),
        }

    def update_buttons(self) -> None:
        busy = [_("A training is running.")] if self.monitor.is_busy() else []
        stop_tip = _("Save a checkpoint and stop; Resume continues from it.")
        if isinstance(self.monitor.job, PlanningJob):
            busy, stop_tip = [_("A training is being planned.")], _("Stop planning.")
        ui = self.ui
        plan_tip = _("Plan a training for these images and this device, and check whether it fits.")
        explain_button(ui.trainPlanButton, busy or self._obstacles(), plan_tip)
        explain_button(ui.trainStartButton, busy or self._obstacles(), _("Start a new training in the background."))
        explain_button(ui.trainResumeButton, busy or self._resume_obstacles(), _("Resume from the last checkpoint."))
        stop_obstacles = [] if busy else [_("No training is running.")]
        if busy and self.monitor.stop_requested():
            stop_obstacles = [_("It is already being stopped.")]
        explain_button(ui.trainStopButton, stop_obstacles, stop_tip)
        no_curves = [] if self.chart.value() is not None else [_("There are no curves before a training.")]
        explain_button(ui.trainCurvesButton, no_curves, _("Show loss and validation in the plot view of the layout."))

    def offer_interrupted_run(self) -> None:
        """If the last training did not finish and no run is chosen, choose that one."""
        if not self.run_folder.value() and not self.monitor.is_busy():
            folder = runs.latest_interrupted_training(self.logic.task)
            if folder is not None:
                self.run_folder.set_value(str(folder.path))

    def finished(self, job: SceneJob, state: State) -> None:
        if isinstance(job, PlanningJob):
            self.plan.finished(job, state)
        elif state is State.DONE and isinstance(job, EvaluationJob):
            self.status.info(
                _("Done: {metric}. The section Evaluate shows the table; the others are in the scene.").format(
                    metric=job.headline
                )
            )
            self.on_metrics(job)
        elif state is State.DONE:
            self.status.info(_("Done: the model is in {folder}.").format(folder=job.folder.path))
            self.model_trained.emit()
        elif state is State.STOPPED and not job.folder.can_resume():
            self.status.info(_("Stopped; there was nothing to save yet."))
        elif state is State.STOPPED:
            self.status.info(
                _("Stopped{where}; Resume continues from the last checkpoint.").format(where=_where(job.folder))
            )
        elif job.folder.can_resume():
            self.status.error(
                _("{problem} Resume continues from the last checkpoint.").format(problem=self.status.text)
            )

    def _obstacles(self) -> list[str]:
        if not self.dataset.value():
            return [_("Choose a dataset first: a JSON or CSV list, or a folder.")]
        problem = self.method.problem()
        return [problem] if problem else []

    def _resume_obstacles(self) -> list[str]:
        path = self.run_folder.value()
        if not path:
            return [_("Choose the folder of a run that was stopped or interrupted.")]
        return [] if JobFolder(path).can_resume() else [_("This folder contains no training that can be resumed.")]

    def _run_folder_chosen(self) -> None:
        path = self.run_folder.value()
        note = "" if path else _("A new folder in {folder}.").format(folder=runs.runs_folder())
        show_text(self.ui.trainRunFolderNote, note)
        self.ui.trainRunFolderNote.setVisible(bool(note))
        if not self.monitor.is_busy():
            folder = JobFolder(path) if path else None
            if folder is not None and folder.can_resume():
                self.status.warning(
                    _("This training did not finish{where}; Resume continues from the last checkpoint.").format(
                        where=_where(folder)
                    )
                )
            elif folder is not None and folder.worker_alive():
                self.status.warning(_("Another process is training in this folder."))
            else:
                self.status.clear()
        self.update_buttons()

    def _plan_clicked(self) -> None:
        self.plan.hide()
        self.start(
            lambda: self.logic.plan(
                self.dataset.value(), self.method.name.value(), self.method.parameters(), self.device_chooser.value()
            )
        )

    def _start_clicked(self) -> None:
        chosen = self.run_folder.value()
        # One click always starts a new run: an existing one is never overwritten.
        is_used = bool(chosen) and JobFolder(chosen).job_file.exists()
        folds = self.validation.folds()
        name = f"{self.logic.task}_{self.method.name.value()}" + ("_folds" if folds else "")
        folder = Path(chosen) if chosen and not is_used else runs.new_folder(name)
        request = {
            "dataset": self.dataset.value(),
            "method": self.method.name.value(),
            "parameters": self.method.parameters(),
            "run_folder": folder,
            "device": self.device_chooser.value(),
            "seed": self.ui.trainSeedSpinBox.value,
        }
        if self.start(
            lambda: self.logic.cross_validate(**request, folds=folds) if folds else self.logic.train(**request)
        ):
            self.dataset.remember()
            self._new_curves(folder)
            self.run_folder.set_value(str(folder))

    def _resume_clicked(self) -> None:
        folder = JobFolder(self.run_folder.value())
        if self.start(lambda: self.logic.resume(folder.path)):
            self._new_curves(folder.path).add(folder.events())

    def _stop_clicked(self) -> None:
        self.monitor.stop()
        self.update_buttons()

    def _new_curves(self, folder: Path) -> TrainingCurves:
        self.curves = TrainingCurves(folder.name, self.chart.value())
        self.chart.set_value(self.curves.chart)
        return self.curves

    def _events_came(self, events: list[dict[str, Any]]) -> None:
        if self.curves is not None:
            self.curves.add(events)

    def _show_curves(self) -> None:
        chart = self.chart.value()
        if chart is not None:
            show_chart(chart)


class ChartReference:
    """Which chart node the curves are in; a parameter node keeps it across saving and loading."""

    def __init__(self):
        self.changes = Changes()
        self._node_id = ""  # not the node: it must not outlive its scene

    def value(self) -> Any:
        return slicer.mrmlScene.GetNodeByID(self._node_id) if self._node_id else None

    def set_value(self, node: Any) -> None:
        self._node_id = node.GetID() if node is not None else ""
        self.changes.emit()


class MethodWithParameters:
    """The method's combo box, its description, and the form of its parameters.

    The value is the parameters of all methods that the user has opened, as JSON text, so that switching methods
    back and forth loses nothing.

    Attributes:
        name: the chooser of the method.
    """

    def __init__(self, task: str, ui: Any):
        self.changes = Changes()
        self.name = MethodName(task, ui.trainMethodComboBox)
        self._methods = methods(task)
        self._description_label = ui.trainMethodDescriptionLabel
        self._form = ParameterForm(ui.trainParametersWidget)
        self._parameters: dict[str, dict[str, Any]] = {}
        self._shown = ""
        self._form.changes.connect(self._form_changed)
        self.name.changes.connect(self._method_chosen)
        self._method_chosen()

    def value(self) -> str:
        return json.dumps({name: values for name, values in self._parameters.items() if values}, sort_keys=True)

    def set_value(self, text: str) -> None:
        content = dictionary_from_text(text)
        self._parameters = {name: values for name, values in content.items() if isinstance(values, dict)}
        self._form.set_value(self._parameters.get(self.name.value(), {}))

    def parameters(self) -> dict[str, Any]:
        """The parameters of the chosen method that differ from their defaults."""
        return self._form.value()

    def problem(self) -> str:
        return self._form.problem()

    @property
    def form(self) -> ParameterForm:
        return self._form

    def _form_changed(self) -> None:
        self._parameters[self._shown] = self._form.value()
        self.changes.emit()

    def _method_chosen(self) -> None:
        self._shown = self.name.value()
        method = self._methods[self._shown]
        show_text(self._description_label, method.summary)
        self._description_label.toolTip = method.reference
        self._form.set_class(method.Parameters)
        self._form.set_value(self._parameters.get(self._shown, {}))


class MethodName:
    """The combo box with the titles of a task's methods; its value is a method's name."""

    def __init__(self, task: str, combo_box: Any):
        self.changes = Changes()
        self._combo_box = combo_box
        combo_box.clear()
        for name, method in methods(task).items():
            if method.trainable:
                combo_box.addItem(method.title, name)
        combo_box.connect("currentIndexChanged(int)", lambda index: self.changes.emit())

    def value(self) -> str:
        return self._combo_box.itemData(self._combo_box.currentIndex)

    def set_value(self, name: str) -> None:
        """Choose a method; one that is not installed changes nothing."""
        row = self._combo_box.findData(name)
        if row >= 0:
            self._combo_box.currentIndex = row


def _where(folder: JobFolder) -> str:
    """The progress of a training, as part of a sentence."""
    progress = folder.latest_progress()
    if progress is None:
        return ""
    if "fold" in progress:
        return _(" (fold {fold} of {folds})").format(fold=progress["fold"], folds=progress["folds"])
    return _(" (step {step} of {total})").format(step=progress["step"], total=progress["total"])
