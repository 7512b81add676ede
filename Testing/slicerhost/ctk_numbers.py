"""Stand-ins of the CTK widgets for numbers."""

from __future__ import annotations

import math

from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Property, Qt, Signal

from slicerhost.cpp import add_property, cpp_class, delegate_property, enum_to_int

SLIDER_TICKS = 1000


def arrange_in_a_row(widget: QtWidgets.QWidget, *parts: QtWidgets.QWidget) -> None:
    """Lay the parts out side by side, the sliders as wide as possible."""
    layout = QtWidgets.QHBoxLayout(widget)
    layout.setContentsMargins(0, 0, 0, 0)
    for part in parts:
        layout.addWidget(part, 1 if isinstance(part, QtWidgets.QSlider | ctkDoubleSlider) else 0)


class _TickSlider(QtWidgets.QSlider):
    """A horizontal integer slider that shows where a value lies between a minimum and a maximum."""

    def __init__(self):
        super().__init__(Qt.Horizontal)
        self.setRange(0, SLIDER_TICKS)

    def show_value(self, value: float, minimum: float, maximum: float) -> None:
        span = maximum - minimum
        with QtCore.QSignalBlocker(self):
            self.setValue(round(SLIDER_TICKS * (value - minimum) / span) if 0 < span < math.inf else 0)


@cpp_class
class ctkDoubleSlider(QtWidgets.QWidget):
    """A slider for floating-point numbers. Keeps the value as it is set, without rounding."""

    valueChanged = Signal(float)
    sliderMoved = Signal(float)
    sliderPressed = Signal()
    sliderReleased = Signal()
    rangeChanged = Signal(float, float)

    def __init__(self, *arguments):
        super().__init__(*[item for item in arguments if isinstance(item, QtWidgets.QWidget)])
        self._value, self._minimum, self._maximum = 0.0, 0.0, 99.0
        self._slider = _TickSlider()
        self._slider.sliderMoved.connect(self._moved)
        self._slider.sliderPressed.connect(self.sliderPressed)
        self._slider.sliderReleased.connect(self.sliderReleased)
        arrange_in_a_row(self, self._slider)

    def _moved(self, tick: int) -> None:
        value = self._minimum + (self._maximum - self._minimum) * tick / SLIDER_TICKS
        self.sliderMoved.emit(value)
        self.setValue(value)

    def setRange(self, minimum: float, maximum: float) -> None:
        self._minimum, self._maximum = float(minimum), max(float(minimum), float(maximum))
        self.rangeChanged.emit(self._minimum, self._maximum)
        self.setValue(self._value)
        self._slider.show_value(self._value, self._minimum, self._maximum)

    def setMinimum(self, minimum: float) -> None:
        self.setRange(minimum, max(minimum, self._maximum))

    def setMaximum(self, maximum: float) -> None:
        self.setRange(min(self._minimum, maximum), maximum)

    def setValue(self, value: float) -> None:
        value = min(max(float(value), self._minimum), self._maximum)
        self._slider.show_value(value, self._minimum, self._maximum)
        if value != self._value:
            self._value = value
            self.valueChanged.emit(value)

    value = Property(float, lambda self: self._value, setValue)
    minimum = Property(float, lambda self: self._minimum, setMinimum)
    maximum = Property(float, lambda self: self._maximum, setMaximum)


add_property(ctkDoubleSlider, float, "singleStep", 1.0)
add_property(ctkDoubleSlider, float, "pageStep", 10.0)
add_property(ctkDoubleSlider, float, "tickInterval", 0.0)
add_property(ctkDoubleSlider, bool, "tracking", True)


@cpp_class
class ctkDoubleSpinBox(QtWidgets.QWidget):
    """A widget around a QDoubleSpinBox (in CTK it is no subclass of it either)."""

    valueChanged = Signal(float)
    editingFinished = Signal()
    decimalsChanged = Signal(int)

    def __init__(self, *arguments):
        super().__init__(*[item for item in arguments if isinstance(item, QtWidgets.QWidget)])
        self._spin_box = QtWidgets.QDoubleSpinBox()
        self._spin_box.valueChanged.connect(self.valueChanged)
        self._spin_box.editingFinished.connect(self.editingFinished)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._spin_box)

    def spinBox(self) -> QtWidgets.QDoubleSpinBox:
        return self._spin_box

    def setRange(self, minimum: float, maximum: float) -> None:
        self._spin_box.setRange(minimum, maximum)

    def stepUp(self) -> None:
        self._spin_box.stepUp()

    def stepDown(self) -> None:
        self._spin_box.stepDown()


for _type, _name in (
    (float, "value"),
    (float, "minimum"),
    (float, "maximum"),
    (float, "singleStep"),
    (int, "decimals"),
    (str, "prefix"),
    (str, "suffix"),
):
    delegate_property(ctkDoubleSpinBox, _type, _name, "_spin_box")


@cpp_class
class ctkSliderWidget(QtWidgets.QWidget):
    """A slider and a spin box that show the same number, which is rounded to `decimals`."""

    valueChanged = Signal(float)
    valueIsChanging = Signal(float)

    def __init__(self, *arguments):
        super().__init__(*[item for item in arguments if isinstance(item, QtWidgets.QWidget)])
        self._slider = ctkDoubleSlider()
        self._spin_box = QtWidgets.QDoubleSpinBox()
        self._spin_box.setRange(0.0, 99.0)
        self._spin_box.valueChanged.connect(self._spin_box_changed)
        self._slider.sliderMoved.connect(self._slider_moved)
        self._slider.sliderReleased.connect(self._slider_released)
        arrange_in_a_row(self, self._slider, self._spin_box)

    def _spin_box_changed(self, value: float) -> None:
        self._show_on_slider()
        self.valueChanged.emit(value)

    def _slider_moved(self, value: float) -> None:
        if self.tracking:
            self._spin_box.setValue(value)
        else:
            self.valueIsChanging.emit(value)

    def _slider_released(self) -> None:
        self._spin_box.setValue(self._slider.value)

    def _show_on_slider(self) -> None:
        with QtCore.QSignalBlocker(self._slider):
            self._slider.setRange(self._spin_box.minimum, self._spin_box.maximum)
            self._slider.setValue(self._spin_box.value)

    def setValue(self, value: float) -> None:
        self._spin_box.setValue(value)

    def setRange(self, minimum: float, maximum: float) -> None:
        self._spin_box.setRange(minimum, maximum)
        self._show_on_slider()

    def setMinimum(self, minimum: float) -> None:
        self.setRange(minimum, max(minimum, self.maximum))

    def setMaximum(self, maximum: float) -> None:
        self.setRange(min(self.minimum, maximum), maximum)

    def reset(self) -> None:
        self.setValue(0.0)

    def setSpinBoxVisible(self, visible: bool) -> None:
        self._spin_box.setVisible(visible)

    def spinBox(self) -> QtWidgets.QDoubleSpinBox:
        return self._spin_box

    def slider(self) -> ctkDoubleSlider:
        return self._slider

    value = Property(float, lambda self: self._spin_box.value, setValue)
    minimum = Property(float, lambda self: self._spin_box.minimum, setMinimum)
    maximum = Property(float, lambda self: self._spin_box.maximum, setMaximum)
    spinBoxVisible = Property(bool, lambda self: not self._spin_box.isHidden(), setSpinBoxVisible)


for _type, _name in ((float, "singleStep"), (int, "decimals"), (str, "prefix"), (str, "suffix")):
    delegate_property(ctkSliderWidget, _type, _name, "_spin_box")
add_property(ctkSliderWidget, float, "pageStep", 10.0)
add_property(ctkSliderWidget, float, "tickInterval", 0.0)
add_property(ctkSliderWidget, bool, "tracking", True)
add_property(ctkSliderWidget, bool, "popupSlider", False)
add_property(ctkSliderWidget, bool, "autoSpinBoxWidth", True)
add_property(ctkDoubleSlider, int, "orientation", 1, convert=enum_to_int)
for _class in (ctkDoubleSlider, ctkSliderWidget):
    add_property(_class, int, "tickPosition", 0, convert=enum_to_int)
    add_property(_class, bool, "invertedAppearance", False)
    add_property(_class, bool, "invertedControls", False)
add_property(ctkSliderWidget, int, "spinBoxAlignment", 1, convert=enum_to_int)
add_property(ctkDoubleSpinBox, int, "alignment", 1, convert=enum_to_int)
