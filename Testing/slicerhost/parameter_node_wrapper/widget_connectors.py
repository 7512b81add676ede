"""Connectors of single widgets: buttons, numbers, choices, texts, ranges, paths, colours, nodes."""

from __future__ import annotations

import enum
import logging
from typing import Any, ClassVar

import ctk
import qt
import slicer

from .annotations import (
    Decimals,
    SingleStep,
    findFirstAnnotation,
    getNodeTypes,
    isNodeOrUnionOfNodes,
    splitAnnotations,
    unannotatedType,
)
from .float_range import FloatRange
from .gui_connectors import GuiConnector, parameterNodeGuiConnector
from .validators import Choice, Maximum, Minimum, RangeBounds, WithinRange
from .value_serializers import PATH_TYPES


class _WidgetConnector(GuiConnector):
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


@parameterNodeGuiConnector
class CheckBoxToBoolConnector(_WidgetConnector):
    """Check box and bool."""

    widgetClasses = ((qt, "QCheckBox"), (ctk, "ctkCheckBox"))
    dataTypes = (bool,)
    attribute = "checked"
    signal = "toggled"


@parameterNodeGuiConnector
class PushButtonToBoolConnector(_WidgetConnector):
    """Checkable push button and bool; the button is made checkable if it is not."""

    widgetClasses = ((qt, "QPushButton"), (ctk, "ctkCheckablePushButton"))
    dataTypes = (bool,)
    attribute = "checked"
    signal = "toggled"

    def configure(self, annotations: tuple) -> None:
        if not self._widget.checkable:
            logging.warning("The button %r is made checkable to be bound to a bool.", self._widget.text)
            self._widget.checkable = True


class _NumberConnector(_WidgetConnector):
    """Base of connectors of spin boxes and sliders; sets their range, step and decimals."""

    attribute = "value"
    signal = "valueChanged"
    lowest: ClassVar[float]
    highest: ClassVar[float]
    boundedWidgetClasses: ClassVar[tuple[tuple[Any, str], ...]] = ()

    def configure(self, annotations: tuple) -> None:
        lower = findFirstAnnotation(annotations, (WithinRange, Minimum))
        upper = findFirstAnnotation(annotations, (WithinRange, Maximum))
        needsBounds = type(self._widget) in [
            getattr(module, name, None) for module, name in self.boundedWidgetClasses
        ]
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


class _ComboBoxConnector(_WidgetConnector):
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
class LineEditToStrConnector(_WidgetConnector):
    """Line edit and text."""

    widgetClasses = ((qt, "QLineEdit"),)
    dataTypes = (str,)
    attribute = "text"
    signal = "textChanged"


@parameterNodeGuiConnector
class TextEditToStrConnector(_WidgetConnector):
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
class LabelToStrConnector(_WidgetConnector):
    """Label that shows a text; the text is never taken from the label."""

    widgetClasses = ((qt, "QLabel"),)
    dataTypes = (str,)
    attribute = "text"

    def _connect(self) -> None:
        pass

    def _disconnect(self) -> None:
        pass


@parameterNodeGuiConnector
class RangeWidgetToRangeConnector(_WidgetConnector):
    """Range widget and FloatRange, which must be annotated with RangeBounds."""

    widgetClasses = ((ctk, "ctkRangeWidget"), (ctk, "ctkDoubleRangeSlider"), (slicer, "qMRMLRangeWidget"))
    dataTypes = (FloatRange,)
    signal = "valuesChanged"

    def configure(self, annotations: tuple) -> None:
        bounds = findFirstAnnotation(annotations, RangeBounds)
        if bounds is None:
            raise RuntimeError(
                f"A {type(self._widget).__name__} can only be bound to a range with bounds: annotate the "
                "parameter with RangeBounds."
            )
        decimals = findFirstAnnotation(annotations, Decimals)
        if decimals is not None and hasattr(self._widget, "decimals"):
            self._widget.decimals = decimals.value
        self._widget.setRange(bounds.minimum, bounds.maximum)
        step = findFirstAnnotation(annotations, SingleStep)
        if step is not None:
            self._widget.singleStep = step.value

    def read(self) -> FloatRange:
        return FloatRange(self._widget.minimumValue, self._widget.maximumValue)

    def write(self, value: FloatRange) -> None:
        self._widget.setValues(value.minimum, value.maximum)


class _PathConnector(_WidgetConnector):
    """Base of connectors of paths."""

    dataTypes = PATH_TYPES

    def read(self) -> Any:
        return self._type(super().read())

    def write(self, value: Any) -> None:
        super().write(str(value))


@parameterNodeGuiConnector
class PathLineEditToPathConnector(_PathConnector):
    """Path line edit and path."""

    widgetClasses = ((ctk, "ctkPathLineEdit"),)
    attribute = "currentPath"
    signal = "currentPathChanged"


@parameterNodeGuiConnector
class DirectoryButtonToPathConnector(_PathConnector):
    """Folder button and path."""

    widgetClasses = ((ctk, "ctkDirectoryButton"),)
    attribute = "directory"
    signal = "directoryChanged"


@parameterNodeGuiConnector
class ColorPickerButtonToColorConnector(_WidgetConnector):
    """Colour button and colour."""

    widgetClasses = ((ctk, "ctkColorPickerButton"),)
    dataTypes = (qt.QColor,)
    attribute = "color"
    signal = "colorChanged"


class _NodeConnector(_WidgetConnector):
    """Base of connectors of node selectors; sets the node types the selector offers."""

    @classmethod
    def matches_type(cls, datatype: Any) -> bool:
        return isNodeOrUnionOfNodes(datatype)

    def configure(self, annotations: tuple) -> None:
        self._widget.nodeTypes = getNodeTypes(self._type)

    def read(self) -> Any:
        return self._widget.currentNode()

    def write(self, value: Any) -> None:
        self._widget.setCurrentNode(value)


@parameterNodeGuiConnector
class NodeComboBoxToNodeConnector(_NodeConnector):
    """Node combo box and MRML node."""

    widgetClasses = ((slicer, "qMRMLNodeComboBox"),)
    signal = "currentNodeChanged"


class _SubjectHierarchyConnector(_NodeConnector):
    """Base of connectors of subject hierarchy selectors, which cannot be set to no node."""

    def write(self, value: Any) -> None:
        if value is None:
            self._widget.clearSelection()
        else:
            self._widget.setCurrentNode(value)


@parameterNodeGuiConnector
class SubjectHierarchyTreeViewToNodeConnector(_SubjectHierarchyConnector):
    """Subject hierarchy tree and MRML node."""

    widgetClasses = ((slicer, "qMRMLSubjectHierarchyTreeView"),)
    signal = "currentItemsChanged"


@parameterNodeGuiConnector
class SubjectHierarchyComboBoxToNodeConnector(_SubjectHierarchyConnector):
    """Subject hierarchy combo box and MRML node."""

    widgetClasses = ((slicer, "qMRMLSubjectHierarchyComboBox"),)
    signal = "currentItemChanged"
