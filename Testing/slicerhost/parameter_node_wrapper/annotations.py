"""Annotations that go with a parameter's type, and the functions that separate them from it."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Iterable
from typing import Annotated, Any

import slicer


class Default:
    """Default value of a parameter: a fixed value, or a generator called each time the default is needed."""

    def __init__(self, value: Any = None, *, generator: Callable[[], Any] | None = None) -> None:
        self._value = value
        self._generator = generator

    @property
    def value(self) -> Any:
        """The default value."""
        return self._generator() if self._generator else self._value

    def __repr__(self) -> str:
        return f"Default(value={self._value!r}, generator={self._generator!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Default):
            return NotImplemented
        return (self._value, self._generator) == (other._value, other._generator)

    __hash__ = None


@dataclasses.dataclass
class Decimals:
    """Number of decimals that a bound spin box or slider shows."""

    value: int


@dataclasses.dataclass
class SingleStep:
    """Step of a bound spin box or slider."""

    value: float


@dataclasses.dataclass
class Label:
    """Text beside the widget that `createGui` makes for the parameter."""

    label: str


def splitAnnotations(possiblyAnnotatedType: Any) -> tuple[Any, tuple]:
    """Return the bare type and its annotations; the annotations of a bare type are empty."""
    if typing.get_origin(possiblyAnnotatedType) is Annotated:
        bareType, *annotations = typing.get_args(possiblyAnnotatedType)
        return bareType, tuple(annotations)
    return possiblyAnnotatedType, ()


def unannotatedType(possiblyAnnotatedType: Any) -> Any:
    """Return the type without its annotations."""
    return splitAnnotations(possiblyAnnotatedType)[0]


def findFirstAnnotation(annotationsList: Iterable, annotationType: type) -> Any:
    """Return the first annotation of the given type, None if there is none."""
    return next((item for item in annotationsList if isinstance(item, annotationType)), None)


def extractDefault(annotations: Iterable) -> tuple[Default | None, list]:
    """Separate the `Default` (None if absent) from the other annotations.

    Raises ValueError if more than one default is given.
    """
    annotations = list(annotations)
    defaults = [item for item in annotations if isinstance(item, Default)]
    if len(defaults) > 1:
        raise ValueError(f"A parameter can have only one Default, but {defaults} were given.")
    return (defaults[0] if defaults else None), [item for item in annotations if item not in defaults]


def warnOfUnusedAnnotations(owner: str, annotations: Iterable) -> None:
    """Log a warning about annotations that nothing understands; those of the GUI are used later."""
    import logging

    unused = [item for item in annotations if not isinstance(item, (Decimals, SingleStep, Label))]
    if unused:
        logging.warning("%s: unused annotations %s", owner, unused)


def splitPossiblyDottedName(possiblyDottedName: str) -> tuple[str, str | None]:
    """Split "a.b.c" into ("a", "b.c") and "a" into ("a", None)."""
    first, _, rest = possiblyDottedName.partition(".")
    return first, rest or None


def isUnion(datatype: Any) -> bool:
    """Tell whether the type is a union, in either spelling: Union[A, B] or A | B."""
    return typing.get_origin(datatype) in (typing.Union, types.UnionType)


def isNodeType(datatype: Any) -> bool:
    """Tell whether the type is a class of MRML nodes."""
    return isinstance(datatype, type) and issubclass(datatype, slicer.vtkMRMLNode)


def isNodeOrUnionOfNodes(datatype: Any) -> bool:
    """Tell whether the type is a class of MRML nodes or a union of such classes (None may be a member)."""
    bareType = unannotatedType(datatype)
    if isUnion(bareType):
        members = [unannotatedType(member) for member in typing.get_args(bareType)]
        return all(isNodeType(member) or member is type(None) for member in members)
    return isNodeType(bareType)


def getNodeTypes(datatype: Any) -> tuple[str, ...]:
    """Return the names of the MRML node classes in the type.

    Raises TypeError if the type is neither a node class nor a union of them.
    """
    if not isNodeOrUnionOfNodes(datatype):
        raise TypeError(f"{datatype} is neither a MRML node class nor a union of node classes.")
    bareType = unannotatedType(datatype)
    members = typing.get_args(bareType) if isUnion(bareType) else [bareType]
    return tuple(member.__name__ for member in map(unannotatedType, members) if isNodeType(member))
