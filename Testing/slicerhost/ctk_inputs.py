"""Stand-ins of the CTK widgets for paths and choices."""

from __future__ import annotations

from pathlib import Path

from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Property, Qt, Signal

from slicerhost.cpp import add_property, cpp_class, enum_to_int, string_list

MAXIMUM_HISTORY = 5


@cpp_class
class ctkPathLineEdit(QtWidgets.QWidget):
    """An editable path with its history and a browse button."""

    Dirs, Files, Drives, NoSymLinks, AllEntries = 0x1, 0x2, 0x4, 0x8, 0x7
    Readable, Writable, Executable, Modified, Hidden, System = 0x10, 0x20, 0x40, 0x80, 0x100, 0x200
    AllDirs, NoDotAndDotDot, NoDot, NoDotDot = 0x400, 0x1000, 0x2000, 0x4000

    currentPathChanged = Signal(str)
    validInputChanged = Signal(bool)

    def __init__(self, *arguments):
        super().__init__(*[item for item in arguments if isinstance(item, QtWidgets.QWidget)])
        self._valid = False
        self._combo_box = QtWidgets.QComboBox()
        self._combo_box.setEditable(True)
        self._combo_box.setInsertPolicy(QtWidgets.QComboBox.NoInsert)
        self._combo_box.setMinimumWidth(60)
        self._combo_box.setSizePolicy(QtWidgets.QSizePolicy.Expanding, QtWidgets.QSizePolicy.Fixed)
        self._browse_button = QtWidgets.QToolButton()
        self._browse_button.setText("...")
        self._browse_button.clicked.connect(lambda: self.browse())
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self._combo_box)
        layout.addWidget(self._browse_button)
        self.setSizePolicy(QtWidgets.QSizePolicy.Expanding, QtWidgets.QSizePolicy.Fixed)
        self._combo_box.lineEdit().textChanged.connect(self._text_changed)

    def comboBox(self) -> QtWidgets.QComboBox:
        return self._combo_box

    def setCurrentPath(self, path: str) -> None:
        self._combo_box.lineEdit().setText(path)

    currentPath = Property(str, lambda self: self._combo_box.lineEdit().text, setCurrentPath)

    def _text_changed(self, text: str) -> None:
        self.currentPathChanged.emit(text)
        valid = self._is_acceptable(text)
        if valid != self._valid:
            self._valid = valid
            self.validInputChanged.emit(valid)

    def _is_acceptable(self, text: str) -> bool:
        path = Path(text)
        if not text or (path.is_dir() and not self.filters & self.Dirs):
            return False
        if self.filters & self.Writable and self.filters & self.Files:
            return path.parent.is_dir()
        return path.is_dir() or (path.is_file() and bool(self.filters & self.Files))

    def browse(self) -> None:
        """Ask for a path; which dialog opens depends on `filters`, as in CTK."""
        dialog, title = QtWidgets.QFileDialog, self.label
        if not self.filters & self.Files:
            path = dialog.getExistingDirectory(self, title or "Select a folder...", self.currentPath)
        elif self.filters & self.Writable:
            path = dialog.getSaveFileName(self, title or "Select a file to save", self.currentPath)
        else:
            path = dialog.getOpenFileName(self, title or "Open a file", self.currentPath)
        if path:
            self.setCurrentPath(path)

    def _history_key(self) -> str:
        return "ctkPathLineEdit/" + (self.settingKey or self.objectName)

    def addCurrentPathToHistory(self) -> None:
        path = self.currentPath
        if not path:
            return
        history = [path, *[item for item in self._history() if item != path]][:MAXIMUM_HISTORY]
        QtCore.QSettings().setValue(self._history_key(), history)
        self._show_history(path)

    def retrieveHistory(self) -> None:
        self._show_history(None)

    def _history(self) -> list[str]:
        stored = QtCore.QSettings().value(self._history_key(), [])
        return [stored] if isinstance(stored, str) else list(stored or [])

    def _show_history(self, path: str | None) -> None:
        previous, history = self.currentPath, self._history()
        with QtCore.QSignalBlocker(self._combo_box), QtCore.QSignalBlocker(self._combo_box.lineEdit()):
            self._combo_box.clear()
            self._combo_box.addItems(history)
            shown = path or previous or (history[0] if history else "")
            self._combo_box.lineEdit().setText(shown)
        if shown != previous:
            self._text_changed(shown)

    def setShowBrowseButton(self, visible: bool) -> None:
        self._browse_button.setVisible(visible)

    showBrowseButton = Property(bool, lambda self: not self._browse_button.isHidden(), setShowBrowseButton)


add_property(
    ctkPathLineEdit, int, "filters", ctkPathLineEdit.AllEntries | ctkPathLineEdit.NoDotAndDotDot, convert=int
)
add_property(ctkPathLineEdit, "QStringList", "nameFilters", (), convert=string_list)
add_property(ctkPathLineEdit, str, "label", "")
add_property(ctkPathLineEdit, str, "settingKey", "", changed=ctkPathLineEdit.retrieveHistory)
add_property(ctkPathLineEdit, bool, "showHistoryButton", True)
add_property(ctkPathLineEdit, int, "minimumContentsLength", 0)


@cpp_class
class ctkDirectoryButton(QtWidgets.QWidget):
    """A button that shows a folder and asks for another one when clicked."""

    directoryChanged = Signal(str)
    directorySelected = Signal(str)

    def __init__(self, *arguments):
        super().__init__(*[item for item in arguments if isinstance(item, QtWidgets.QWidget)])
        self._button = QtWidgets.QPushButton()
        self._button.clicked.connect(lambda: self.browse())
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._button)
        self._directory = "."
        self._button.setText(self._directory)

    def setDirectory(self, directory: str) -> None:
        # CTK keeps a QDir, whose path is "." when it is set to an empty text.
        directory = directory or "."
        self.directorySelected.emit(directory)
        if directory != self._directory:
            self._directory = directory
            self._button.setText(directory)
            self.directoryChanged.emit(directory)

    def browse(self) -> None:
        chosen = QtWidgets.QFileDialog.getExistingDirectory(
            self, self.caption or "Select a folder", self._directory
        )
        if chosen:
            self.setDirectory(chosen)

    directory = Property(str, lambda self: self._directory, setDirectory)


add_property(ctkDirectoryButton, str, "caption", "")
add_property(ctkDirectoryButton, str, "text", "")


@cpp_class
class ctkComboBox(QtWidgets.QComboBox):
    """A combo box that shows `defaultText` while nothing is chosen."""

    def setDefaultText(self, text: str) -> None:
        self.setPlaceholderText(text)

    defaultText = Property(str, lambda self: self.placeholderText, setDefaultText)


add_property(ctkComboBox, bool, "forceDefault", False)
add_property(ctkComboBox, bool, "scrollWheelEnabled", True)
add_property(ctkComboBox, int, "elideMode", 3, convert=enum_to_int)
for _class in (ctkPathLineEdit, ctkDirectoryButton):
    add_property(_class, int, "options", 0, convert=enum_to_int)
add_property(ctkPathLineEdit, int, "sizeAdjustPolicy", 1, convert=enum_to_int)
add_property(ctkDirectoryButton, int, "acceptMode", 0, convert=enum_to_int)


@cpp_class
class ctkCheckableComboBox(QtWidgets.QComboBox):
    """A combo box of which any number of items can be ticked."""

    checkedIndexesChanged = Signal()

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.model().dataChanged.connect(lambda *_: self.checkedIndexesChanged.emit())
        self.model().rowsInserted.connect(self._make_checkable)

    def _make_checkable(self, _parent, first: int, last: int) -> None:
        for row in range(first, last + 1):
            item = self.model().item(row)
            if item is not None and not item.isCheckable():
                item.setCheckable(True)
                item.setCheckState(Qt.Unchecked)

    def checkState(self, index: QtCore.QModelIndex):
        return Qt.CheckState(self.model().data(index, Qt.CheckStateRole) or 0)

    def setCheckState(self, index: QtCore.QModelIndex, state) -> None:
        self.model().itemFromIndex(index).setCheckState(Qt.CheckState(state))

    def checkedIndexes(self) -> list[QtCore.QModelIndex]:
        indexes = [self.model().index(row, 0) for row in range(self.count)]
        return [index for index in indexes if self.checkState(index) == Qt.Checked]

    def allChecked(self) -> bool:
        return len(self.checkedIndexes()) == self.count

    def noneChecked(self) -> bool:
        return not self.checkedIndexes()
