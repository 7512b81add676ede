"""Serializer: how values of a type are kept in a parameter node; registration and choice of serializers."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable
from typing import Any

from .annotations import splitAnnotations, warnOfUnusedAnnotations
from .validators import extractValidators


class Serializer(abc.ABC):
    """Writes values of one type to a vtkMRMLScriptedModuleNode and reads them back.

    A value may take several text parameters of the node; all their names begin with the value's name.
    """

    @staticmethod
    @abc.abstractmethod
    def canSerialize(type_: Any) -> bool:
        """Tell whether a serializer of this class can handle the (bare) type."""

    @staticmethod
    @abc.abstractmethod
    def create(type_: Any) -> Serializer | None:
        """Return a serializer for the type, usually with validators around it; None if it is unknown."""

    @abc.abstractmethod
    def default(self) -> Any:
        """Return the value of a parameter for which no default is given."""

    @abc.abstractmethod
    def isIn(self, parameterNode: Any, name: str) -> bool:
        """Tell whether the node holds a value of this name."""

    @abc.abstractmethod
    def write(self, parameterNode: Any, name: str, value: Any) -> None:
        """Write the value to the node."""

    @abc.abstractmethod
    def read(self, parameterNode: Any, name: str) -> Any:
        """Return the value the node holds."""

    @abc.abstractmethod
    def remove(self, parameterNode: Any, name: str) -> None:
        """Remove every trace of the value from the node."""

    @staticmethod
    def supportsCaching() -> bool:
        """Tell whether a value may be returned again without reading it again.

        True only if the values are immutable or write their own changes to the node.
        """
        return False


class ValidatedSerializer(Serializer):
    """A serializer that asks validators before it writes with another serializer."""

    def __init__(self, serializer: Serializer, validators: Iterable | None) -> None:
        validators = list(validators or [])
        if isinstance(serializer, ValidatedSerializer):
            validators = serializer.validators + validators
            serializer = serializer.serializer
        self.serializer = serializer
        self.validators = validators

    @staticmethod
    def canSerialize(type_: Any) -> bool:
        return False  # never chosen by type, only put around a chosen serializer

    @staticmethod
    def create(type_: Any) -> Serializer | None:
        raise NotImplementedError("A ValidatedSerializer is made around another serializer, not from a type.")

    def validate(self, value: Any) -> None:
        """Raise the error of the first validator that refuses the value."""
        for validator in self.validators:
            validator.validate(value)

    def default(self) -> Any:
        return self.serializer.default()

    def isIn(self, parameterNode: Any, name: str) -> bool:
        return self.serializer.isIn(parameterNode, name)

    def write(self, parameterNode: Any, name: str, value: Any) -> None:
        self.validate(value)
        self.serializer.write(parameterNode, name, value)

    def read(self, parameterNode: Any, name: str) -> Any:
        return self.serializer.read(parameterNode, name)

    def remove(self, parameterNode: Any, name: str) -> None:
        self.serializer.remove(parameterNode, name)

    def supportsCaching(self) -> bool:
        return self.serializer.supportsCaching()


_registered_serializers: list[type[Serializer]] = []


def parameterNodeSerializer(classtype: type[Serializer] | None = None) -> Callable | type[Serializer]:
    """Class decorator, with or without parentheses, that registers a serializer for its types."""

    def register(cls: type[Serializer]) -> type[Serializer]:
        if not issubclass(cls, Serializer):
            raise TypeError(f"{cls} must derive from Serializer to be registered as one.")
        _registered_serializers.append(cls)
        return cls

    return register if classtype is None else register(classtype)


def _is_serializer(item: Any) -> bool:
    return isinstance(item, Serializer) or (isinstance(item, type) and issubclass(item, Serializer))


def createSerializer(type_: Any, annotations: Iterable) -> tuple[ValidatedSerializer, list]:
    """Return the serializer of a bare type with its annotations, and the annotations it does not use.

    A serializer among the annotations takes precedence over the registered ones.

    Raises TypeError if nothing registered can handle the type, ValueError if two serializers are given.
    """
    validators, others = extractValidators(annotations)
    given = [item for item in others if _is_serializer(item)]
    others = [item for item in others if not _is_serializer(item)]
    if len(given) > 1:
        raise ValueError(f"A parameter can have only one serializer, but {given} were given.")
    serializer = given[0] if given else _create_registered(type_)
    if isinstance(serializer, type):
        serializer = serializer()
    return ValidatedSerializer(serializer, validators), others


def createSerializerFromAnnotatedType(annotatedType: Any) -> ValidatedSerializer:
    """Return the serializer of a type that may be annotated; warn of annotations that it does not use."""
    serializer, unused = createSerializer(*splitAnnotations(annotatedType))
    warnOfUnusedAnnotations(str(annotatedType), unused)
    return serializer


def _create_registered(type_: Any) -> Serializer:
    for candidate in _registered_serializers:
        if candidate.canSerialize(type_):
            return candidate.create(type_)
    raise TypeError(f"No serializer is registered for the type {type_}.")
