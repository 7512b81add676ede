"""Searching volumes of the scene for findings, and reviewing what was found."""

from __future__ import annotations

from typing import Any

import slicer
from MedDeepLib.bundles.model import Model
from MedDeepLib.jobs import State
from MedDeepLib.panels.changes import ValueConnector
from MedDeepLib.panels.fields.channel_volumes import ChannelVolumes
from MedDeepLib.panels.sections.model_section import ModelSection
from slicer.i18n import tr as _

from DetectModuleLib.panel.keeping import Keeping
from DetectModuleLib.panel.review import Review
from DetectModuleLib.scene.detection_jobs import DetectionJob


class ApplySection(ModelSection):
    """Model, one volume for each of its channels, options, a button that applies or stops, and the review below."""

    def make_inputs(self) -> list[Any]:
        ui = self.ui
        self.apply_tip = _("Search the volumes in the background.")
        self.stop_tip = _("Stop; there will be no result.")
        titles = [ui.applyModelTitle, ui.applyOutputTitle, ui.applyDeviceTitle]
        self.inputs = ChannelVolumes(ui.applyInputsWidget, titles)
        self.review = Review(ui)
        self.keeping = Keeping(ui, self.review)
        return [self.inputs]

    def make_connectors(self) -> dict[str, ValueConnector]:
        own = {"inputVolumes": ValueConnector(self.inputs)}
        return super().make_connectors() | own | self.review.connectors() | self.keeping.connectors()

    def show_inputs(self, model: Model | None) -> None:
        self.inputs.set_channels(model.channels if model is not None else ())
        self.review.set_classes(model.classes if model is not None else ())

    def input_obstacles(self) -> list[str]:
        missing = [channel for channel, node in self.inputs.by_channel() if node is None]
        return [_("Choose a volume for '{channel}'.").format(channel=missing[0])] if missing else []

    def make_job(self, **request: Any) -> DetectionJob | None:
        points = self.ui.applyOutputSelector.currentNode()
        if points is not None and self.review.is_reviewed():
            question = _("You have reviewed the findings in '{name}'. Replace them?").format(name=points.GetName())
            if not slicer.util.confirmOkCancelDisplay(question):
                return None
        boxes = self.ui.reviewBoxesSpinBox.value
        return self.logic.apply(self.inputs.value(), points=points, replace=True, boxes=boxes, **request)

    def finished(self, job: DetectionJob, state: State) -> None:
        if state is State.STOPPED or (state is State.DONE and not job.wanted):
            self.status.info(_("Stopped; nothing was added to the scene."))
        elif state is State.DONE:
            self.status.info(" ".join([_("Done."), *job.notes]))
            self.ui.applyOutputSelector.setCurrentNode(job.points)
            self.review.show(job.points)
            self.ui.reviewCollapsibleButton.collapsed = False

    def scene_closes(self) -> None:
        super().scene_closes()
        job = self.monitor.job
        if isinstance(job, DetectionJob):
            job.wanted = False
        self.review.show(None)
