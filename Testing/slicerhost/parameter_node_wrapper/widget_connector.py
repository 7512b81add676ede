"""Base of the connectors that bind one attribute of a widget."""

from __future__ import annotations

from typing import Any, ClassVar

from .annotations import splitAnnotations, unannotatedType
from .gui_connectors import GuiConnector


class WidgetConnector(GuiConnector):
    """Base of connectors that bind one attribute of a widget through one signal.

    A widget matches only if its class is exactly one of `widgetClasses` (module, name): Slicer does the same.
    """

    widgetClasses: ClassVar[tuple[tuple[Any, str], ...]] = ()
    dataTypes: ClassVar[tuple[type, ...]] = ()
    attribute: ClassVar[str] = ""
    signal: ClassVar[str] = ""

    def __init__(self, widget: Any, datatype: Any) -> None:
        super().__init__()
        self._widget = widget
        self._type, annotations = splitAnnotations(datatype)
        self.configure(annotations)

    def configure(self, annotations: tuple) -> None:
        """Set up the widget for the annotations of the parameter."""

    @classmethod
    def matches_widget(cls, widget: Any) -> bool:
        return type(widget) in [getattr(module, name, None) for module, name in cls.widgetClasses]

    @classmethod
    def matches_type(cls, datatype: Any) -> bool:
        return unannotatedType(datatype) in cls.dataTypes

    @classmethod
    def canRepresent(cls, widget: Any, datatype: Any) -> bool:
        return cls.matches_widget(widget) and cls.matches_type(datatype)

    @classmethod
    def create(cls, widget: Any, datatype: Any) -> GuiConnector | None:
        return cls(widget, datatype) if cls.canRepresent(widget, datatype) else None

    def _connect(self) -> None:
        getattr(self._widget, self.signal).connect(self.changed)

    def _disconnect(self) -> None:
        getattr(self._widget, self.signal).disconnect(self.changed)

    def widget(self) -> Any:
        return self._widget

    def read(self) -> Any:
        return getattr(self._widget, self.attribute)

    def write(self, value: Any) -> None:
        setattr(self._widget, self.attribute, value)
