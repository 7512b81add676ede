"""One input widget for each kind of parameter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt

from MedDeepLib.core.parameters import ParameterInfo

_LARGEST_INTEGER = 2**31 - 1
_MOST_DECIMALS = 6


class Field:
    """A widget that shows and changes one parameter.

    ``value()`` is the parameter's value, or the text as typed if that is not valid; ``set_value`` accepts
    the value as read from JSON.
    """

    widget: Any

    def __init__(self, info: ParameterInfo, changed: Callable[[], None]):
        self.info = info
        self._make(changed)

    def _make(self, changed: Callable[[], None]) -> None:
        raise NotImplementedError

    def value(self) -> Any:
        raise NotImplementedError

    def set_value(self, value: Any) -> None:
        raise NotImplementedError


class BoolField(Field):
    def _make(self, changed):
        self.widget = qt.QCheckBox()
        self.widget.connect("toggled(bool)", lambda checked: changed())

    def value(self):
        return self.widget.checked

    def set_value(self, value):
        self.widget.checked = bool(value)


class ChoiceField(Field):
    def _make(self, changed):
        self.widget = qt.QComboBox()
        self.widget.addItems([_choice_title(choice) for choice in self.info.choices])
        self.widget.connect("currentIndexChanged(int)", lambda index: changed())

    def value(self):
        return self.info.choices[self.widget.currentIndex]

    def set_value(self, value):
        value = self.info.choice(value)
        if value in self.info.choices:
            self.widget.currentIndex = self.info.choices.index(value)


class IntegerField(Field):
    def _make(self, changed):
        self.widget = qt.QSpinBox()
        self.widget.setRange(*_limits(self.info, _LARGEST_INTEGER))
        self.widget.suffix = _suffix(self.info)
        self.widget.keyboardTracking = False  # not while a number is being typed
        self.widget.connect("valueChanged(int)", lambda value: changed())

    def value(self):
        return self.widget.value

    def set_value(self, value):
        self.widget.value = int(value)


class DecimalField(Field):
    """A number between two limits; a number without limits may be of any magnitude and gets a TextField."""

    def _make(self, changed):
        self.widget = qt.QDoubleSpinBox()
        self.widget.decimals = _decimals(self.info.default)
        minimum, maximum = self.info.minimum, self.info.maximum
        assert minimum is not None and maximum is not None  # others get a TextField
        self.widget.setRange(minimum, maximum)
        self.widget.singleStep = 0.05 if maximum - minimum <= 2 else 1.0
        self.widget.suffix = _suffix(self.info)
        self.widget.keyboardTracking = False
        self.widget.connect("valueChanged(double)", lambda value: changed())

    def value(self):
        return round(self.widget.value, _MOST_DECIMALS)

    def set_value(self, value):
        # Digits typed by the user must not be rounded away, even if the default has fewer.
        self.widget.decimals = max(self.widget.decimals, _decimals(float(value)))
        self.widget.value = float(value)


class TextField(Field):
    """Text, several numbers separated by commas, or a number of any magnitude such as 3e-4."""

    def _make(self, changed):
        self._line_edit = qt.QLineEdit()
        self._line_edit.connect("textChanged(QString)", lambda text: changed())
        self.widget = self._line_edit if not self.info.unit else _beside(self._line_edit, self.info.unit)

    def value(self):
        text = self._line_edit.text
        try:
            if self.info.item:
                return tuple(self.info.item(part) for part in text.split(",") if part.strip())
            return self.info.type(text.strip())
        except ValueError:
            return text

    def set_value(self, value):
        if isinstance(value, (list, tuple)):
            text = ", ".join(_number_text(part) for part in value)
        else:
            text = _number_text(value) if self.info.type is float else str(value)
        if text != self._line_edit.text:
            self._line_edit.text = text


def make_field(info: ParameterInfo, changed: Callable[[], None]) -> Field:
    """The field that fits the parameter, showing its default; ``changed`` is called at every change."""
    kinds: dict[type, type[Field]] = {bool: BoolField, int: IntegerField, float: DecimalField}
    kind = kinds.get(info.type, TextField)
    if info.choices:
        kind = ChoiceField
    elif kind is DecimalField and (info.minimum is None or info.maximum is None):
        kind = TextField
    field = kind(info, changed)
    field.set_value(info.default)
    return field


def _limits(info: ParameterInfo, largest: int) -> tuple[int, int]:
    minimum = -largest if info.minimum is None else int(info.minimum)
    return minimum, largest if info.maximum is None else min(largest, int(info.maximum))


def _suffix(info: ParameterInfo) -> str:
    return f" {info.unit}" if info.unit else ""


def _decimals(number: float) -> int:
    """As many decimals as the number has, at least two."""
    digits = f"{number:.{_MOST_DECIMALS}f}".rstrip("0").partition(".")[2]
    return max(2, len(digits))


def _number_text(number: Any) -> str:
    return f"{number:g}" if isinstance(number, float) else str(number)


def _choice_title(choice: Any) -> str:
    return str(choice).replace("_", " ")


def _beside(widget: Any, text: str) -> Any:
    """A widget that holds ``widget`` with a text to its right."""
    row = qt.QWidget()
    layout = qt.QHBoxLayout(row)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.addWidget(widget)
    layout.addWidget(qt.QLabel(text))
    return row
