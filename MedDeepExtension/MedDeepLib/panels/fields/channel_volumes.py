"""Selectors for the input volumes of a model."""

from __future__ import annotations

from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from MedDeepLib.panels.changes import Changes


class ChannelVolumes:
    """One volume selector per input channel of a model; its value is the list of the chosen nodes."""

    def __init__(self, parent: Any, other_titles: list[Any], guess: bool = True):
        """
        Args:
            parent: an empty widget of the form, which gets the selectors.
            other_titles: the labels of the surrounding form, for alignment.
            guess: preselect the volume if there is only one likely choice.
        """
        self.changes = Changes()
        self._guess = guess
        self._parent, self._other_titles = parent, other_titles
        self._layout = qt.QVBoxLayout(parent)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._contents = None
        self._channels: tuple[str, ...] = ()
        self._selectors: list[Any] = []
        self._wanted_ids: list[str] = []  # not the nodes: they must not outlive their scene

    def set_channels(self, channels: tuple[str, ...]) -> None:
        """Make the selectors for these channels; chosen volumes stay chosen if they still fit."""
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
            selector.setCurrentNode(node or (_likely_volume(channel, len(channels)) if self._guess else None))
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
        selector.toolTip = _("The volume for the model's input '{channel}'.").format(channel=channel)
        return selector

    @property
    def selectors(self) -> list[Any]:
        return list(self._selectors)

    def by_channel(self) -> list[tuple[str, Any]]:
        return list(zip(self._channels, self.value(), strict=True))

    def value(self) -> list[Any]:
        return [selector.currentNode() for selector in self._selectors]

    def set_value(self, nodes: list[Any]) -> None:
        """Choose these nodes; kept for later if the model, and with it the selectors, is not known yet."""
        self._wanted_ids = [node.GetID() if node is not None else "" for node in nodes]
        for selector, node in zip(self._selectors, nodes, strict=False):
            selector.setCurrentNode(node)


def _likely_volume(channel: str, channels: int) -> Any:
    """The likely volume: named like the channel, or the only one."""
    volumes = [
        node
        for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        if node.GetClassName() == "vtkMRMLScalarVolumeNode" and not node.GetHideFromEditors()
    ]
    if len(volumes) == 1 and channels == 1:
        return volumes[0]
    alike = [node for node in volumes if channel.lower() in node.GetName().lower()]
    return alike[0] if len(alike) == 1 else None
