"""Aligns two volumes of the scene and shows how well they match."""

from __future__ import annotations

from typing import Any

import slicer
from MedDeepLib.bundles.model import Model
from MedDeepLib.jobs import State
from MedDeepLib.panels.changes import ValueConnector
from MedDeepLib.panels.fields.channel_volumes import ChannelVolumes
from MedDeepLib.panels.sections.model_section import ModelSection
from MedDeepLib.panels.status import show_text
from slicer.i18n import tr as _

from RegisterModuleLib.panel.comparison import Comparison
from RegisterModuleLib.scene.registration_jobs import MAPS, RegistrationJob, overlap


class RegisterSection(ModelSection):
    """Model, fixed and moving volume, the outputs to make, and the comparison of the result with the fixed volume."""

    saves_work = True  # when stopped, it keeps the best transform so far
    grace = 90.0  # seconds: the transform has to be sampled finely, scored and written

    def make_inputs(self) -> list[Any]:
        ui = self.ui
        self.apply_tip = _("Align the moving volume with the fixed one in the background.")
        self.stop_tip = _("Stop; the best transform found so far is kept.")
        titles = [ui.applyModelTitle, ui.applyInitialTitle, ui.applyOutputTitle, ui.applyVolumeTitle]
        self.fixed = ChannelVolumes(ui.applyFixedWidget, titles, guess=False)
        self.moving = ChannelVolumes(ui.applyMovingWidget, titles, guess=False)
        self.comparison = Comparison(ui)
        self._suggested: str | None = None  # ID of the node that the panel itself has selected
        self.moving.changes.connect(self._suggest_initial)
        self._show_metrics("")
        return [self.fixed, self.moving]

    def make_connectors(self) -> dict[str, ValueConnector]:
        own = {"fixedVolumes": ValueConnector(self.fixed), "movingVolumes": ValueConnector(self.moving)}
        return super().make_connectors() | own

    def show_inputs(self, model: Model | None) -> None:
        channels = model.channels if model is not None and len(model.channels) > 1 else ()
        for side, chooser in ((_("Fixed volume"), self.fixed), (_("Moving volume"), self.moving)):
            names = tuple(_("{side} ({channel})").format(side=side, channel=channel) for channel in channels)
            chooser.set_channels(names or (side,))

    def input_obstacles(self) -> list[str]:
        chosen = [*self.fixed.by_channel(), *self.moving.by_channel()]
        missing = [title for title, node in chosen if node is None]
        if missing:
            return [_("Choose a volume for '{title}'.").format(title=missing[0])]
        if self.fixed.value()[0] is self.moving.value()[0]:
            return [_("Fixed and moving volume are the same: choose another moving volume.")]
        return []

    def make_job(self, *, options: dict[str, Any], **request: Any) -> RegistrationJob | None:
        ui, fixed, moving = self.ui, self.fixed.value(), self.moving.value()
        initial = ui.applyInitialSelector.currentNode()
        if not options.get("center") and not overlap(fixed[0], moving[0], initial):
            question = _("'{fixed}' and '{moving}' do not overlap. Bring their centers together first?")
            names = {"fixed": fixed[0].GetName(), "moving": moving[0].GetName()}
            if not slicer.util.confirmOkCancelDisplay(question.format(**names)):
                return None
            options = {**options, "center": True}
        boxes = (ui.applyCheckerboardCheckBox, ui.applyDifferenceCheckBox, ui.applyJacobianCheckBox)
        nodes = {"transform": ui.applyOutputSelector, "volume": ui.applyVolumeSelector}
        return self.logic.apply(
            fixed,
            moving,
            initial=initial,
            maps=[name for name, box in zip(MAPS, boxes, strict=True) if box.checked],
            options=options,
            **{name: selector.currentNode() for name, selector in nodes.items()},
            **request,
        )

    def finished(self, job: RegistrationJob, state: State) -> None:
        if state is State.STOPPED or (state is State.DONE and not job.wanted):
            self.status.info(_("Stopped; nothing was added to the scene."))
        elif state is State.DONE:
            show = self.status.warning if job.warnings else self.status.info
            show(" ".join([_("Done."), *job.notes, *job.warnings]))
            self._show_metrics(job.words)
            self.comparison.show(job)

    def scene_closes(self) -> None:
        super().scene_closes()
        job = self.monitor.job
        if isinstance(job, RegistrationJob):
            job.wanted = False
        self._suggested = None
        self._show_metrics("")
        self.comparison.clear()

    def _show_metrics(self, text: str) -> None:
        show_text(self.ui.applyMetricsLabel, text)
        self.ui.applyMetricsLabel.setVisible(bool(text))

    def _suggest_initial(self) -> None:
        """A volume that was aligned by hand is under a transform: start from that transform.

        A suggestion for another volume is removed, the user's choice stays.
        """
        volumes = self.moving.value()
        parent = volumes[0].GetParentTransformNode() if volumes and volumes[0] is not None else None
        suggested = parent.GetID() if parent is not None and not self.comparison.made(parent) else None
        current = self.ui.applyInitialSelector.currentNode()
        if current is not None and current.GetID() != self._suggested:
            return
        self._suggested = suggested
        self.ui.applyInitialSelector.setCurrentNode(parent if suggested else None)
