"""A table of rows with keys: hundreds of rows that change often, sorted by a click, with the selection kept."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import qt

from MedDeepLib.panels.changes import Changes
from MedDeepLib.panels.fields.slices import Slices

_PADDING = 12
_ROW_HEIGHT = 22


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: used in the stored sort order, e.g. "begun".
        title: the header.
        sample: a text that just fits; the last column takes the remaining width.
    """

    name: str
    title: str
    sample: str


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: in words.
        order: what it is sorted by; the text when None.
        share: from 0 to 1, shown as a progress bar instead of the text.
        hint: its tool tip.
        struck: whether the text is crossed out.
    """

    text: str
    order: Any = None
    share: float | None = None
    hint: str = ""
    struck: bool = False

    @property
    def sort_key(self) -> tuple:
        return (0, self.text.lower()) if self.order is None else (1, self.order)


@dataclass(frozen=True)
class Row:
    key: str
    cells: tuple[Cell, ...]


class Table:
    """A QTableWidget with rows of :class:`Row`. Its value is the key of the chosen row, empty when there is none.

    Attributes:
        changes: emitted when another row is chosen.
        order: the column by which it is sorted.
    """

    def __init__(self, widget: Any, columns: Sequence[Column], order: str):
        self.changes = Changes()
        self.order = Order(columns, order)
        self._widget, self._columns = widget, columns
        self._wanted: list[Row] = []  # in the order in which they were added
        self._shown: list[Row] = []
        self._chosen = ""
        self._slices = Slices()
        self._set_up_widget()
        self.order.changes.connect(self._sort)
        self._show_order()

    def value(self) -> str:
        return self._chosen

    def set_value(self, key: str) -> None:
        """Choose a row; a missing one is chosen once it is added."""
        if key != self._chosen:
            self._chosen = key
            self._select_chosen()
            self.changes.emit()

    def selected_keys(self) -> list[str]:
        """The keys of all selected rows, where the widget lets users select several."""
        numbers = sorted(index.row() for index in self._widget.selectionModel().selectedRows())
        return [self._shown[number].key for number in numbers if number < len(self._shown)]

    def row_keys(self) -> list[str]:
        """The keys of the rows in the displayed order."""
        return [row.key for row in self._shown]

    def show(self, rows: Sequence[Row]) -> None:
        """Replace the rows, a few at a time. If the chosen one is not among them, none is chosen."""
        self._wanted = list(rows)
        self._slices.start(self._write(self._sorted()))
        if self._chosen and self._chosen not in {row.key for row in rows}:
            self.set_value("")

    def is_busy(self) -> bool:
        """Whether rows are still to be written."""
        return self._slices.is_busy()

    def shut_down(self) -> None:
        """The panel is closed."""
        self._slices.cancel()

    def _sorted(self) -> list[Row]:
        column, descending = self.order.column_and_direction()
        return sorted(self._wanted, key=lambda row: row.cells[column].sort_key, reverse=descending)

    def _sort(self) -> None:
        self._show_order()
        self._slices.start(self._write(self._sorted()))

    def _write(self, rows: list[Row]) -> Generator[None]:
        widget = self._widget
        widget.blockSignals(True)
        widget.setRowCount(len(rows))
        widget.blockSignals(False)
        del self._shown[len(rows) :]
        for number, row in enumerate(rows):
            if number < len(self._shown) and self._shown[number] == row:
                continue
            before = self._shown[number].cells if number < len(self._shown) else ()
            widget.blockSignals(True)
            for column, cell in enumerate(row.cells):
                if column >= len(before) or before[column] != cell:
                    self._write_cell(number, column, cell)
            widget.blockSignals(False)
            self._shown[number : number + 1] = [row]
            yield
        self._select_chosen()

    def _write_cell(self, row: int, column: int, cell: Cell) -> None:
        item = self._widget.item(row, column)
        if item is None:
            item = qt.QTableWidgetItem()
            self._widget.setItem(row, column, item)
        bar = self._widget.cellWidget(row, column)
        if cell.share is None and bar is not None:
            self._widget.removeCellWidget(row, column)
        elif cell.share is not None:
            if bar is None:
                bar = qt.QProgressBar()
                bar.setRange(0, 100)
                self._widget.setCellWidget(row, column, bar)
            bar.value = round(100 * cell.share)
        item.setText("" if cell.share is not None else cell.text)
        item.setToolTip(cell.hint or cell.text)
        font = item.font()
        if font.strikeOut() != cell.struck:
            font.setStrikeOut(cell.struck)
            item.setFont(font)

    def _select_chosen(self) -> None:
        number = next((n for n, row in enumerate(self._shown) if row.key == self._chosen), -1)
        if number == self._selected_row():
            return
        self._widget.blockSignals(True)
        if number < 0:
            self._widget.clearSelection()
        else:
            self._widget.selectRow(number)
        self._widget.blockSignals(False)
        self._widget.viewport().update()

    def _selected_row(self) -> int:
        rows = self._widget.selectionModel().selectedRows()
        return rows[0].row() if rows else -1

    def _clicked(self) -> None:
        number = self._selected_row()
        key = self._shown[number].key if 0 <= number < len(self._shown) else ""
        if key != self._chosen:
            self._chosen = key
            self.changes.emit()

    def _set_up_widget(self) -> None:
        widget, columns = self._widget, self._columns
        widget.setColumnCount(len(columns))
        widget.setHorizontalHeaderLabels([column.title for column in columns])
        widget.verticalHeader().hide()
        widget.verticalHeader().setDefaultSectionSize(_ROW_HEIGHT)
        header = widget.horizontalHeader()
        header.setHighlightSections(False)
        header.setStretchLastSection(True)
        header.setDefaultAlignment(qt.Qt.AlignLeft | qt.Qt.AlignVCenter)
        header.setSectionsClickable(True)
        header.setSortIndicatorShown(True)
        metrics = widget.fontMetrics()
        for number, column in enumerate(columns):
            width = max(metrics.horizontalAdvance(column.sample), metrics.horizontalAdvance(column.title + "   "))
            header.resizeSection(number, width + _PADDING)
        header.connect("sectionClicked(int)", self.order.click)
        widget.connect("itemSelectionChanged()", self._clicked)

    def _show_order(self) -> None:
        column, descending = self.order.column_and_direction()
        direction = qt.Qt.DescendingOrder if descending else qt.Qt.AscendingOrder
        self._widget.horizontalHeader().setSortIndicator(column, direction)


class Order:
    """The column by which a table is sorted; its value is the column's name, with a minus in front if reversed."""

    def __init__(self, columns: Sequence[Column], default: str):
        self.changes = Changes()
        self._names = [column.name for column in columns]
        self._value = self._default = default

    def value(self) -> str:
        return self._value

    def set_value(self, order: str) -> None:
        """Set the order; an unknown one becomes the default."""
        order = order if order.removeprefix("-") in self._names else self._default
        if order != self._value:
            self._value = order
            self.changes.emit()

    def click(self, column: int) -> None:
        """A click on a column header: sort by it, or reverse the order."""
        name = self._names[column]
        self.set_value(f"-{name}" if self._value == name else name)

    def column_and_direction(self) -> tuple[int, bool]:
        """The column, and whether the order is descending."""
        return self._names.index(self._value.removeprefix("-")), self._value.startswith("-")
