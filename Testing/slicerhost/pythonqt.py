"""Give PySide6 the calling conventions of PythonQt, once per process."""

from __future__ import annotations

from PySide6 import QtCore, QtWidgets

from slicerhost import dialogs, pythonqt_properties, pythonqt_signals

_installed = False


def install() -> None:
    """Change the PySide6 classes in place. A second call does nothing."""
    global _installed
    if _installed:
        return
    _installed = True
    classes = pythonqt_properties.qt_classes()
    pythonqt_properties.install_property_attributes(classes)
    pythonqt_signals.install_connect(classes)
    pythonqt_properties.install_object_habits(classes)
    _install_exec()
    dialogs.install()


def _install_exec() -> None:
    """`exec_`, the name PythonQt uses because `exec` was a keyword of Python 2."""
    for cls in (QtWidgets.QDialog, QtWidgets.QMenu, QtCore.QEventLoop, QtWidgets.QApplication):
        cls.exec_ = lambda self, *arguments: self.exec(*arguments)
