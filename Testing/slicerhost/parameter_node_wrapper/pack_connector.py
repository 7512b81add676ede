"""Connector of a widget whose children each show one member of a parameter pack."""

from __future__ import annotations

from typing import Any

import qt

from .annotations import unannotatedType
from .gui_connectors import GuiConnector, createGuiConnector, parameterNodeGuiConnector
from .parameter_pack import isParameterPack, nestedParameterNames

SlicerPackParameterNamePropertyName = "SlicerPackParameterName"


def pack_widgets(widget: Any) -> dict[str, Any]:
    """Return the widgets inside `widget` that show members of a pack, by dotted member name.

    The property SlicerPackParameterName names the member; a widget inside another widget with that
    property shows a member of the nested pack. Only the innermost widgets are returned.
    """
    named: dict[str, Any] = {}
    for child in widget.findChildren(qt.QWidget):
        if child.property(SlicerPackParameterNamePropertyName):
            named[_dotted_name(child, widget)] = child
    outer = {name for name in named if any(other.startswith(f"{name}.") for other in named)}
    return {name: child for name, child in named.items() if name not in outer}


def _dotted_name(child: Any, root: Any) -> str:
    names = []
    while child is not root:
        name = child.property(SlicerPackParameterNamePropertyName)
        if name:
            names.append(name)
        child = child.parentWidget()
    return ".".join(reversed(names))


@parameterNodeGuiConnector
class WidgetChildrenToParameterPackConnector(GuiConnector):
    """Widget with a child for each member, and parameter pack."""

    @staticmethod
    def canRepresent(widget: Any, datatype: Any) -> bool:
        bareType = unannotatedType(datatype)
        return isParameterPack(bareType) and set(nestedParameterNames(bareType)) <= set(pack_widgets(widget))

    @staticmethod
    def create(widget: Any, datatype: Any) -> GuiConnector | None:
        if not WidgetChildrenToParameterPackConnector.canRepresent(widget, datatype):
            return None
        return WidgetChildrenToParameterPackConnector(widget, datatype)

    def __init__(self, widget: Any, datatype: Any) -> None:
        super().__init__()
        self._widget = widget
        self._type = unannotatedType(datatype)
        widgets = pack_widgets(widget)
        self._connectors = {
            name: createGuiConnector(widgets[name], self._type.dataType(name))
            for name in nestedParameterNames(self._type)
        }

    def _connect(self) -> None:
        for connector in self._connectors.values():
            connector.onChanged(self.changed)

    def _disconnect(self) -> None:
        for connector in self._connectors.values():
            connector.onChanged(None)

    def widget(self) -> Any:
        return self._widget

    def read(self) -> Any:
        pack = self._type()
        for name, connector in self._connectors.items():
            pack.setValue(name, connector.read())
        return pack

    def write(self, value: Any) -> None:
        for name, connector in self._connectors.items():
            connector.write(value.getValue(name))
