"""Applying a trained model to volumes of the scene."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from MedDeepLib.jobs import State
from MedDeepLib.panels.changes import Changes, ValueConnector
from MedDeepLib.panels.device_chooser import DeviceChooser
from MedDeepLib.panels.job_section import JobSection, explain_button
from MedDeepLib.panels.model_chooser import ModelChooser
from MedDeepLib.panels.parameter_form import ParameterForm
from MedDeepLib.panels.status import JobLog
from MedDeepLib.scene.scene_jobs import SceneJob


class ApplySection(JobSection):
    """Model, one volume for each of its channels, options, and a button that applies or stops.

    The module's own part is ``make_job``: a function that starts the job for the volumes, the model, the device and
    the options that the user has chosen. It returns None when the user has changed his mind.
    """

    def __init__(
        self, ui: Any, task: str, log: JobLog, devices: list, make_job: Callable[[dict[str, Any]], SceneJob | None]
    ):
        super().__init__("apply", _("Apply"), ui, log)
        self._task = task
        self._make_job = make_job
        self.model_chooser = ModelChooser(
            task, ui.applyModelComboBox, ui.applyModelBrowseButton, ui.applyModelDescriptionLabel
        )
        self.device_chooser = DeviceChooser(ui.applyDeviceComboBox, devices)
        self.inputs = ChannelVolumes(
            ui.applyInputsWidget, [ui.applyModelTitle, ui.applyOutputTitle, ui.applyDeviceTitle]
        )
        self.options = ParameterForm(ui.applyOptionsWidget)
        self.options_text = FormAsText(self.options)
        self.model_chooser.changes.connect(self._model_chosen)
        for part in (self.inputs, self.options, self.device_chooser):
            part.changes.connect(self.update_buttons)
        ui.applyButton.connect("clicked()", self._clicked)
        self._model_chosen()

    def make_connectors(self) -> dict[str, ValueConnector]:
        return {
            "applyModel": ValueConnector(self.model_chooser),
            "inputVolumes": ValueConnector(self.inputs),
            "device": ValueConnector(self.device_chooser),
            "applyOptions": ValueConnector(self.options_text),
        }

    def update_buttons(self) -> None:
        button = self.ui.applyButton
        if self.monitor.is_busy():
            button.text = _("Stop")
            stopping = self.monitor.job.folder.stop_requested()
            explain_button(button, [_("It is being stopped already.")] if stopping else [], _("Stop; no result."))
            return
        button.text = _("Apply")
        explain_button(button, self._obstacles(), _("Apply the model to the volumes in the background."))

    def _obstacles(self) -> list[str]:
        if not self.model_chooser.value():
            return [_("Choose a model first.")]
        if self.model_chooser.problem:
            return [self.model_chooser.problem]
        missing = [channel for channel, node in self.inputs.by_channel() if node is None]
        if missing:
            return [_("Choose a volume for '{channel}'.").format(channel=missing[0])]
        problem = self.options.problem()
        return [problem] if problem else []

    def _model_chosen(self) -> None:
        model = self.model_chooser.model
        if model is not None:
            self.inputs.set_channels(model.channels)
            self.options.set_class(model.method_class().ApplyParameters)
        elif not self.model_chooser.value():
            self.inputs.set_channels(())
        self.ui.applyOptionsGroupBox.setVisible(model is not None)
        self.update_buttons()

    def _clicked(self) -> None:
        if self.monitor.is_busy():
            self.monitor.stop()
            self.update_buttons()
            return
        request = {
            "volumes": self.inputs.value(),
            "model": self.model_chooser.value(),
            "device": self.device_chooser.value(),
            "options": self.options.value(),
        }
        self.start(lambda: self._make_job(request))

    def finished(self, job: SceneJob, state: State) -> None:
        if state is State.STOPPED:
            self.status.info(_("Stopped; nothing was added to the scene."))
        elif state is State.DONE:
            self.status.info(" ".join([_("Done."), *job.notes]))


class ChannelVolumes:
    """One volume selector for each input channel of a model; its value is the list of the chosen nodes."""

    def __init__(self, parent: Any, other_titles: list[Any]):
        """
        Args:
            parent: an empty widget of the form, which gets the selectors.
            other_titles: the labels of the form around it, to line up with.
        """
        self.changes = Changes()
        self._parent, self._other_titles = parent, other_titles
        self._layout = qt.QVBoxLayout(parent)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._contents = None
        self._channels: tuple[str, ...] = ()
        self._selectors: list[Any] = []
        self._wanted_ids: list[str] = []  # not the nodes: they must be free to go with their scene

    def set_channels(self, channels: tuple[str, ...]) -> None:
        """Make the selectors for these channels; volumes that were chosen stay chosen where they still fit."""
        if channels == self._channels and self._contents is not None:
            return
        previous = self.value() or [slicer.mrmlScene.GetNodeByID(node_id) for node_id in self._wanted_ids]
        self._channels = channels
        if self._contents is not None:
            self._contents.hide()
            self._contents.deleteLater()
        self._contents = qt.QWidget(self._parent)
        self._layout.addWidget(self._contents)
        rows = qt.QFormLayout(self._contents)
        rows.setContentsMargins(0, 0, 0, 0)
        title_width = max(t.fontMetrics().boundingRect(t.text + " ").width() for t in self._other_titles)
        self._selectors = []
        for number, channel in enumerate(channels):
            label = qt.QLabel(_("{channel}:").format(channel=channel), self._contents)
            label.setMinimumWidth(title_width)
            selector = self._make_selector(channel)
            rows.addRow(label, selector)
            self._selectors.append(selector)
            node = previous[number] if number < len(previous) else None
            selector.setCurrentNode(node or _likely_volume(channel, len(channels)))
            selector.connect("currentNodeChanged(vtkMRMLNode*)", self.changes.emit)
        self._parent.setVisible(bool(channels))
        self.changes.emit()

    def _make_selector(self, channel: str) -> Any:
        selector = slicer.qMRMLNodeComboBox(self._contents)
        selector.objectName = f"inputVolume_{channel}"
        selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
        selector.showChildNodeTypes = False  # no label maps
        selector.noneEnabled = True
        selector.noneDisplay = _("Choose a volume")
        selector.addEnabled = False
        selector.removeEnabled = False
        selector.setMRMLScene(slicer.mrmlScene)
        selector.toolTip = _("The volume that the model gets as '{channel}'.").format(channel=channel)
        return selector

    @property
    def selectors(self) -> list[Any]:
        return list(self._selectors)

    def by_channel(self) -> list[tuple[str, Any]]:
        return list(zip(self._channels, self.value(), strict=True))

    def value(self) -> list[Any]:
        return [selector.currentNode() for selector in self._selectors]

    def set_value(self, nodes: list[Any]) -> None:
        """Choose these nodes; kept for later when the model, and with it the selectors, is not known yet."""
        self._wanted_ids = [node.GetID() if node is not None else "" for node in nodes]
        for selector, node in zip(self._selectors, nodes, strict=False):
            selector.setCurrentNode(node)


class FormAsText:
    """The values of a form as JSON text, which a parameter node can keep; unknown entries are ignored."""

    def __init__(self, form: ParameterForm):
        self._form = form
        self.changes = form.changes
        self._kept = ""

    def value(self) -> str:
        return json.dumps(self._form.value(), sort_keys=True) if self._form.is_filled() else self._kept

    def set_value(self, text: str) -> None:
        self._kept = text
        if self._form.is_filled():
            self._form.set_value(dictionary_from_text(text))


def dictionary_from_text(text: str) -> dict[str, Any]:
    """The JSON object in a text; empty when there is none."""
    try:
        content = json.loads(text or "{}")
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _likely_volume(channel: str, channels: int) -> Any:
    """The volume that is probably meant: named like the channel, or the only one there is."""
    volumes = [
        node
        for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        if node.GetClassName() == "vtkMRMLScalarVolumeNode" and not node.GetHideFromEditors()
    ]
    if len(volumes) == 1 and channels == 1:
        return volumes[0]
    alike = [node for node in volumes if channel.lower() in node.GetName().lower()]
    return alike[0] if len(alike) == 1 else None
