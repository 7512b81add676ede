"""The `qt` module of Slicer: all of QtCore, QtGui, QtWidgets and QtTest in one flat namespace."""

from __future__ import annotations

import sys
import types

from PySide6 import QtCore, QtGui, QtTest, QtWidgets

from slicerhost import pythonqt
from slicerhost.ui_loader import QUiLoader

# Names of PySide6 that PythonQt does not have.
PYSIDE_ONLY = {"Signal", "SignalInstance", "Slot", "Property", "ClassInfo", "QEnum", "QFlag", "Qt"}


def make_qt_module() -> types.ModuleType:
    """Install the conventions of PythonQt and register `qt` in sys.modules."""
    pythonqt.install()
    qt = types.ModuleType("qt", __doc__)
    for module in (QtCore, QtGui, QtWidgets, QtTest):
        for name in dir(module):
            if not name.startswith("_") and name not in PYSIDE_ONLY:
                setattr(qt, name, getattr(module, name))
    qt.Qt = QtCore.Qt
    qt.QUiLoader = QUiLoader
    sys.modules["qt"] = qt
    return qt
