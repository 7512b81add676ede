"""A main window under the name slicer.util looks for, with module panel, module selector and status bar."""

from __future__ import annotations

import slicer
from PySide6 import QtCore, QtWidgets

from slicerhost.cpp import cpp_class


@cpp_class
class qSlicerModuleSelectorToolBar(QtWidgets.QToolBar):
    """Remembers the selected module; `slicer.util.selectModule` and `selectedModule` use it."""

    def __init__(self, window: qSlicerMainWindow):
        super().__init__(window)
        self._selected = ""

    @property
    def selectedModule(self) -> str:
        return self._selected

    def selectModule(self, name: str) -> None:
        """Leave the module shown so far, show this one and enter it."""
        module = slicer.app.moduleManager().module(name)
        if module is None:
            raise ValueError(f"There is no module named '{name}'")
        previous = slicer.app.moduleManager().module(self._selected)
        if previous is module:
            return
        if previous is not None:
            previous.widgetRepresentation().exit()
        self._selected = name
        widget = module.widgetRepresentation()
        self.parent().showPanel(widget, module.title)
        widget.enter()

    def forgetModule(self, name: str) -> None:
        """A module is about to be unloaded: nothing stays selected if it was this one."""
        if name == self._selected:
            self._selected = ""


@cpp_class
class qSlicerMainWindow(QtWidgets.QMainWindow):
    """Never shown by itself; a screenshot of it shows the panel of the selected module."""

    def __init__(self):
        super().__init__()
        self.setObjectName("qSlicerMainWindow")
        self.setWindowTitle("3D Slicer (stand-in)")
        self._dock = QtWidgets.QDockWidget("Module", self)
        self._dock.setObjectName("PanelDockWidget")
        self._scroll_area = QtWidgets.QScrollArea()
        self._scroll_area.setWidgetResizable(True)
        self._dock.setWidget(self._scroll_area)
        self.addDockWidget(QtCore.Qt.LeftDockWidgetArea, self._dock)
        self.setCentralWidget(QtWidgets.QWidget())
        self._selector = qSlicerModuleSelectorToolBar(self)
        slicer.app.moduleManager().moduleAboutToBeUnloaded.connect(self._selector.forgetModule)
        self.statusBar()

    def moduleSelector(self) -> qSlicerModuleSelectorToolBar:
        return self._selector

    def showPanel(self, widget: QtWidgets.QWidget, title: str) -> None:
        self._scroll_area.takeWidget()
        self._scroll_area.setWidget(widget)
        self._dock.setWindowTitle(title)
