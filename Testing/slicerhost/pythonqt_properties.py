"""PythonQt's view of Qt properties and attributes, put onto the PySide6 classes.

In Slicer, PythonQt shows a Qt property as an attribute (`label.text`), never as a method (`label.text()` fails), and
refuses new attributes on C++ objects. PySide6 does neither, so its classes are changed in place: objects that Qt itself
makes (QUiLoader, `layout.parentWidget()`) then follow the same rules as objects made from Python.
"""

from __future__ import annotations

import numbers
import types
from typing import Any

import shiboken6
from PySide6 import QtCore, QtGui, QtWidgets

# A descriptor in place of a C++ virtual breaks shiboken's search for Python overrides and crashes.
VIRTUAL_PROPERTIES = {"sizeHint", "minimumSizeHint", "duration"}
# QObject.setProperty silently converts anything to one of these.
NUMBER_TYPES = {"bool", "int", "uint", "double", "float"}


class QtPropertyAttribute:
    """Data descriptor: the value of a Qt property on an instance, PySide6's own function on the class.

    The class access keeps static functions that share the name of a property, such as `QTimer.singleShot(0,
    f)`.
    """

    def __init__(self, name: str, original: Any, type_name: str, writable: bool):
        self.name = name
        self.original = original
        self.type_name = type_name
        self.writable = writable

    def __get__(self, instance, owner=None):
        if instance is None:
            if self.original is None:
                return self
            return self.original.__get__(None, owner) if hasattr(self.original, "__get__") else self.original
        if isinstance(self.original, types.MethodDescriptorType):
            # PySide6's getter keeps enums and value classes that QObject.property() would flatten.
            try:
                return self.original.__get__(instance, owner)()
            except TypeError:
                pass
        return instance.property(self.name)

    def __set__(self, instance, value):
        owner = type(instance).__name__
        if not self.writable:
            raise AttributeError(
                f"Property '{self.name}' of type '{self.type_name}' of {owner} is not writable"
            )
        mistyped = self.type_name in NUMBER_TYPES and not isinstance(value, numbers.Number)
        if mistyped or not instance.setProperty(self.name, value):
            raise AttributeError(
                f"Property '{self.name}' of type '{self.type_name}' of {owner} does not accept an object of "
                f"type {type(value).__name__} ({value!r})"
            )


def qt_classes() -> list[type]:
    """Every QObject class of QtCore, QtGui and QtWidgets, base classes before derived ones."""
    found: list[type] = []
    for module in (QtCore, QtGui, QtWidgets):
        for name in dir(module):  # not vars(): PySide6 creates its classes when they are first asked for
            candidate = getattr(module, name)
            if (
                isinstance(candidate, type)
                and issubclass(candidate, QtCore.QObject)
                and candidate not in found
            ):
                found.append(candidate)
    return sorted(found, key=lambda cls: len(cls.__mro__))


def install_property_attributes(classes: list[type]) -> None:
    """Turn every Qt property of the classes into a plain attribute."""
    for cls in classes:
        meta = cls.staticMetaObject
        for index in range(meta.propertyOffset(), meta.propertyCount()):
            prop = meta.property(index)
            name = prop.name()
            if name in VIRTUAL_PROPERTIES or isinstance(getattr(cls, name, None), QtCore.Signal):
                continue
            descriptor = QtPropertyAttribute(name, cls.__dict__.get(name), prop.typeName(), prop.isWritable())
            setattr(cls, name, descriptor)


def is_cpp_class(cls: type) -> bool:
    """Whether this class is C++ in Slicer: one of PySide6 or a stand-in marked with `cpp_class`."""
    return cls.__module__.startswith("PySide6.") or "_stands_for_cpp" in cls.__dict__


def has_property(cls: type, name: str) -> bool:
    """Whether instances of the class have this Qt property (dynamic ones left aside)."""
    return isinstance(_find_descriptor(cls, name), QtCore.Property | QtPropertyAttribute)


def is_qt_property(cls: type, name: str) -> bool:
    """Whether the property comes from Qt itself rather than from a stand-in."""
    return isinstance(_find_descriptor(cls, name), QtPropertyAttribute)


def _find_descriptor(cls: type, name: str) -> Any:
    return next((base.__dict__[name] for base in cls.__mro__ if name in base.__dict__), None)


def _strict_setattr(self, name: str, value: Any) -> None:
    cls = type(self)
    descriptor = _find_descriptor(cls, name)
    if isinstance(descriptor, QtCore.Property):
        if descriptor.fset is None:
            raise AttributeError(f"Property '{name}' of {cls.__name__} is not writable")
        descriptor.fset(self, value)
        return
    if hasattr(type(descriptor), "__set__"):
        descriptor.__set__(self, value)
        return
    private_of_stand_in = name.startswith("_") and not cls.__module__.startswith("PySide6.")
    cached_signal = isinstance(value, QtCore.SignalInstance)  # PySide6 stores these on the object by itself
    if is_cpp_class(cls) and not private_of_stand_in and not cached_signal:
        if descriptor is not None:
            raise AttributeError(f"'{name}' can not be overwritten on instance of {cls.__name__}")
        if name in _dynamic_property_names(self):
            self.setProperty(name, value)
            return
        raise AttributeError(
            f"'{name}' does not exist on {cls.__name__} and creating new attributes on "
            "C++ objects is not allowed"
        )
    self.__dict__[name] = value  # CPython refuses to call the replaced slot from here


def _dynamic_property_names(instance: QtCore.QObject) -> list[str]:
    return [bytes(name).decode() for name in instance.dynamicPropertyNames()]


def _missing_attribute(self, name: str) -> Any:
    """PythonQt looks for a dynamic property, then for a child of that object name."""
    if not name.startswith("_"):
        if name in _dynamic_property_names(self):
            return self.property(name)
        for child in self.children():
            if child.property("objectName") == name:
                return child
    raise AttributeError(f"{type(self).__name__} has no attribute named '{name}'")


def _delete(self) -> None:
    """Delete the C++ object now, as PythonQt's `delete()` does."""
    if shiboken6.isValid(self):
        shiboken6.delete(self)


def _class_named(name: str):
    return lambda child: any(base.__name__ == name for base in type(child).__mro__)


def _find_children(original):
    def find_children(self, what=QtCore.QObject, name: str | None = None):
        if not isinstance(what, str):
            return original(self, what) if name is None else original(self, what, name)
        matches = _class_named(what)
        found = original(self, QtCore.QObject) if name is None else original(self, QtCore.QObject, name)
        return [child for child in found if matches(child)]

    return find_children


def _find_child(original):
    def find_child(self, what=QtCore.QObject, name: str | None = None):
        found = self.findChildren(what, name)
        return found[0] if found else None

    return find_child


def install_object_habits(classes: list[type]) -> None:
    """Names, deletion, children as attributes, class names in findChildren, and strict assignment."""
    base = QtCore.QObject
    base.name = property(
        lambda self: self.property("objectName"), lambda self, value: self.setProperty("objectName", value)
    )
    base.className = lambda self: self.metaObject().className()
    base.delete = _delete
    base.__getattr__ = _missing_attribute
    base.findChildren = _find_children(base.findChildren)
    base.findChild = _find_child(base.findChild)
    for cls in classes:
        cls.__setattr__ = (
            _strict_setattr  # each shiboken class has a slot of its own, so one on QObject is not enough
        )
