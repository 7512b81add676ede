"""Stand-in of qMRMLSegmentsTableView, the list of the segments of a segmentation."""

from __future__ import annotations

import slicer
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Qt, Signal

from slicerhost.cpp import add_property, cpp_class
from slicerhost.mrml_observing import qMRMLWidget

SEGMENT_EVENTS = (
    slicer.vtkSegmentation.SegmentAdded,
    slicer.vtkSegmentation.SegmentRemoved,
    slicer.vtkSegmentation.SegmentModified,
    slicer.vtkSegmentation.SegmentsOrderModified,
)
VISIBLE_COLUMN, COLOR_COLUMN, OPACITY_COLUMN, NAME_COLUMN = range(4)


@cpp_class
class qMRMLSegmentsTableView(qMRMLWidget):
    """The segments of a segmentation with visibility, colour, opacity and name."""

    selectionChanged = Signal(QtCore.QItemSelection, QtCore.QItemSelection)
    segmentAboutToBeModified = Signal(str)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._node = None
        self._filling = False
        self._table = QtWidgets.QTableWidget(0, 4)
        self._table.setObjectName("SegmentsTable")
        self._table.setHorizontalHeaderLabels(["", "", "Opacity", "Name"])
        self._table.verticalHeader().hide()
        self._table.horizontalHeader().setStretchLastSection(True)
        self._table.setSelectionBehavior(QtWidgets.QAbstractItemView.SelectRows)
        self._table.setColumnWidth(VISIBLE_COLUMN, 26)
        self._table.setColumnWidth(COLOR_COLUMN, 26)
        self._table.setColumnWidth(OPACITY_COLUMN, 70)
        self._table.itemChanged.connect(self._item_changed)
        self._table.selectionModel().selectionChanged.connect(self.selectionChanged)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._table)

    def setSegmentationNode(self, node) -> None:
        self._stop_observing("segments")
        self._node = node
        if node is not None:
            self._observe(node.GetSegmentation(), SEGMENT_EVENTS, self._fill, "segments")
        self._fill()

    def segmentationNode(self):
        return self._node

    def _segment_ids(self) -> list[str]:
        segmentation = self._node.GetSegmentation() if self._node is not None else None
        return [] if segmentation is None else list(segmentation.GetSegmentIDs())

    def _fill(self) -> None:
        selected = self.selectedSegmentIDs()
        self._filling = True
        segment_ids = self._segment_ids()
        self._table.setRowCount(len(segment_ids))
        for row, segment_id in enumerate(segment_ids):
            self._fill_row(row, segment_id)
        self._filling = False
        self.setSelectedSegmentIDs(selected)

    def _fill_row(self, row: int, segment_id: str) -> None:
        segment = self._node.GetSegmentation().GetSegment(segment_id)
        display = self._node.GetDisplayNode()
        visible = QtWidgets.QTableWidgetItem()
        visible.setData(Qt.UserRole, segment_id)
        shown = display is None or display.GetSegmentVisibility(segment_id)
        visible.setCheckState(Qt.Checked if shown else Qt.Unchecked)
        color = QtWidgets.QTableWidgetItem()
        color.setBackground(QtGui.QColor.fromRgbF(*segment.GetColor()))
        color.setFlags(Qt.ItemIsEnabled | Qt.ItemIsSelectable)
        opacity = 1.0 if display is None else display.GetSegmentOpacity3D(segment_id)
        items = (
            visible,
            color,
            QtWidgets.QTableWidgetItem(f"{opacity:.2f}"),
            QtWidgets.QTableWidgetItem(segment.GetName()),
        )
        for column, item in enumerate(items):
            self._table.setItem(row, column, item)

    def _item_changed(self, item: QtWidgets.QTableWidgetItem) -> None:
        if self._filling or self._node is None:
            return
        segment_id = self._table.item(item.row(), VISIBLE_COLUMN).data(Qt.UserRole)
        if item.column() == NAME_COLUMN:
            self._node.GetSegmentation().GetSegment(segment_id).SetName(item.text())
        elif item.column() == VISIBLE_COLUMN and self._node.GetDisplayNode() is not None:
            self._node.GetDisplayNode().SetSegmentVisibility(segment_id, item.checkState() == Qt.Checked)

    def selectedSegmentIDs(self) -> tuple[str, ...]:
        rows = sorted(index.row() for index in self._table.selectionModel().selectedRows())
        return tuple(self._table.item(row, VISIBLE_COLUMN).data(Qt.UserRole) for row in rows)

    def setSelectedSegmentIDs(self, segment_ids) -> None:
        model, selection = self._table.model(), QtCore.QItemSelection()
        for row in range(self._table.rowCount):
            if self._table.item(row, VISIBLE_COLUMN).data(Qt.UserRole) in segment_ids:
                index = model.index(row, 0)
                selection.select(index, index)
        flags = QtCore.QItemSelectionModel.ClearAndSelect | QtCore.QItemSelectionModel.Rows
        self._table.selectionModel().select(selection, flags)

    def clearSelection(self) -> None:
        self._table.clearSelection()

    def segmentCount(self) -> int:
        return self._table.rowCount

    def setSelectionMode(self, mode) -> None:
        self._table.setSelectionMode(QtWidgets.QAbstractItemView.SelectionMode(mode))

    def setHeaderVisible(self, visible: bool) -> None:
        self._table.horizontalHeader().setVisible(visible)

    headerVisible = Property(
        bool, lambda self: not self._table.horizontalHeader().isHidden(), setHeaderVisible
    )
    selectionMode = Property(int, lambda self: int(self._table.selectionMode.value), setSelectionMode)


def _add_column_switch(name: str, column: int) -> None:
    def get(self):
        return not self._table.isColumnHidden(column)

    def set_(self, visible):
        self._table.setColumnHidden(column, not visible)

    setattr(qMRMLSegmentsTableView, name, Property(bool, get, set_))
    setattr(qMRMLSegmentsTableView, f"set{name[0].upper()}{name[1:]}", set_)


_add_column_switch("visibilityColumnVisible", VISIBLE_COLUMN)
_add_column_switch("colorColumnVisible", COLOR_COLUMN)
_add_column_switch("opacityColumnVisible", OPACITY_COLUMN)
for _name in ("statusColumnVisible", "layerColumnVisible", "filterBarVisible", "readOnly"):
    add_property(qMRMLSegmentsTableView, bool, _name, False)
