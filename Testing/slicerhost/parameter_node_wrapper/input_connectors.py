"""Connectors of Qt's usual inputs, and CTK's and Slicer's variants: buttons, numbers, choices, texts."""

from __future__ import annotations

import enum
import logging
from typing import Any, ClassVar

import ctk
import qt
import slicer

from .annotations import Decimals, SingleStep, findFirstAnnotation, unannotatedType
from .gui_connectors import parameterNodeGuiConnector
from .validators import Choice, Maximum, Minimum, WithinRange
from .widget_connector import WidgetConnector


@parameterNodeGuiConnector
class CheckBoxToBoolConnector(WidgetConnector):
    """Check box and bool."""

    widgetClasses = ((qt, "QCheckBox"), (ctk, "ctkCheckBox"))
    dataTypes = (bool,)
    attribute = "checked"
    signal = "toggled"


@parameterNodeGuiConnector
class PushButtonToBoolConnector(WidgetConnector):
    """Checkable push button and bool; the button is made checkable if it is not."""

    widgetClasses = ((qt, "QPushButton"), (ctk, "ctkCheckablePushButton"))
    dataTypes = (bool,)
    attribute = "checked"
    signal = "toggled"

    def configure(self, annotations: tuple) -> None:
        if not self._widget.checkable:
            logging.warning("The button %r is made checkable to be bound to a bool.", self._widget.text)
            self._widget.checkable = True


class _NumberConnector(WidgetConnector):
    """Base of connectors of spin boxes and sliders; sets their range, step and decimals."""

    attribute = "value"
    signal = "valueChanged"
    lowest: ClassVar[float]
    highest: ClassVar[float]
    boundedWidgetClasses: ClassVar[tuple[tuple[Any, str], ...]] = ()

    def configure(self, annotations: tuple) -> None:
        lower = findFirstAnnotation(annotations, (WithinRange, Minimum))
        upper = findFirstAnnotation(annotations, (WithinRange, Maximum))
        needsBounds = type(self._widget) in [getattr(module, name, None) for module, name in self.boundedWidgetClasses]
        if needsBounds and (lower is None or upper is None):
            raise RuntimeError(
                f"A {type(self._widget).__name__} can only be bound to a number with both bounds: "
                "annotate the parameter with WithinRange, or with Minimum and Maximum."
            )
        # Decimals first: they round the range.
        decimals = findFirstAnnotation(annotations, Decimals)
        if decimals is not None and hasattr(self._widget, "decimals"):
            self._widget.decimals = decimals.value
        self._widget.minimum = self.lowest if lower is None else lower.minimum
        self._widget.maximum = self.highest if upper is None else upper.maximum
        step = findFirstAnnotation(annotations, SingleStep)
        if step is not None:
            self._widget.singleStep = step.value


@parameterNodeGuiConnector
class SliderOrSpinBoxToIntConnector(_NumberConnector):
    """Slider or spin box and int. A slider needs both bounds."""

    widgetClasses = ((qt, "QSlider"), (qt, "QSpinBox"))
    boundedWidgetClasses = ((qt, "QSlider"),)
    dataTypes = (int,)
    lowest = -(2**31)
    highest = 2**31 - 1


@parameterNodeGuiConnector
class SliderOrSpinBoxToFloatConnector(_NumberConnector):
    """Slider or spin box and float. Slider widgets need both bounds."""

    widgetClasses = (
        (qt, "QDoubleSpinBox"),
        (ctk, "ctkDoubleSpinBox"),
        (ctk, "ctkSliderWidget"),
        (ctk, "ctkDoubleSlider"),
        (slicer, "qMRMLSliderWidget"),
        (slicer, "qMRMLSpinBox"),
    )
    boundedWidgetClasses = ((ctk, "ctkSliderWidget"), (slicer, "qMRMLSliderWidget"))
    dataTypes = (float,)
    lowest = float("-inf")
    highest = float("inf")


class _ComboBoxConnector(WidgetConnector):
    """Base of connectors that fill a combo box with the values a parameter can have."""

    widgetClasses = ((qt, "QComboBox"), (ctk, "ctkComboBox"))
    signal = "currentIndexChanged"

    def _fill(self, values: list, labels: list[str]) -> None:
        self._values = values
        self._widget.clear()
        self._widget.addItems(labels)

    def read(self) -> Any:
        return self._values[self._widget.currentIndex]

    def write(self, value: Any) -> None:
        self._widget.currentIndex = self._values.index(value)


@parameterNodeGuiConnector
class ComboBoxToChoiceConnector(_ComboBoxConnector):
    """Combo box and a number, text or bool with the annotation Choice."""

    dataTypes = (int, float, str, bool)

    def configure(self, annotations: tuple) -> None:
        choice = findFirstAnnotation(annotations, Choice)
        if choice is None:
            raise RuntimeError("A combo box can only be bound to a parameter that is annotated with Choice.")
        self._fill(list(choice.choices), [str(item) for item in choice.choices])


@parameterNodeGuiConnector
class ComboBoxToEnumConnector(_ComboBoxConnector):
    """Combo box and enumeration; a method `label` of the enumeration makes the texts."""

    @classmethod
    def matches_type(cls, datatype: Any) -> bool:
        bareType = unannotatedType(datatype)
        return isinstance(bareType, type) and issubclass(bareType, enum.Enum)

    def configure(self, annotations: tuple) -> None:
        members = list(self._type)
        self._fill(members, [item.label() if hasattr(item, "label") else item.name for item in members])


@parameterNodeGuiConnector
class LineEditToStrConnector(WidgetConnector):
    """Line edit and text."""

    widgetClasses = ((qt, "QLineEdit"),)
    dataTypes = (str,)
    attribute = "text"
    signal = "textChanged"


@parameterNodeGuiConnector
class TextEditToStrConnector(WidgetConnector):
    """Text edit and plain text."""

    widgetClasses = ((qt, "QTextEdit"),)
    dataTypes = (str,)
    signal = "textChanged"

    def read(self) -> str:
        return self._widget.toPlainText()

    def write(self, value: str) -> None:
        # Setting the same text again would move the cursor of somebody who is typing.
        if value != self._widget.toPlainText():
            self._widget.setPlainText(value)


@parameterNodeGuiConnector
class LabelToStrConnector(WidgetConnector):
    """Label that shows a text; the text is never taken from the label."""

    widgetClasses = ((qt, "QLabel"),)
    dataTypes = (str,)
    attribute = "text"

    def _connect(self) -> None:
        pass

    def _disconnect(self) -> None:
        pass
