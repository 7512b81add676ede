"""GuiConnector: how a widget and a parameter of some type exchange values; registration and choice."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any


class GuiConnector(abc.ABC):
    """Reads and writes the value of a widget, and tells when the user has changed it."""

    def __init__(self) -> None:
        super().__init__()
        self._callback: Callable[[], None] | None = None

    @staticmethod
    @abc.abstractmethod
    def canRepresent(widget: Any, datatype: Any) -> bool:
        """Tell whether a connector of this class can bind the widget to the (annotated) type."""

    @staticmethod
    @abc.abstractmethod
    def create(widget: Any, datatype: Any) -> GuiConnector | None:
        """Return a connector of the widget to the (annotated) type; None if it cannot be bound."""

    def onChanged(self, callback: Callable[[], None] | None) -> None:
        """Call `callback` whenever the widget's value changes; None ends that."""
        wasConnected = self._callback is not None
        self._callback = callback
        if callback is not None and not wasConnected:
            self._connect()
        elif callback is None and wasConnected:
            self._disconnect()

    def changed(self, *_arguments: Any) -> None:
        """To be called (connected to a signal) when the widget's value has changed."""
        if self._callback is not None:
            self._callback()

    @abc.abstractmethod
    def _connect(self) -> None:
        """Connect `changed` to the widget."""

    @abc.abstractmethod
    def _disconnect(self) -> None:
        """Disconnect `changed` from the widget."""

    @abc.abstractmethod
    def widget(self) -> Any:
        """Return the widget."""

    @abc.abstractmethod
    def read(self) -> Any:
        """Return the value the widget shows."""

    @abc.abstractmethod
    def write(self, value: Any) -> None:
        """Make the widget show the value."""


_registered_connectors: list[type[GuiConnector]] = []


def parameterNodeGuiConnector(classtype: type[GuiConnector] | None = None) -> Callable | type[GuiConnector]:
    """Class decorator, with or without parentheses, that registers a connector."""

    def register(cls: type[GuiConnector]) -> type[GuiConnector]:
        if not issubclass(cls, GuiConnector):
            raise TypeError(f"{cls} must derive from GuiConnector to be registered as one.")
        _registered_connectors.append(cls)
        return cls

    return register if classtype is None else register(classtype)


def createGuiConnector(widget: Any, datatype: Any) -> GuiConnector:
    """Return a connector of the widget to the (annotated) type.

    Raises RuntimeError if no registered connector can bind them.
    """
    for candidate in _registered_connectors:
        if candidate.canRepresent(widget, datatype):
            return candidate.create(widget, datatype)
    raise RuntimeError(f"A {type(widget).__name__} cannot be bound to a parameter of type {datatype}.")
