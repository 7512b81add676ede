"""Applying a trained model to volumes of the scene."""

from __future__ import annotations

from typing import Any

import slicer
from MedDeepLib.bundles.model import Model
from MedDeepLib.jobs import State
from MedDeepLib.panels.changes import ValueConnector
from MedDeepLib.panels.fields.channel_volumes import ChannelVolumes
from MedDeepLib.panels.sections.model_section import ModelSection
from slicer.i18n import tr as _

from ClassifyModuleLib.scene.classification_jobs import ClassificationJob


class ApplySection(ModelSection):
    """Model, one volume for each of its channels, options, and a button that applies or stops."""

    def make_inputs(self) -> list[Any]:
        ui = self.ui
        self.apply_tip = _("Apply the model to the volumes in the background.")
        self.stop_tip = _("Stop; there will be no result.")
        titles = [ui.applyModelTitle, ui.applyOutputTitle, ui.applyDeviceTitle]
        self.inputs = ChannelVolumes(ui.applyInputsWidget, titles)
        return [self.inputs]

    def make_connectors(self) -> dict[str, ValueConnector]:
        return super().make_connectors() | {"inputVolumes": ValueConnector(self.inputs)}

    def show_inputs(self, model: Model | None) -> None:
        self.inputs.set_channels(model.channels if model is not None else ())

    def input_obstacles(self) -> list[str]:
        model = self.model_chooser.model
        if model is not None and not model.channels:
            return [_("This model takes a table or a matrix: apply it by the script classify.py.")]
        if model is not None and any(slot.name == "region" for slot in model.inputs):
            return [_("This model takes a region of the image: apply it by the script classify.py.")]
        missing = [channel for channel, node in self.inputs.by_channel() if node is None]
        return [_("Choose a volume for '{channel}'.").format(channel=missing[0])] if missing else []

    def make_job(self, **request: Any) -> ClassificationJob | None:
        table = self.ui.applyOutputSelector.currentNode()
        if table is not None and table.GetTable().GetNumberOfRows():
            question = _("'{name}' has rows already. Replace them?").format(name=table.GetName())
            if not slicer.util.confirmOkCancelDisplay(question):
                return None
        return self.logic.apply(self.inputs.value(), table=table, replace=True, **request)

    def finished(self, job: ClassificationJob, state: State) -> None:
        if state is State.STOPPED:
            self.status.info(_("Stopped; nothing was added to the scene."))
        elif state is State.DONE:
            self.status.info(" ".join([_("Done."), *job.notes]))
