"""The base of the sections that apply a model: the model, its options, and a button to start or stop."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from MedDeepLib.bundles.model import Model
from MedDeepLib.panels.changes import ValueConnector
from MedDeepLib.panels.dependencies import offer_package
from MedDeepLib.panels.fields.device_chooser import DeviceChooser
from MedDeepLib.panels.fields.model_chooser import ModelChooser
from MedDeepLib.panels.fields.parameter_form import FormAsText, ParameterForm
from MedDeepLib.panels.sections.job_section import JobSection, explain_button
from MedDeepLib.panels.status import JobLog
from MedDeepLib.scene.scene_jobs import SceneJob


class ModelSection(JobSection):
    """Base of the sections that apply a model; a subclass has the inputs and starts the job."""

    apply_tip = ""
    stop_tip = ""

    def __init__(self, ui: Any, logic: Any, log: JobLog, devices: list):
        super().__init__("apply", _("Apply"), ui, logic, log)
        self.model_chooser = ModelChooser(
            logic.task, ui.applyModelComboBox, ui.applyModelBrowseButton, ui.applyModelDescriptionLabel
        )
        self.device_chooser = DeviceChooser(ui.applyDeviceComboBox, devices)
        self.options = ParameterForm(ui.applyOptionsWidget)
        self.options_text = FormAsText(self.options)
        inputs = self.make_inputs()
        self.model_chooser.changes.connect(self._model_chosen)
        for part in (*inputs, self.options, self.device_chooser):
            part.changes.connect(self.update_buttons)
        ui.applyButton.connect("clicked()", self._clicked)
        self._model_chosen()

    def make_inputs(self) -> list[Any]:
        """For subclasses: make the choosers of the inputs; called once."""
        raise NotImplementedError

    def show_inputs(self, model: Model | None) -> None:
        """For subclasses: show the inputs of this model; None: nothing is chosen."""
        raise NotImplementedError

    def input_obstacles(self) -> list[str]:
        """For subclasses: the missing inputs, in sentences."""
        raise NotImplementedError

    def make_job(self, **request: Any) -> SceneJob | None:
        """For subclasses: start the job with the chosen inputs and the ``model``, ``device`` and ``options`` in
        ``request``; ``logic.apply`` does that. None when the user declined a question."""
        raise NotImplementedError

    def make_connectors(self) -> dict[str, ValueConnector]:
        return {
            "applyModel": ValueConnector(self.model_chooser),
            "device": ValueConnector(self.device_chooser),
            "applyOptions": ValueConnector(self.options_text),
        }

    def update_buttons(self) -> None:
        button = self.ui.applyButton
        if self.monitor.is_busy():
            button.text = _("Stop")
            stopping = self.monitor.stop_requested()
            explain_button(button, [_("It is already being stopped.")] if stopping else [], self.stop_tip)
            return
        button.text = _("Apply")
        explain_button(button, self._obstacles(), self.apply_tip)

    def _obstacles(self) -> list[str]:
        if not self.model_chooser.value():
            return [_("Choose a model first.")]
        if self.model_chooser.problem:
            return [self.model_chooser.problem]
        missing = self.input_obstacles()
        if missing:
            return missing
        problem = self.options.problem()
        return [problem] if problem else []

    def _model_chosen(self) -> None:
        model = self.model_chooser.model
        if model is not None:
            self.show_inputs(model)
            self.options.set_class(model.method_class().ApplyParameters)
        elif not self.model_chooser.value():
            self.show_inputs(None)
        self.ui.applyOptionsGroupBox.setVisible(model is not None)
        self.update_buttons()

    def _clicked(self) -> None:
        if self.monitor.is_busy():
            self.monitor.stop()
            self.update_buttons()
            return
        model, device, options = self.model_chooser.value(), self.device_chooser.value(), self.options.value()

        def make_job() -> SceneJob | None:
            if options.get("backend") == "openvino":
                offer_package("openvino")
            return self.make_job(model=model, device=device, options=options)

        self.start(make_job)
