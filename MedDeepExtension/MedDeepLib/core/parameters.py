"""Typed parameters of a method: one dataclass defines the panel's form, the script's flags and the validation.

    @dataclass(frozen=True)
    class Parameters:
        steps: int = parameter(1000, "Training steps (one batch each).", minimum=1, maximum=1_000_000)
        loss: str = parameter("dice_ce", "What training minimises.", choices=("dice_ce", "ce"))

Types: bool, int, float, str, and tuples of int or float (``tuple[int, ...]``), written ``32,64,128`` on a command line.

Inherited parameters get other defaults from :func:`with_defaults`, without being declared again.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from MedDeepLib.errors import UserError

_Class = TypeVar("_Class", bound=type)
_TRUE, _FALSE = {"true", "yes", "on", "1"}, {"false", "no", "off", "0"}


@dataclass(frozen=True)
class ParameterInfo:
    """One parameter as a form or a help text needs it; ``item`` is the type of a tuple's members.

    ``matters``: whether results depend on it; False for what only saves time or memory. ``switch``: the two choices
    that yes and no stand for, in a parameter that used to be a bool.
    """

    name: str
    type: type
    default: Any
    help: str
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple = ()
    advanced: bool = False
    matters: bool = True
    switch: tuple = ()
    item: type | None = None

    def choice(self, value: Any) -> Any:
        """``value``, or the choice that a yes or no stands for, as in older jobs, scenes and scripts."""
        text = str(value).strip().lower()
        if not self.switch or text not in _TRUE | _FALSE:
            return value
        return self.switch[0 if text in _TRUE else 1]


def parameter(
    default, help, *, unit="", minimum=None, maximum=None, choices=(), advanced=False, matters=True, switch=()
):
    """A dataclass field with its description: help, unit, range or choices, and whether results depend on it; see
    :class:`ParameterInfo`.
    """
    metadata = {
        "help": help,
        "unit": unit,
        "minimum": minimum,
        "maximum": maximum,
        "choices": tuple(choices),
        "advanced": advanced,
        "matters": matters,
        "switch": tuple(switch),
    }
    return dataclasses.field(default=default, metadata=metadata)


def with_defaults(**defaults: Any) -> Callable[[_Class], _Class]:
    """Other defaults for inherited parameters, whose help, range and place in the form stay as they are::

        @dataclass(frozen=True)
        @with_defaults(steps=500, rotation=0.0)
        class Parameters(TrainingParameters):
            features: int = parameter(8, "Feature maps.", minimum=1)

    It stands below ``dataclass``, which then sees the parameters as if they were declared again. Raises TypeError for
    a name that no parameter has, and UserError for a default that the parameter itself would refuse.
    """

    def redeclare(cls: _Class) -> _Class:
        if "__dataclass_params__" in vars(cls):
            raise TypeError(f"{cls.__name__}: with_defaults stands below dataclass, not above it")
        bases = [base for base in cls.__mro__[1:] if dataclasses.is_dataclass(base)]
        inherited = {info.name: info for base in reversed(bases) for info in describe(base)}
        fields = {field.name: field for base in reversed(bases) for field in dataclasses.fields(base)}
        for name, value in defaults.items():
            if name not in inherited:
                raise TypeError(f"{cls.__name__} inherits no parameter '{name}', only {', '.join(inherited)}")
            default = _checked(inherited[name], value)
            setattr(cls, name, dataclasses.field(default=default, metadata=fields[name].metadata))
            cls.__annotations__[name] = fields[name].type
        return cls

    return redeclare


def describe(cls: type) -> list[ParameterInfo]:
    """The parameters of a dataclass in the order in which they are declared."""
    hints = typing.get_type_hints(cls)
    infos = []
    for field in dataclasses.fields(cls):
        declared = hints[field.name]
        item = typing.get_args(declared)[0] if typing.get_origin(declared) is tuple else None
        infos.append(
            ParameterInfo(
                name=field.name,
                type=tuple if item else declared,
                default=field.default,
                item=item,
                **field.metadata,
            )
        )
    return infos


def from_mapping(cls: type, values: Mapping[str, Any]):
    """An instance of the dataclass ``cls`` from values or their text; everything not named keeps its default.

    Raises UserError for an unknown name, a value of the wrong type, out of range or not among the choices.
    """
    infos = {info.name: info for info in describe(cls)}
    unknown = sorted(set(values) - set(infos))
    if unknown:
        similar = difflib.get_close_matches(unknown[0], infos, n=1)
        advice = f"'{similar[0]}' may be meant." if similar else f"the parameters are {', '.join(infos)}."
        raise UserError(f"There is no parameter '{unknown[0]}': {advice}")
    return cls(**{name: _checked(infos[name], value) for name, value in values.items()})


def to_mapping(parameters) -> dict[str, Any]:
    """The parameters as plain JSON values."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in dataclasses.asdict(parameters).items()
    }


def settings_that_matter(parameters) -> dict[str, Any]:
    """The parameters on which results depend, as plain JSON values."""
    values = to_mapping(parameters)
    return {info.name: values[info.name] for info in describe(type(parameters)) if info.matters}


def _checked(info: ParameterInfo, value):
    value = info.choice(value)
    try:
        converted = _converted(info, value)
    except (TypeError, ValueError):
        kind = {bool: "yes or no", int: "a whole number", float: "a number", str: "text"}.get(info.type)
        kind = kind or ("whole numbers" if info.item is int else "numbers") + " separated by commas"
        raise UserError(f"Parameter '{info.name}' must be {kind}, not '{value}'.") from None
    if info.choices and converted not in info.choices:
        choices = ", ".join(map(str, info.choices))
        raise UserError(f"Parameter '{info.name}' must be one of {choices}, not '{value}'.")
    for number in converted if isinstance(converted, tuple) else (converted,):
        _check_range(info, number)
    return converted


def _converted(info: ParameterInfo, value):
    if info.item:
        parts = value.replace(";", ",").split(",") if isinstance(value, str) else list(value)
        numbers = tuple(_scalar(info.item, part) for part in parts if part != "")
        if not numbers:
            raise ValueError(value)
        return numbers
    return _scalar(info.type, value)


def _scalar(kind: type, value):
    if kind is bool:
        if isinstance(value, bool):
            return value
        text = str(value).strip().lower()
        if text not in _TRUE | _FALSE:
            raise ValueError(value)
        return text in _TRUE
    if isinstance(value, bool):
        raise TypeError(value)
    if kind is int and isinstance(value, float) and not value.is_integer():
        raise ValueError(value)
    converted = kind(value.strip() if isinstance(value, str) else value)
    if kind is float and not math.isfinite(converted):
        raise ValueError(value)
    return converted


def _check_range(info: ParameterInfo, number) -> None:
    unit = f" {info.unit}" if info.unit else ""
    if info.minimum is not None and number < info.minimum:
        raise UserError(f"Parameter '{info.name}' must be at least {info.minimum}{unit}, not {number}.")
    if info.maximum is not None and number > info.maximum:
        raise UserError(f"Parameter '{info.name}' must be at most {info.maximum}{unit}, not {number}.")
