"""Compares two aligned volumes: blended, as a checkerboard, or by the maps that a registration made."""

from __future__ import annotations

from typing import Any

import slicer
from slicer.i18n import tr as _

from RegisterModuleLib.scene.registration_jobs import MAPS, RegistrationJob

_BOTH = "both"


class Comparison:
    """A slider that blends the fixed with the moved volume in the slice views, and a choice of other views of them.

    The moved volume is the one that was made on the fixed one's grid, or else the moving volume under its transform.
    """

    def __init__(self, ui: Any):
        self._ui = ui
        self._ids: dict[str, str] = {}  # not the nodes: they must not outlive their scene
        ui.compareBlendSlider.connect("valueChanged(double)", self._blend)
        ui.compareSwapButton.connect("clicked()", self._swap)
        ui.compareComboBox.connect("currentIndexChanged(int)", self._chosen)
        self.clear()

    def show(self, job: RegistrationJob) -> None:
        """Show the result of a registration, half and half."""
        fixed, moving = job.pair()
        moved = job.volume if job.volume is not None else moving
        if fixed is None or moved is None:
            self.clear()
            return
        nodes = {"fixed": fixed, "moved": moved, "transform": job.transform, **job.maps}
        self._ids = {name: node.GetID() for name, node in nodes.items()}
        combo_box = self._ui.compareComboBox
        combo_box.clear()
        combo_box.addItem(_("Fixed and moved image"), _BOTH)
        titles = {"checkerboard": _("Checkerboard"), "difference": _("Difference"), "jacobian": _("Jacobian map")}
        for name in MAPS:
            if name in job.maps:
                combo_box.addItem(titles[name], name)
        combo_box.setVisible(bool(job.maps))
        self._ui.compareGroupBox.show()
        self._ui.compareBlendSlider.value = 0.5
        self._layers(fit=True)

    def clear(self) -> None:
        """Hide the comparison."""
        self._ids = {}
        self._ui.compareGroupBox.hide()

    def made(self, transform: Any) -> bool:
        """Whether a transform node is the result that is shown."""
        return self._ids.get("transform") == transform.GetID()

    def _node(self, name: str) -> Any:
        return slicer.mrmlScene.GetNodeByID(self._ids[name]) if name in self._ids else None

    def _blend(self, value: float) -> None:
        if self._ids and self._ui.compareComboBox.itemData(self._ui.compareComboBox.currentIndex) == _BOTH:
            self._layers()

    def _swap(self) -> None:
        self._ui.compareBlendSlider.value = 0.0 if self._ui.compareBlendSlider.value >= 0.5 else 1.0

    def _chosen(self, row: int) -> None:
        if self._ids:
            self._layers()

    def _layers(self, fit: bool = False) -> None:
        shown = self._ui.compareComboBox.itemData(self._ui.compareComboBox.currentIndex)
        both = shown in (_BOTH, None)
        for widget in (self._ui.compareBlendSlider, self._ui.compareSwapButton):
            widget.enabled = both
        if both:
            layers = {"background": self._node("fixed"), "foreground": self._node("moved")}
            slicer.util.setSliceViewerLayers(**layers, foregroundOpacity=self._ui.compareBlendSlider.value, fit=fit)
        else:
            slicer.util.setSliceViewerLayers(background=self._node(shown), foreground=None)
