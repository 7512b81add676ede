"""Tools for writing a Python class that stands for a C++ widget of CTK or Slicer."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Number
from typing import Any

from PySide6 import QtCore

STAND_INS: dict[str, type] = {}
CHECKED_TYPES: dict[type, type] = {bool: Number, int: Number, float: Number, str: str}


def cpp_class(cls: type) -> type:
    """Mark the class as standing for a C++ class of the same name.

    Its instances then refuse new attributes, except names with a leading underscore, which hold the class's own state,
    and the .ui loader creates it where a form names it.
    """
    cls._stands_for_cpp = True
    STAND_INS[cls.__name__] = cls
    return cls


def add_property(
    cls: type,
    type_: Any,
    name: str,
    default: Any = None,
    changed: Callable[[Any], None] | None = None,
    convert: Callable[[Any], Any] | None = None,
) -> None:
    """Give the class a Qt property that is only stored, with its `setName` function.

    Args:
        type_: the type for Qt, a Python type or the name of a C++ type such as "QStringList".
        default: the first value.
        changed: called with the object after the value has changed.
        convert: applied to every value that is set.
    """
    key = f"_{name}"

    def get(self):
        return self.__dict__.get(key, default)

    def set_(self, value):
        value = convert(value) if convert else _checked(cls, type_, name, value)
        if get(self) == value:
            return
        self.__dict__[key] = value
        if changed:
            changed(self)

    setattr(cls, name, QtCore.Property(type_, get, set_))
    setter = f"set{name[0].upper()}{name[1:]}"
    if setter not in cls.__dict__:
        setattr(cls, setter, set_)


def string_list(value: Any) -> tuple[str, ...]:
    """A tuple of texts, as PythonQt gives for a QStringList; a single text is refused, as there."""
    if isinstance(value, str):
        raise AttributeError(f"A list of texts is needed, not the text {value!r}")
    return tuple(value)


def _checked(cls: type, type_: Any, name: str, value: Any) -> Any:
    fits = (
        not isinstance(type_, type) or type_ not in CHECKED_TYPES or isinstance(value, CHECKED_TYPES[type_])
    )
    if not fits:
        raise AttributeError(
            f"Property '{name}' of {cls.__name__} does not accept an object of type "
            f"{type(value).__name__} ({value!r})"
        )
    return value


def delegate_property(cls: type, type_: Any, name: str, part: str) -> None:
    """Give the class a Qt property that delegates to the one of the same name of the widget `self.<part>`."""
    setter = f"set{name[0].upper()}{name[1:]}"

    def get(self):
        return getattr(self.__dict__[part], name)

    def set_(self, value):
        getattr(self.__dict__[part], setter)(value)

    setattr(cls, name, QtCore.Property(type_, get, set_))
    if setter not in cls.__dict__:
        setattr(cls, setter, set_)


def enum_to_int(value: Any) -> int:
    """The number behind a value of a Qt enumeration, or the number itself."""
    return int(getattr(value, "value", value))
