"""Serializers of values that are made of other values: list, tuple, dict, union, Any.

The parts of the value `name` are kept under `name.0`, `name.1`...; the length of a list under `name.len`.
"""

from __future__ import annotations

import importlib
import typing
from collections.abc import Sequence
from typing import Any

import slicer.util

from .annotations import isUnion
from .observed_containers import ObservedDict, ObservedList
from .serializers import (
    Serializer,
    ValidatedSerializer,
    createSerializerFromAnnotatedType,
    parameterNodeSerializer,
)
from .value_serializers import NoneSerializer, NumberSerializer, StringSerializer


def _part_name(name: str, part: int | str) -> str:
    return f"{name}.{part}"


@parameterNodeSerializer
class ListSerializer(Serializer):
    """Serializer of list[T]; a bare list is list[Any]. Takes any sequence, returns an ObservedList."""

    def __init__(self, elementTypeSerializer: Serializer) -> None:
        self._element_serializer = elementTypeSerializer
        self._length_serializer = NumberSerializer(int)

    @staticmethod
    def canSerialize(type_: Any) -> bool:
        return type_ is list or typing.get_origin(type_) is list

    @staticmethod
    def create(type_: Any) -> Serializer | None:
        if not ListSerializer.canSerialize(type_):
            return None
        (elementType,) = typing.get_args(type_) or (Any,)
        return ListSerializer(createSerializerFromAnnotatedType(elementType))

    def default(self) -> list:
        return []

    def isIn(self, parameterNode: Any, name: str) -> bool:
        return self._length_serializer.isIn(parameterNode, _part_name(name, "len"))

    def _length(self, parameterNode: Any, name: str) -> int:
        if not self.isIn(parameterNode, name):
            return 0
        return self._length_serializer.read(parameterNode, _part_name(name, "len"))

    def write(self, parameterNode: Any, name: str, values: Sequence) -> None:
        with slicer.util.NodeModify(parameterNode):
            previous = list(self.read(parameterNode, name)) if self.isIn(parameterNode, name) else None
            try:
                self._write_elements(parameterNode, name, values)
            except Exception:
                if previous is None:
                    self._remove_elements(parameterNode, name, 0, len(values))
                else:
                    self._write_elements(parameterNode, name, previous)
                    self._remove_elements(parameterNode, name, len(previous), len(values))
                raise

    def _write_elements(self, parameterNode: Any, name: str, values: Sequence) -> None:
        previousLength = self._length(parameterNode, name)
        for index, value in enumerate(values):
            self._element_serializer.write(parameterNode, _part_name(name, index), value)
        self._length_serializer.write(parameterNode, _part_name(name, "len"), len(values))
        self._remove_elements(parameterNode, name, len(values), previousLength)

    def _remove_elements(self, parameterNode: Any, name: str, first: int, end: int) -> None:
        for index in range(first, end):
            self._element_serializer.remove(parameterNode, _part_name(name, index))

    def read(self, parameterNode: Any, name: str) -> ObservedList:
        values = [
            self._element_serializer.read(parameterNode, _part_name(name, index))
            for index in range(self._length(parameterNode, name))
        ]
        return ObservedList(parameterNode, self, name, values)

    def remove(self, parameterNode: Any, name: str) -> None:
        with slicer.util.NodeModify(parameterNode):
            self._remove_elements(parameterNode, name, 0, self._length(parameterNode, name))
            self._length_serializer.remove(parameterNode, _part_name(name, "len"))

    def supportsCaching(self) -> bool:
        return self._element_serializer.supportsCaching()


@parameterNodeSerializer
class TupleSerializer(Serializer):
    """Serializer of tuple[A, B, ...] with a fixed number of members."""

    def __init__(self, serializers: Sequence[Serializer]) -> None:
        self._serializers = list(serializers)

    @staticmethod
    def canSerialize(type_: Any) -> bool:
        return typing.get_origin(type_) is tuple

    @staticmethod
    def create(type_: Any) -> Serializer | None:
        if not TupleSerializer.canSerialize(type_):
            return None
        members = typing.get_args(type_)
        if not members or Ellipsis in members:
            raise TypeError(f"{type_} cannot be a parameter: name the type of each member, or use a list.")
        return TupleSerializer([createSerializerFromAnnotatedType(member) for member in members])

    def default(self) -> tuple:
        return tuple(serializer.default() for serializer in self._serializers)

    def isIn(self, parameterNode: Any, name: str) -> bool:
        return self._serializers[0].isIn(parameterNode, _part_name(name, 0))

    def write(self, parameterNode: Any, name: str, values: Any) -> None:
        values = tuple(values)
        if len(values) != len(self._serializers):
            raise ValueError(f"{len(self._serializers)} values are needed, but {values} was given.")
        with slicer.util.NodeModify(parameterNode):
            previous = self.read(parameterNode, name) if self.isIn(parameterNode, name) else None
            try:
                self._write_members(parameterNode, name, values)
            except Exception:
                if previous is None:
                    self.remove(parameterNode, name)
                else:
                    self._write_members(parameterNode, name, previous)
                raise

    def _write_members(self, parameterNode: Any, name: str, values: tuple) -> None:
        for index, (serializer, value) in enumerate(zip(self._serializers, values, strict=True)):
            serializer.write(parameterNode, _part_name(name, index), value)

    def read(self, parameterNode: Any, name: str) -> tuple:
        return tuple(
            serializer.read(parameterNode, _part_name(name, index))
            for index, serializer in enumerate(self._serializers)
        )

    def remove(self, parameterNode: Any, name: str) -> None:
        with slicer.util.NodeModify(parameterNode):
            for index, serializer in enumerate(self._serializers):
                serializer.remove(parameterNode, _part_name(name, index))

    def supportsCaching(self) -> bool:
        return all(serializer.supportsCaching() for serializer in self._serializers)


@parameterNodeSerializer
class DictSerializer(Serializer):
    """Serializer of dict[K, V], as a list of (key, value); a bare dict is dict[Any, Any]."""

    def __init__(self, keySerializer: Serializer, valueSerializer: Serializer) -> None:
        self._items_serializer = ListSerializer(TupleSerializer([keySerializer, valueSerializer]))

    @staticmethod
    def canSerialize(type_: Any) -> bool:
        return type_ is dict or typing.get_origin(type_) is dict

    @staticmethod
    def create(type_: Any) -> Serializer | None:
        if not DictSerializer.canSerialize(type_):
            return None
        keyType, valueType = typing.get_args(type_) or (Any, Any)
        return DictSerializer(*map(createSerializerFromAnnotatedType, (keyType, valueType)))

    def default(self) -> dict:
        return {}

    def isIn(self, parameterNode: Any, name: str) -> bool:
        return self._items_serializer.isIn(parameterNode, name)

    def write(self, parameterNode: Any, name: str, dictionary: Any) -> None:
        self._items_serializer.write(parameterNode, name, list(dictionary.items()))

    def read(self, parameterNode: Any, name: str) -> ObservedDict:
        items = self._items_serializer.read(parameterNode, name)
        return ObservedDict(parameterNode, self, name, dict(items))

    def remove(self, parameterNode: Any, name: str) -> None:
        self._items_serializer.remove(parameterNode, name)

    def supportsCaching(self) -> bool:
        return self._items_serializer.supportsCaching()


@parameterNodeSerializer
class UnionSerializer(Serializer):
    """Serializer of A | B | ...; the name of its part shows which member holds the value."""

    def __init__(self, serializers: Sequence[Serializer]) -> None:
        self._serializers = [ValidatedSerializer(serializer, []) for serializer in serializers]

    @staticmethod
    def canSerialize(type_: Any) -> bool:
        return isUnion(type_)

    @staticmethod
    def create(type_: Any) -> Serializer | None:
        if not UnionSerializer.canSerialize(type_):
            return None
        return UnionSerializer([*map(createSerializerFromAnnotatedType, typing.get_args(type_))])

    def default(self) -> Any:
        first, second, *more = [serializer.serializer for serializer in self._serializers]
        isOptional = isinstance(second, NoneSerializer) and not more
        return None if isOptional else first.default()

    def _choose(self, value: Any) -> int:
        """Return the index of the member that accepts the value; raise the last refusal if none does."""
        refusal: Exception | None = None
        for index, serializer in enumerate(self._serializers):
            if not serializer.serializer.canSerialize(type(value)):
                continue
            try:
                serializer.validate(value)
                return index
            except (TypeError, ValueError) as error:
                refusal = error
        raise refusal or TypeError(f"{value!r} is of type {type(value)}, which is no member of the union.")

    def _holder(self, parameterNode: Any, name: str) -> int | None:
        for index, serializer in enumerate(self._serializers):
            if serializer.isIn(parameterNode, _part_name(name, index)):
                return index
        return None

    def isIn(self, parameterNode: Any, name: str) -> bool:
        return self._holder(parameterNode, name) is not None

    def write(self, parameterNode: Any, name: str, value: Any) -> None:
        with slicer.util.NodeModify(parameterNode):
            index = self._choose(value)
            self._serializers[index].write(parameterNode, _part_name(name, index), value)
            for other, serializer in enumerate(self._serializers):
                if other != index:
                    serializer.remove(parameterNode, _part_name(name, other))

    def read(self, parameterNode: Any, name: str) -> Any:
        index = self._holder(parameterNode, name)
        if index is None:
            raise KeyError(f"The parameter node holds no value of the name {name}.")
        return self._serializers[index].read(parameterNode, _part_name(name, index))

    def remove(self, parameterNode: Any, name: str) -> None:
        with slicer.util.NodeModify(parameterNode):
            for index, serializer in enumerate(self._serializers):
                serializer.remove(parameterNode, _part_name(name, index))

    def supportsCaching(self) -> bool:
        return all(serializer.supportsCaching() for serializer in self._serializers)


@parameterNodeSerializer
class AnySerializer(Serializer):
    """Serializer of Any: keeps the class of the value (`name.type`) beside the value (`name.value`).

    The class must have a registered serializer and be importable by its name from its module. Tuples
    cannot be written, since the types of their members are unknown; lists can.
    """

    def __init__(self) -> None:
        self._type_serializer = TupleSerializer([StringSerializer(), StringSerializer()])

    @staticmethod
    def canSerialize(type_: Any) -> bool:
        return type_ is Any

    @staticmethod
    def create(type_: Any) -> Serializer | None:
        return AnySerializer() if AnySerializer.canSerialize(type_) else None

    def default(self) -> None:
        return None

    def _value_serializer(self, parameterNode: Any, name: str) -> Serializer:
        moduleName, className = self._type_serializer.read(parameterNode, _part_name(name, "type"))
        if (moduleName, className) == ("builtins", "NoneType"):
            return createSerializerFromAnnotatedType(type(None))
        return createSerializerFromAnnotatedType(getattr(importlib.import_module(moduleName), className))

    def isIn(self, parameterNode: Any, name: str) -> bool:
        return self._type_serializer.isIn(parameterNode, _part_name(name, "type"))

    def write(self, parameterNode: Any, name: str, value: Any) -> None:
        serializer = createSerializerFromAnnotatedType(type(value))
        with slicer.util.NodeModify(parameterNode):
            self.remove(parameterNode, name)
            serializer.write(parameterNode, _part_name(name, "value"), value)
            className = (type(value).__module__, type(value).__name__)
            self._type_serializer.write(parameterNode, _part_name(name, "type"), className)

    def read(self, parameterNode: Any, name: str) -> Any:
        return self._value_serializer(parameterNode, name).read(parameterNode, _part_name(name, "value"))

    def remove(self, parameterNode: Any, name: str) -> None:
        if self.isIn(parameterNode, name):
            self._value_serializer(parameterNode, name).remove(parameterNode, _part_name(name, "value"))
            self._type_serializer.remove(parameterNode, _part_name(name, "type"))
