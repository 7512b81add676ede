"""A form generated from a dataclass of parameters, the same one that validates a job."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import ctk
import qt
from slicer.i18n import tr as _

from MedDeepLib.core.parameters import ParameterInfo, describe, from_mapping
from MedDeepLib.errors import UserError
from MedDeepLib.panels.changes import Changes
from MedDeepLib.panels.fields.parameter_fields import Field, make_field


class ParameterForm:
    """Basic parameters visible, advanced ones collapsed, and a button that resets all of them to their defaults.

    Attributes:
        changes: emitted when the user, or ``set_value``, has changed a value.
    """

    def __init__(self, parent: Any):
        """Fill ``parent``, an empty widget of the panel."""
        self.changes = Changes()
        self._parent = parent
        self._layout = qt.QVBoxLayout(parent)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._contents = None
        self._class: type | None = None
        self._fields: dict[str, Field] = {}
        self._setting = False

    def set_class(self, parameters: type) -> None:
        """Show the parameters of this dataclass, with their defaults."""
        if parameters is self._class:
            return
        self._class = parameters
        if self._contents is not None:
            self._contents.hide()
            self._contents.deleteLater()
        self._contents = qt.QWidget(self._parent)
        self._layout.addWidget(self._contents)
        self._setting = True
        self._fill(describe(parameters))
        self._setting = False

    def value(self) -> dict[str, Any]:
        """The parameters that differ from their defaults, as JSON values; text that is not valid stays as typed."""
        changed = {}
        for name, field in self._fields.items():
            value = field.value()
            if value != field.info.default:
                changed[name] = list(value) if isinstance(value, tuple) else value
        return changed

    def set_value(self, values: Mapping[str, Any]) -> None:
        """Show these values, and the defaults of all others. Unknown names are ignored."""
        self._setting = True
        try:
            for name, field in self._fields.items():
                field.set_value(values.get(name, field.info.default))
        finally:
            self._setting = False
        self._changed()

    def reset(self) -> None:
        """Show the defaults."""
        self.set_value({})

    def is_filled(self) -> bool:
        """Whether its parameters have been set."""
        return self._class is not None

    def problem(self) -> str:
        """The sentence for the first value that is not valid; empty when all are."""
        try:
            if self._class is not None:
                from_mapping(self._class, self.value())
        except UserError as error:
            return str(error)
        return ""

    def field(self, name: str) -> Field:
        return self._fields[name]

    def _changed(self) -> None:
        if not self._setting:
            self._reset_button.enabled = bool(self.value())
            self.changes.emit()

    def _fill(self, infos: list[ParameterInfo]) -> None:
        layout = qt.QVBoxLayout(self._contents)
        layout.setContentsMargins(0, 0, 0, 0)
        self._fields = {info.name: make_field(info, self._changed) for info in infos}
        basic = qt.QWidget(self._contents)
        layout.addWidget(basic)
        self._add_rows(basic, [info for info in infos if not info.advanced])
        advanced = [info for info in infos if info.advanced]
        if advanced:
            box = ctk.ctkCollapsibleGroupBox(self._contents)
            box.title = _("Advanced")
            layout.addWidget(box)
            self._add_rows(box, advanced)
            box.collapsed = True
        self._reset_button = qt.QPushButton(_("Reset to defaults"), self._contents)
        self._reset_button.toolTip = _("Set all of these parameters to their defaults.")
        self._reset_button.enabled = False
        self._reset_button.connect("clicked()", self.reset)
        layout.addWidget(self._reset_button, 0, qt.Qt.AlignRight)

    def _add_rows(self, parent: Any, infos: list[ParameterInfo]) -> None:
        rows = qt.QFormLayout(parent)
        for info in infos:
            label = qt.QLabel(_title(info.name) + ":", parent)
            widget = self._fields[info.name].widget
            label.toolTip = widget.toolTip = _tool_tip(info)
            widget.objectName = info.name
            rows.addRow(label, widget)


def _title(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _tool_tip(info: ParameterInfo) -> str:
    default = ", ".join(map(str, info.default)) if isinstance(info.default, tuple) else str(info.default)
    unit = f" {info.unit}" if info.unit else ""
    return _("{help}\nDefault: {default}{unit}").format(help=info.help, default=default, unit=unit)


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
