"""qt.QUiLoader: forms made with Qt Designer, with stand-ins for the ctk and qMRML classes they name."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import NamedTuple

from PySide6 import QtCore, QtUiTools, QtWidgets

from slicerhost.cpp import STAND_INS, enum_to_int
from slicerhost.pythonqt_properties import has_property, is_qt_property

FOREIGN_PREFIXES = ("ctk", "qMRML", "qSlicer")


class FormConnection(NamedTuple):
    """One entry of <connections> of a form."""

    sender: str
    signal: str
    receiver: str
    slot: str


class QUiLoader(QtUiTools.QUiLoader):
    """Loads a form as Slicer does. A ctk*, qMRML* or qSlicer* class without a stand-in raises TypeError."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self._problem: Exception | None = None

    def createWidget(self, class_name, parent=None, name=""):
        stand_in = STAND_INS.get(class_name)
        if stand_in is None:
            if class_name.startswith(FOREIGN_PREFIXES):
                self._problem = TypeError(
                    f"There is no stand-in for the widget class {class_name} (object '{name}'); "
                    "check its spelling or add it to slicerhost"
                )
                return None
            return super().createWidget(class_name, parent, name)
        widget = stand_in(parent)
        widget.setObjectName(name)
        return widget

    def load(self, source, parent=None):
        """Load from a QFile or path and return the root widget, its connections made."""
        path = source.fileName() if isinstance(source, QtCore.QFile) else str(source)
        root = ElementTree.parse(path).getroot()
        connections = _take_connections(root)
        _remove(root, "customwidgets")
        _check_stand_ins(root, path)
        buffer = QtCore.QBuffer()
        buffer.setData(QtCore.QByteArray(ElementTree.tostring(root)))
        buffer.open(QtCore.QIODevice.ReadOnly)
        self.setWorkingDirectory(QtCore.QFileInfo(path).dir())
        self._problem = None
        widget = super().load(buffer, parent)
        if self._problem is not None:
            raise self._problem
        if widget is None:
            raise RuntimeError(f"{path}: {self.errorString()}")
        for connection in connections:
            _connect(widget, connection, path)
        return widget


def _check_stand_ins(root: ElementTree.Element, path: str) -> None:
    """Refuse properties a stand-in does not have, and turn enumerations of its own into numbers."""
    for element in root.iter("widget"):
        stand_in = STAND_INS.get(element.get("class", ""))
        for prop in element.findall("property") if stand_in else ():
            name, dynamic = prop.get("name", ""), prop.get("stdset") == "0"
            if not dynamic and not has_property(stand_in, name):
                raise ValueError(f"{path}: {stand_in.__name__} has no property '{name}'")
            _enumeration_to_number(prop, stand_in)


def _enumeration_to_number(prop: ElementTree.Element, stand_in: type) -> None:
    """QUiLoader only knows the enumerations of properties that C++ declares."""
    value = next(iter(prop), None)
    declared_here = not is_qt_property(stand_in, prop.get("name", ""))
    if value is not None and value.tag in ("set", "enum") and declared_here:
        numbers = {_enumeration_number(part, stand_in) for part in (value.text or "").split("|")}
        value.tag, value.text = "number", str(sum(numbers))


def _enumeration_number(text: str, stand_in: type) -> int:
    """The number of a value such as ctkPathLineEdit::Files, Qt::Horizontal or QFrame::Shape::Box."""
    owner, *_, name = text.split("::")
    namespace = {stand_in.__name__: stand_in, "Qt": QtCore.Qt}.get(owner) or getattr(QtWidgets, owner)
    return enum_to_int(getattr(namespace, name))


def _remove(root: ElementTree.Element, tag: str) -> None:
    element = root.find(tag)
    if element is not None:
        root.remove(element)


def _take_connections(root: ElementTree.Element) -> list[FormConnection]:
    element = root.find("connections")
    if element is None:
        return []
    root.remove(element)
    return [FormConnection(*(item.findtext(field) for field in FormConnection._fields)) for item in element]


def _connect(root, connection: FormConnection, path: str) -> None:
    sender, receiver = (_find(root, name) for name in (connection.sender, connection.receiver))
    for name, found in ((connection.sender, sender), (connection.receiver, receiver)):
        if found is None:
            raise RuntimeError(f"{path}: a connection names the object '{name}', which is not in the form")
    slot = getattr(receiver, connection.slot.split("(")[0], None)
    if slot is None:
        raise ValueError(f"{path}: {receiver.className()} has no slot '{connection.slot}'")
    sender.connect(connection.signal, slot)


def _find(root, name: str):
    return root if root.objectName == name else root.findChild(QtCore.QObject, name)
