"""Signals changes of a panel's values, and binds such values to a typed parameter node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from slicer.parameterNodeWrapper import GuiConnector


class Changes:
    """Functions to call when something has changed."""

    def __init__(self):
        self._callbacks: list[Callable[[], None]] = []

    def connect(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)

    def connect_first(self, callback: Callable[[], None]) -> None:
        """Call this one before all others."""
        self._callbacks.insert(0, callback)

    def emit(self) -> None:
        for callback in self._callbacks:
            callback()


class ValueConnector(GuiConnector):
    """Binds anything with ``value()``, ``set_value(value)`` and ``changes`` to a field of a parameter node.

    Pass it to ``connectParametersToGui`` in the place of a widget.
    """

    @staticmethod
    def canRepresent(widget: Any, datatype: Any) -> bool:
        return False  # never chosen automatically, only passed explicitly

    @staticmethod
    def create(widget: Any, datatype: Any) -> None:
        return None

    def __init__(self, chooser: Any):
        super().__init__()
        self._chooser = chooser
        # Must come first: another callback may change a field of the parameter node, which then writes all its fields
        # to the panel and would undo this change if it were not stored yet.
        chooser.changes.connect_first(self._tell)

    def _tell(self) -> None:
        self.changed()

    def _connect(self) -> None:
        """Does nothing: connected permanently in the constructor; without a callback ``changed`` has no effect."""

    def _disconnect(self) -> None:
        """See ``_connect``."""

    def widget(self) -> Any:
        return self._chooser

    def read(self) -> Any:
        return self._chooser.value()

    def write(self, value: Any) -> None:
        # Every change of the parameter node writes every field: the same value again must cost and change nothing.
        if isinstance(value, Sequence) and not isinstance(value, str):
            value = list(value)
        if value != self._chooser.value():
            self._chooser.set_value(value)
