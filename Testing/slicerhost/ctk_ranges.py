"""Stand-ins of the CTK widgets for ranges of numbers."""

from __future__ import annotations

from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Property, Signal

from slicerhost.cpp import add_property, cpp_class, enum_to_int
from slicerhost.ctk_numbers import arrange_in_a_row, ctkDoubleSlider


class _Range(QtWidgets.QWidget):
    """Two numbers with minimum <= minimumValue <= maximumValue <= maximum."""

    valuesChanged = Signal(float, float)
    minimumValueChanged = Signal(float)
    maximumValueChanged = Signal(float)
    rangeChanged = Signal(float, float)

    def __init__(self, *arguments):
        super().__init__(*[item for item in arguments if isinstance(item, QtWidgets.QWidget)])
        self._bounds = (0.0, 99.0)
        self._values = (0.0, 99.0)
        self._decimals = None
        self._low, self._high = QtWidgets.QDoubleSpinBox(), QtWidgets.QDoubleSpinBox()
        self._slider = ctkDoubleSlider()
        self._low.valueChanged.connect(lambda value: self.setMinimumValue(value))
        self._high.valueChanged.connect(lambda value: self.setMaximumValue(value))
        self._slider.sliderMoved.connect(lambda value: self.setMaximumValue(value))
        self._arrange()
        self._show_values()

    def _arrange(self) -> None:
        arrange_in_a_row(self, self._low, self._slider, self._high)

    def _show_values(self) -> None:
        for spin_box, value in ((self._low, self._values[0]), (self._high, self._values[1])):
            with QtCore.QSignalBlocker(spin_box):
                spin_box.setRange(*self._bounds)
                spin_box.setValue(value)
        with QtCore.QSignalBlocker(self._slider):
            self._slider.setRange(*self._bounds)
            self._slider.setValue(self._values[1])

    def setValues(self, low: float, high: float) -> None:
        low, high = (min(max(float(value), self._bounds[0]), self._bounds[1]) for value in (low, high))
        previous, self._values = self._values, (min(low, high), max(low, high))
        self._show_values()
        if self._values[0] != previous[0]:
            self.minimumValueChanged.emit(self._values[0])
        if self._values[1] != previous[1]:
            self.maximumValueChanged.emit(self._values[1])
        if self._values != previous:
            self.valuesChanged.emit(*self._values)

    def setMinimumValue(self, value: float) -> None:
        self.setValues(value, max(value, self._values[1]))

    def setMaximumValue(self, value: float) -> None:
        self.setValues(min(value, self._values[0]), value)

    def setRange(self, minimum: float, maximum: float) -> None:
        bounds = (float(minimum), max(float(minimum), float(maximum)))
        if bounds != self._bounds:
            self._bounds = bounds
            self.rangeChanged.emit(*bounds)
        self.setValues(*self._values)

    def setMinimum(self, minimum: float) -> None:
        self.setRange(minimum, max(minimum, self._bounds[1]))

    def setMaximum(self, maximum: float) -> None:
        self.setRange(min(self._bounds[0], maximum), maximum)

    def setSingleStep(self, step: float) -> None:
        self._low.setSingleStep(step)
        self._high.setSingleStep(step)

    minimumValue = Property(float, lambda self: self._values[0], setMinimumValue)
    maximumValue = Property(float, lambda self: self._values[1], setMaximumValue)
    minimum = Property(float, lambda self: self._bounds[0], setMinimum)
    maximum = Property(float, lambda self: self._bounds[1], setMaximum)
    singleStep = Property(float, lambda self: self._low.singleStep, setSingleStep)


add_property(_Range, bool, "tracking", True)
add_property(_Range, bool, "symmetricMoves", False)


@cpp_class
class ctkRangeWidget(_Range):
    """A range with a spin box for each end. `decimals` is for the spin boxes only."""

    def setDecimals(self, decimals: int) -> None:
        self._low.setDecimals(decimals)
        self._high.setDecimals(decimals)
        self._show_values()

    def setPrefix(self, prefix: str) -> None:
        self._low.setPrefix(prefix)
        self._high.setPrefix(prefix)

    def setSuffix(self, suffix: str) -> None:
        self._low.setSuffix(suffix)
        self._high.setSuffix(suffix)

    decimals = Property(int, lambda self: self._low.decimals, setDecimals)
    prefix = Property(str, lambda self: self._low.prefix, setPrefix)
    suffix = Property(str, lambda self: self._low.suffix, setSuffix)


@cpp_class
class ctkDoubleRangeSlider(_Range):
    """A range on a slider, without spin boxes."""

    positionsChanged = Signal(float, float)

    def _arrange(self) -> None:
        arrange_in_a_row(self, self._slider)


add_property(_Range, float, "tickInterval", 0.0)
add_property(ctkRangeWidget, bool, "autoSpinBoxWidth", True)
for _name in ("spinBoxAlignment", "spinBoxTextAlignment"):
    add_property(ctkRangeWidget, int, _name, 0, convert=enum_to_int)
add_property(ctkDoubleRangeSlider, int, "orientation", 1, convert=enum_to_int)
