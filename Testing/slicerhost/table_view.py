"""Stand-in of qMRMLTableView, which shows a vtkMRMLTableNode."""

from __future__ import annotations

import string

import vtk
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Qt, Signal

from slicerhost.cpp import cpp_class
from slicerhost.mrml_observing import SceneObserver


def letters(index: int) -> str:
    """Name of a column as spreadsheets have it: A, B, ... Z, AA, AB, ..."""
    name = ""
    while index >= 0:
        name = string.ascii_uppercase[index % 26] + name
        index = index // 26 - 1
    return name


class TableNodeModel(QtCore.QAbstractTableModel):
    """The cells of a table node, as Slicer shows them.

    Letters head the columns and the first row holds their names, unless the node says that titles are
    column headers. The first column can serve as row header. Everything can be transposed.
    """

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

    def _name_rows(self) -> int:
        return 0 if self.node.GetUseColumnTitleAsColumnHeader() else 1

    def _header_columns(self) -> int:
        return 1 if self.node.GetUseFirstColumnAsRowHeader() else 0

    def _shape(self) -> tuple[int, int]:
        if self.node is None or not self.node.GetNumberOfColumns():
            return 0, 0
        rows = self.node.GetNumberOfRows() + self._name_rows()
        columns = self.node.GetNumberOfColumns() - self._header_columns()
        return (columns, rows) if self.transposed else (rows, columns)

    def _cell(self, index: QtCore.QModelIndex) -> tuple[int, int]:
        """Row (-1 for the names) and column of the table node."""
        row, column = index.row(), index.column()
        if self.transposed:
            row, column = column, row
        return row - self._name_rows(), column + self._header_columns()

    def rowCount(self, parent=None) -> int:
        return 0 if parent is not None and parent.isValid() else self._shape()[0]

    def columnCount(self, parent=None) -> int:
        return 0 if parent is not None and parent.isValid() else self._shape()[1]

    def data(self, index, role=Qt.DisplayRole):
        row, column = self._cell(index)
        if role == Qt.FontRole and row < 0:
            font = QtGui.QFont()
            font.setBold(True)
            return font
        if role == Qt.CheckStateRole and row >= 0 and self._is_boolean(column):
            return Qt.Checked if self.node.GetTable().GetValue(row, column).ToInt() else Qt.Unchecked
        if role not in (Qt.DisplayRole, Qt.EditRole):
            return None
        if row < 0:
            return self.node.GetColumnName(column)
        return "" if self._is_boolean(column) else self.node.GetTable().GetValue(row, column).ToString()

    def _is_boolean(self, column: int) -> bool:
        return isinstance(self.node.GetTable().GetColumn(column), vtk.vtkBitArray)

    def setData(self, index, value, role=Qt.EditRole) -> bool:
        row, column = self._cell(index)
        if row < 0:
            self.node.GetTable().GetColumn(column).SetName(str(value))
        elif role == Qt.CheckStateRole:
            self.node.GetTable().SetValue(
                row, column, vtk.vtkVariant(int(Qt.CheckState(value) == Qt.Checked))
            )
        elif not self.node.SetCellText(row, column, str(value)):
            return False
        self.node.GetTable().Modified()
        return True

    def flags(self, index):
        flags = Qt.ItemIsSelectable | Qt.ItemIsEnabled
        if self.node.GetLocked():
            return flags
        row, column = self._cell(index)
        return flags | (
            Qt.ItemIsUserCheckable if row >= 0 and self._is_boolean(column) else Qt.ItemIsEditable
        )

    def headerData(self, section, orientation, role=Qt.DisplayRole):
        if role != Qt.DisplayRole or self.node is None:
            return None
        if (orientation == Qt.Horizontal) != self.transposed:
            return self._column_header(section)
        return self._row_header(section)

    def _column_header(self, section: int) -> str:
        if self._name_rows():
            return letters(section)
        name = self.node.GetColumnName(section + self._header_columns())
        return self.node.GetColumnTitle(name) or name

    def _row_header(self, section: int) -> str:
        row = section - self._name_rows()
        if not self._header_columns():
            return str(section + 1)
        return self.node.GetColumnName(0) if row < 0 else self.node.GetTable().GetValue(row, 0).ToString()


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
