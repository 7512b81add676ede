"""Connectors of widgets that only CTK and Slicer have: ranges, paths, colours, nodes."""

from __future__ import annotations

import typing
from typing import Any

import ctk
import qt
import slicer

from .annotations import (
    Decimals,
    SingleStep,
    findFirstAnnotation,
    getNodeTypes,
    isNodeOrUnionOfNodes,
    unannotatedType,
)
from .float_range import FloatRange
from .gui_connectors import parameterNodeGuiConnector
from .validators import RangeBounds
from .value_serializers import PATH_TYPES
from .widget_connector import WidgetConnector


@parameterNodeGuiConnector
class RangeWidgetToRangeConnector(WidgetConnector):
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


class _PathConnector(WidgetConnector):
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
class ColorPickerButtonToColorConnector(WidgetConnector):
    """Colour button and colour."""

    widgetClasses = ((ctk, "ctkColorPickerButton"),)
    dataTypes = (qt.QColor,)
    attribute = "color"
    signal = "colorChanged"


class _NodeConnector(WidgetConnector):
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


@parameterNodeGuiConnector
class CheckableNodeComboBoxToNodesConnector(WidgetConnector):
    """Combo box with ticks and list of MRML nodes: the ticked ones, in the order of the combo box."""

    widgetClasses = ((slicer, "qMRMLCheckableNodeComboBox"),)
    signal = "checkedNodesChanged"

    @classmethod
    def matches_type(cls, datatype: Any) -> bool:
        bareType = unannotatedType(datatype)
        return typing.get_origin(bareType) is list and isNodeOrUnionOfNodes(typing.get_args(bareType)[0])

    def configure(self, annotations: tuple) -> None:
        self._widget.nodeTypes = getNodeTypes(typing.get_args(self._type)[0])

    def read(self) -> list:
        return list(self._widget.checkedNodes())

    def write(self, value: Any) -> None:
        for node in [*self._widget.checkedNodes(), *self._widget.uncheckedNodes()]:
            self._widget.setCheckState(node, qt.Qt.Checked if node in value else qt.Qt.Unchecked)
