"""Stand-ins of the Slicer widgets that show a table node or the segments of a segmentation."""

from __future__ import annotations

import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Qt, Signal

from slicerhost.cpp import add_property, cpp_class
from slicerhost.mrml_observing import SceneObserver, qMRMLWidget


class TableNodeModel(QtCore.QAbstractTableModel):
    """The cells of a vtkMRMLTableNode."""

    def __init__(self, view: qMRMLTableView):
        super().__init__(view)
        self.node = None
        self.transposed = False

    def set_node(self, node) -> None:
        self.node = node
        self.reload()

    def reload(self) -> None:
        self.beginResetModel()
        self.endResetModel()

    def _shape(self) -> tuple[int, int]:
        if self.node is None or self.node.GetTable() is None:
            return 0, 0
        columns = self.node.GetNumberOfColumns() - self._first_column()
        shape = (self.node.GetNumberOfRows() if columns > 0 else 0, max(columns, 0))
        return shape[::-1] if self.transposed else shape

    def _first_column(self) -> int:
        return 1 if self.node is not None and self.node.GetUseFirstColumnAsRowHeader() else 0

    def _cell(self, index: QtCore.QModelIndex) -> tuple[int, int]:
        row, column = index.row(), index.column()
        if self.transposed:
            row, column = column, row
        return row, column + self._first_column()

    def rowCount(self, parent=None) -> int:
        return 0 if parent is not None and parent.isValid() else self._shape()[0]

    def columnCount(self, parent=None) -> int:
        return 0 if parent is not None and parent.isValid() else self._shape()[1]

    def data(self, index, role=Qt.DisplayRole):
        if role not in (Qt.DisplayRole, Qt.EditRole) or not index.isValid():
            return None
        row, column = self._cell(index)
        return self.node.GetTable().GetValue(row, column).ToString()

    def setData(self, index, value, role=Qt.EditRole) -> bool:
        row, column = self._cell(index)
        done = self.node.SetCellText(row, column, str(value))
        return bool(done)

    def flags(self, index):
        flags = Qt.ItemIsSelectable | Qt.ItemIsEnabled
        return flags if self.node is None or self.node.GetLocked() else flags | Qt.ItemIsEditable

    def headerData(self, section, orientation, role=Qt.DisplayRole):
        if role != Qt.DisplayRole or self.node is None:
            return None
        along_columns = (orientation == Qt.Horizontal) != self.transposed
        if along_columns:
            named = self.node.GetUseColumnNameAsColumnHeader()
            return self.node.GetColumnName(section + self._first_column()) if named else str(section + 1)
        if self._first_column():
            return self.node.GetTable().GetValue(section, 0).ToString()
        return str(section + 1)


@cpp_class
class qMRMLTableView(QtWidgets.QTableView, SceneObserver):
    """Shows, and unless it is locked edits, a vtkMRMLTableNode."""

    selectionChanged_ = Signal()
    CPP_SIGNALS = {"selectionChanged()": "selectionChanged_"}

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene = None
        self._table_model = TableNodeModel(self)
        self.setModel(self._table_model)
        self.horizontalHeader().setStretchLastSection(True)

    def setMRMLScene(self, scene) -> None:
        self._scene = scene

    def setMRMLTableNode(self, node) -> None:
        self._stop_observing("table")
        if node is not None:
            self._observe(node, (vtk.vtkCommand.ModifiedEvent,), self._table_model_reload, "table")
        self._table_model.set_node(node)
        self.resizeColumnsToContents()

    def _table_model_reload(self) -> None:
        self._table_model.reload()

    def mrmlTableNode(self):
        return self._table_model.node

    def tableModel(self) -> TableNodeModel:
        return self._table_model

    def setTransposed(self, transposed: bool) -> None:
        self._table_model.transposed = bool(transposed)
        self._table_model.reload()

    def selectionChanged(self, selected, deselected) -> None:
        super().selectionChanged(selected, deselected)
        self.selectionChanged_.emit()

    transposed = Property(bool, lambda self: self._table_model.transposed, setTransposed)


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
