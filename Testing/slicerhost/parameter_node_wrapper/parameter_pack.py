"""parameterPack: several parameters as one object, checked whenever a member is set."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable
from typing import Any

from .annotations import (
    extractDefault,
    splitAnnotations,
    splitPossiblyDottedName,
    unannotatedType,
    warnOfUnusedAnnotations,
)
from .serializers import Serializer, createSerializer

_RESERVED_NAMES = ("allParameters", "_is_parameterPack", "getValue", "setValue", "dataType")


@dataclasses.dataclass
class ParameterInfo:
    """One member of a pack or a wrapper: its name, serializer, default and type with annotations.

    `default` is a plain value in a pack and a `Default` in a wrapper.
    """

    basename: str
    serializer: Serializer
    default: Any
    unalteredType: Any


def storage_name(name: str) -> str:
    """Return the name of the attribute that holds the member's value."""
    return f"_parameterPack_{name}_impl"


def isParameterPack(obj: Any) -> bool:
    """Tell whether the class or object is a parameter pack."""
    return getattr(obj, "_is_parameterPack", False)


def parameterPack(classtype: type | None = None) -> Callable | type:
    """Class decorator, with or without parentheses, that makes a parameter pack of a class with type hints.

    The class gets __init__, __eq__, __repr__ and __str__ unless it has its own, and `getValue`, `setValue`
    and `dataType`, which take names of members, "a.b" for the member b of the pack a.

    Raises ValueError if the class has no members, a member has a reserved name or a default is refused.
    """
    return _make_pack if classtype is None else _make_pack(classtype)


def nestedParameterNames(parameterPackClassOrInstance: Any) -> list[str]:
    """Return the dotted names of all members of the pack that are not packs themselves."""
    names: list[str] = []
    for name, info in unannotatedType(parameterPackClassOrInstance).allParameters.items():
        memberType = unannotatedType(info.unalteredType)
        if isParameterPack(memberType):
            names += [f"{name}.{nested}" for nested in nestedParameterNames(memberType)]
        else:
            names.append(name)
    return names


def check_member(packType: Any, name: str) -> None:
    """Raise ValueError unless the (dotted) name names a member of the pack class."""
    first, rest = splitPossiblyDottedName(name)
    if not isParameterPack(packType) or first not in packType.allParameters:
        raise ValueError(f"{packType} has no member {first!r}.")
    if rest is not None:
        check_member(unannotatedType(packType.allParameters[first].unalteredType), rest)


def _make_pack(classtype: type) -> type:
    members = typing.get_type_hints(classtype, include_extras=True)
    if not members:
        raise ValueError(f"The parameter pack {classtype.__name__} has no members: give it type hints.")
    _check_names(classtype, members)
    classtype.allParameters = {name: _make_info(classtype, name, hint) for name, hint in members.items()}
    for name in members:
        setattr(classtype, name, make_property(name))
    _add_methods(classtype)
    classtype._is_parameterPack = True
    return classtype


def _check_names(classtype: type, members: dict[str, Any]) -> None:
    reserved = {*_RESERVED_NAMES}
    for name in members:
        reserved |= {storage_name(name), f"_parameterPack_{name}_serializer"}
    for name in reserved:
        if name in members or hasattr(classtype, name):
            raise ValueError(f"The name {name!r} is reserved, the pack {classtype.__name__} cannot use it.")


def _make_info(classtype: type, name: str, hint: Any) -> ParameterInfo:
    serializer, annotations = createSerializer(*splitAnnotations(hint))
    default, unused = extractDefault(annotations)
    warnOfUnusedAnnotations(f"{classtype.__name__}.{name}", unused)
    if hasattr(classtype, name):
        value = getattr(classtype, name)
    else:
        value = serializer.default() if default is None else default.value
    try:
        serializer.validate(value)
    except (TypeError, ValueError) as error:
        where = f"{classtype.__name__}.{name}"
        raise ValueError(f"The default {value!r} of {where} is not valid: {error}") from error
    return ParameterInfo(name, serializer, value, hint)


def make_property(name: str) -> property:
    """Return a property of a pack that validates what it is set to."""

    def get_member(self: Any) -> Any:
        return getattr(self, storage_name(name))

    def set_member(self: Any, value: Any) -> None:
        self.allParameters[name].serializer.validate(value)
        setattr(self, storage_name(name), value)

    return property(get_member, set_member)


def _add_methods(classtype: type) -> None:
    ownMethods = set(vars(classtype))
    if "__init__" in ownMethods:
        _set_defaults_before_own_init(classtype)
    else:
        classtype.__init__ = initialize_members
    if "__eq__" not in ownMethods:
        classtype.__eq__ = _have_equal_members
        classtype.__hash__ = None
    for name in {"__str__", "__repr__"} - ownMethods:
        setattr(classtype, name, describe)
    classtype.getValue = _get_value
    classtype.setValue = _set_value
    classtype.dataType = staticmethod(lambda membername: _data_type(classtype, membername))


def _set_defaults_before_own_init(classtype: type) -> None:
    own_init = classtype.__init__

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        initialize_members(self)
        own_init(self, *args, **kwargs)

    classtype.__init__ = init


def initialize_members(self: Any, *args: Any, **kwargs: Any) -> None:
    """Set all members: from positional arguments, from keywords, the rest to their defaults."""
    names = list(self.allParameters)
    if len(args) > len(names):
        raise TypeError(f"{type(self).__name__} takes at most {len(names)} values, {len(args)} were given.")
    values = dict(zip(names, args, strict=False))
    for name, value in kwargs.items():
        if name not in self.allParameters:
            raise TypeError(f"{type(self).__name__} has no member {name!r}.")
        if name in values:
            raise TypeError(f"{type(self).__name__} got two values for the member {name!r}.")
        values[name] = value
    for name, info in self.allParameters.items():
        setattr(self, name, values[name] if name in values else _copy_of_default(info.default))


def _copy_of_default(value: Any) -> Any:
    """Return a copy of what can be changed in place, so that two packs never share a nested default."""
    if not isParameterPack(value):
        return value.copy() if isinstance(value, (list, dict)) else value
    copy = type(value).__new__(type(value))
    initialize_members(copy, **{name: _copy_of_default(getattr(value, name)) for name in value.allParameters})
    return copy


def _have_equal_members(self: Any, other: object) -> bool:
    if type(self) is not type(other):
        return NotImplemented
    return all(getattr(self, name) == getattr(other, name) for name in self.allParameters)


def describe(self: Any) -> str:
    """Return the class name and the members of the pack as text."""
    members = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.allParameters)
    return f"{type(self).__name__}({members})"


def _get_value(self: Any, membername: str) -> Any:
    """Return the value of the member with the (dotted) name."""
    first, rest = splitPossiblyDottedName(membername)
    value = getattr(self, _existing(self, first))
    return value if rest is None else _get_value(value, rest)


def _set_value(self: Any, membername: str, value: Any) -> None:
    """Set the member with the (dotted) name."""
    first, rest = splitPossiblyDottedName(membername)
    _existing(self, first)
    if rest is None:
        setattr(self, first, value)
    else:
        _set_value(getattr(self, first), rest, value)


def _existing(pack: Any, name: str) -> str:
    if not hasattr(pack, name):
        raise ValueError(f"{pack!r} has no member {name!r}.")
    return name


def _data_type(packType: Any, membername: str) -> Any:
    """Return the type, with its annotations, of the member with the (dotted) name."""
    check_member(packType, membername)
    first, rest = splitPossiblyDottedName(membername)
    hint = packType.allParameters[first].unalteredType
    return hint if rest is None else _data_type(unannotatedType(hint), rest)
