"""createGui: the fitting widget for a type of parameter, a parameter pack or a whole wrapper."""

from __future__ import annotations

import abc
import enum
from collections.abc import Callable
from typing import Any

import ctk
import qt
import slicer

from .annotations import (
    Label,
    findFirstAnnotation,
    isNodeOrUnionOfNodes,
    splitAnnotations,
    unannotatedType,
)
from .float_range import FloatRange
from .pack_connector import SlicerPackParameterNamePropertyName
from .parameter_pack import isParameterPack
from .validators import Choice, Maximum, Minimum, WithinRange
from .value_serializers import PATH_TYPES
from .wrapper import SlicerParameterNamePropertyName, isParameterNodeWrapper


class GuiCreator(abc.ABC):
    """Makes a widget for the types it can represent."""

    @staticmethod
    @abc.abstractmethod
    def representationValue(datatype: Any) -> int:
        """Return how well the widget fits the (annotated) type, 0 (not at all) to 100.

        The creators here return 90 at most, so that others can take their place.
        """

    @staticmethod
    @abc.abstractmethod
    def create(datatype: Any) -> Any:
        """Return a new widget for the type."""


_registered_creators: list[type[GuiCreator]] = []


def parameterNodeGuiCreator(classtype: type[GuiCreator] | None = None) -> Callable | type[GuiCreator]:
    """Class decorator, with or without parentheses, that registers a creator of widgets."""

    def register(cls: type[GuiCreator]) -> type[GuiCreator]:
        if not issubclass(cls, GuiCreator):
            raise TypeError(f"{cls} must derive from GuiCreator to be registered as one.")
        _registered_creators.append(cls)
        return cls

    return register if classtype is None else register(classtype)


def createGui(datatype: Any) -> Any:
    """Return a new widget for the (annotated) type, parameter pack or wrapper class.

    The widget gets its range and choices when it is bound to a parameter.

    Raises RuntimeError if no registered creator can represent the type.
    """
    best = max(_registered_creators, key=lambda creator: creator.representationValue(datatype))
    if best.representationValue(datatype) <= 0:
        raise RuntimeError(f"No widget is known for a parameter of type {datatype}.")
    return best.create(datatype)


def _register_simple(value: int, matches: Callable[[Any], bool], make_widget: Callable[[Any], Any]) -> None:
    """Register a creator from a test of the type and a function that makes the widget."""

    class SimpleGuiCreator(GuiCreator):
        @staticmethod
        def representationValue(datatype: Any) -> int:
            return value if matches(datatype) else 0

        @staticmethod
        def create(datatype: Any) -> Any:
            return make_widget(datatype)

    parameterNodeGuiCreator(SimpleGuiCreator)


def _has_choice(datatype: Any) -> bool:
    bareType, annotations = splitAnnotations(datatype)
    return bareType in (int, float, str, bool) and findFirstAnnotation(annotations, Choice) is not None


def _is_enum(datatype: Any) -> bool:
    bareType = unannotatedType(datatype)
    return isinstance(bareType, type) and issubclass(bareType, enum.Enum)


def _make_float_widget(datatype: Any) -> Any:
    annotations = splitAnnotations(datatype)[1]
    lower = findFirstAnnotation(annotations, (WithinRange, Minimum))
    upper = findFirstAnnotation(annotations, (WithinRange, Maximum))
    return qt.QDoubleSpinBox() if lower is None or upper is None else ctk.ctkSliderWidget()


def _make_pack_widget(datatype: Any) -> Any:
    widget = slicer.qSlicerWidget()
    layout = qt.QVBoxLayout(widget)
    section = ctk.ctkCollapsibleButton()
    layout.addWidget(section)
    _add_rows(widget, qt.QFormLayout(section), unannotatedType(datatype), SlicerPackParameterNamePropertyName)
    return widget


def _make_wrapper_widget(datatype: Any) -> Any:
    widget = slicer.qSlicerWidget()
    _add_rows(widget, qt.QFormLayout(widget), datatype, SlicerParameterNamePropertyName)
    return widget


def _add_rows(widget: Any, layout: Any, owner: Any, nameProperty: str) -> None:
    """Add a labelled widget for each parameter of the pack or wrapper class."""
    for name, info in owner.allParameters.items():
        child = createGui(info.unalteredType)
        child.setProperty(nameProperty, name)
        label = findFirstAnnotation(splitAnnotations(info.unalteredType)[1], Label)
        layout.addRow(name if label is None else label.label, child)
        if hasattr(child, "setMRMLScene"):
            widget.mrmlSceneChanged.connect(child.setMRMLScene)


_register_simple(90, _has_choice, lambda _: qt.QComboBox())
_register_simple(90, _is_enum, lambda _: qt.QComboBox())
_register_simple(85, lambda datatype: unannotatedType(datatype) is float, _make_float_widget)
_register_simple(85, lambda datatype: unannotatedType(datatype) is int, lambda _: qt.QSpinBox())
_register_simple(85, lambda datatype: unannotatedType(datatype) is FloatRange, lambda _: ctk.ctkRangeWidget())
_register_simple(80, lambda datatype: unannotatedType(datatype) is bool, lambda _: qt.QCheckBox())
_register_simple(80, lambda datatype: unannotatedType(datatype) is str, lambda _: qt.QLineEdit())
_register_simple(80, lambda datatype: unannotatedType(datatype) in PATH_TYPES, lambda _: ctk.ctkPathLineEdit())
_register_simple(80, isNodeOrUnionOfNodes, lambda _: slicer.qMRMLNodeComboBox())
_register_simple(80, lambda datatype: isParameterPack(unannotatedType(datatype)), _make_pack_widget)
_register_simple(80, isParameterNodeWrapper, _make_wrapper_widget)
