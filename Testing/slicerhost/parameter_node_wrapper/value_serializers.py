"""Serializers of single values: numbers, text, paths, booleans, enumerations, colours, nodes, None."""

from __future__ import annotations

import enum
import pathlib
from typing import Any

import qt

from .annotations import isNodeType
from .serializers import Serializer, ValidatedSerializer, parameterNodeSerializer
from .validators import IsInstance, IsNone, NotNone

PATH_TYPES = (
    pathlib.Path,
    pathlib.PosixPath,
    pathlib.WindowsPath,
    pathlib.PurePath,
    pathlib.PurePosixPath,
    pathlib.PureWindowsPath,
)


class _TextSerializer(Serializer):
    """Base of serializers that keep an immutable value in the text parameter of the value's own name."""

    def to_text(self, value: Any) -> str:
        return str(value)

    def from_text(self, text: str) -> Any:
        raise NotImplementedError

    def isIn(self, parameterNode: Any, name: str) -> bool:
        return bool(parameterNode.HasParameter(name))

    def write(self, parameterNode: Any, name: str, value: Any) -> None:
        parameterNode.SetParameter(name, self.to_text(value))

    def read(self, parameterNode: Any, name: str) -> Any:
        return self.from_text(parameterNode.GetParameter(name))

    def remove(self, parameterNode: Any, name: str) -> None:
        parameterNode.UnsetParameter(name)

    @staticmethod
    def supportsCaching() -> bool:
        return True


@parameterNodeSerializer
class NumberSerializer(_TextSerializer):
    """Serializer of int and float; an int can be written to a float parameter."""

    def __init__(self, type: type) -> None:
        self.type = type

    @staticmethod
    def canSerialize(type_: Any) -> bool:
        return type_ in (int, float)

    @staticmethod
    def create(type_: Any) -> Serializer | None:
        if not NumberSerializer.canSerialize(type_):
            return None
        accepted = (int, float) if type_ is float else int
        return ValidatedSerializer(NumberSerializer(type_), [NotNone(), IsInstance(accepted)])

    def default(self) -> float:
        return 0

    def from_text(self, text: str) -> float:
        return self.type(text)


@parameterNodeSerializer
class StringSerializer(_TextSerializer):
    """Serializer of str."""

    @staticmethod
    def canSerialize(type_: Any) -> bool:
        return type_ is str

    @staticmethod
    def create(type_: Any) -> Serializer | None:
        if not StringSerializer.canSerialize(type_):
            return None
        return ValidatedSerializer(StringSerializer(), [NotNone(), IsInstance(str)])

    def default(self) -> str:
        return ""

    def from_text(self, text: str) -> str:
        return text


@parameterNodeSerializer
class PathSerializer(_TextSerializer):
    """Serializer of the pathlib classes; the default is the current folder."""

    def __init__(self, pathtype: type) -> None:
        self.type = pathtype

    @staticmethod
    def canSerialize(type_: Any) -> bool:
        return type_ in PATH_TYPES

    @staticmethod
    def create(type_: Any) -> Serializer | None:
        if not PathSerializer.canSerialize(type_):
            return None
        return ValidatedSerializer(PathSerializer(type_), [NotNone(), IsInstance(type_)])

    def default(self) -> pathlib.PurePath:
        return self.type()

    def from_text(self, text: str) -> pathlib.PurePath:
        return self.type(text)


@parameterNodeSerializer
class BoolSerializer(_TextSerializer):
    """Serializer of bool, as the words True and False."""

    @staticmethod
    def canSerialize(type_: Any) -> bool:
        return type_ is bool

    @staticmethod
    def create(type_: Any) -> Serializer | None:
        if not BoolSerializer.canSerialize(type_):
            return None
        return ValidatedSerializer(BoolSerializer(), [NotNone(), IsInstance(bool)])

    def default(self) -> bool:
        return False

    def to_text(self, value: Any) -> str:
        return str(bool(value))

    def from_text(self, text: str) -> bool:
        return text == "True"


@parameterNodeSerializer
class EnumSerializer(_TextSerializer):
    """Serializer of enumerations, by member name; the default is the first member."""

    def __init__(self, enum_: type[enum.Enum]) -> None:
        if not len(enum_):
            raise ValueError(f"The enumeration {enum_} has no members, so it cannot be a parameter.")
        self.enum = enum_

    @staticmethod
    def canSerialize(type_: Any) -> bool:
        return isinstance(type_, type) and issubclass(type_, enum.Enum)

    @staticmethod
    def create(type_: Any) -> Serializer | None:
        if not EnumSerializer.canSerialize(type_):
            return None
        return ValidatedSerializer(EnumSerializer(type_), [NotNone(), IsInstance(type_)])

    def default(self) -> enum.Enum:
        return next(iter(self.enum))

    def to_text(self, value: enum.Enum) -> str:
        return value.name

    def from_text(self, text: str) -> enum.Enum:
        try:
            return self.enum[text]
        except KeyError as error:
            raise ValueError(f"The parameter node holds {text!r}, no name in {self.enum}.") from error


@parameterNodeSerializer
class QColorSerializer(_TextSerializer):
    """Serializer of qt.QColor, as #AARRGGBB; the default is opaque black."""

    @staticmethod
    def canSerialize(type_: Any) -> bool:
        return type_ is qt.QColor

    @staticmethod
    def create(type_: Any) -> Serializer | None:
        if not QColorSerializer.canSerialize(type_):
            return None
        return ValidatedSerializer(QColorSerializer(), [NotNone(), IsInstance(qt.QColor)])

    def default(self) -> qt.QColor:
        return qt.QColor(0, 0, 0)

    def to_text(self, value: qt.QColor) -> str:
        return value.name(qt.QColor.HexArgb)

    def from_text(self, text: str) -> qt.QColor:
        return qt.QColor(text)

    @staticmethod
    def supportsCaching() -> bool:
        return False  # a colour can be changed in place


@parameterNodeSerializer
class NoneSerializer(_TextSerializer):
    """Serializer of None, for unions such as Optional[int]."""

    @staticmethod
    def canSerialize(type_: Any) -> bool:
        return type_ is type(None)

    @staticmethod
    def create(type_: Any) -> Serializer | None:
        if not NoneSerializer.canSerialize(type_):
            return None
        return ValidatedSerializer(NoneSerializer(), [IsNone()])

    def default(self) -> None:
        return None

    def from_text(self, text: str) -> None:
        return None


@parameterNodeSerializer
class NodeSerializer(Serializer):
    """Serializer of MRML nodes: a node reference whose role is the parameter's name; the default is None."""

    @staticmethod
    def canSerialize(type_: Any) -> bool:
        return isNodeType(type_)

    @staticmethod
    def create(type_: Any) -> Serializer | None:
        if not NodeSerializer.canSerialize(type_):
            return None
        return ValidatedSerializer(NodeSerializer(), [IsInstance(type_)])

    def default(self) -> None:
        return None

    def isIn(self, parameterNode: Any, name: str) -> bool:
        return bool(parameterNode.HasParameter(name))

    def write(self, parameterNode: Any, name: str, value: Any) -> None:
        # A reference to no node leaves no trace in the node, the empty text does.
        parameterNode.SetParameter(name, "")
        parameterNode.SetNodeReferenceID(name, None if value is None else value.GetID())

    def read(self, parameterNode: Any, name: str) -> Any:
        return parameterNode.GetNodeReference(name)

    def remove(self, parameterNode: Any, name: str) -> None:
        parameterNode.UnsetParameter(name)
        parameterNode.RemoveNodeReferenceIDs(name)

    @staticmethod
    def supportsCaching() -> bool:
        return True
