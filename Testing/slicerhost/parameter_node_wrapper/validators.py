"""Validators: annotations that refuse values a parameter may not have."""

from __future__ import annotations

import abc
from collections.abc import Collection, Iterable
from typing import Any


class Validator(abc.ABC):
    """Base of all validators; a class derived from it or an instance can annotate a parameter."""

    @abc.abstractmethod
    def validate(self, value: Any) -> None:
        """Raise ValueError (or TypeError) if the parameter may not have this value."""

    def __repr__(self) -> str:
        arguments = ", ".join(repr(value) for value in vars(self).values())
        return f"{type(self).__name__}({arguments})"


def extractValidators(annotations: Iterable) -> tuple[list, list]:
    """Separate validators from the other annotations."""

    def isValidator(item: Any) -> bool:
        return isinstance(item, Validator) or (isinstance(item, type) and issubclass(item, Validator))

    annotations = list(annotations)
    return [item for item in annotations if isValidator(item)], [item for item in annotations if not isValidator(item)]


class IsNone(Validator):
    """The value must be None."""

    def validate(self, value: Any) -> None:
        if value is not None:
            raise ValueError(f"The value must be None, it is {value!r}.")


class NotNone(Validator):
    """The value must not be None."""

    def validate(self, value: Any) -> None:
        if value is None:
            raise ValueError("The value must not be None.")


class IsInstance(Validator):
    """The value must be None or an instance of the class (or of one of a tuple of classes)."""

    def __init__(self, classtype: type | tuple[type, ...]) -> None:
        self.classtype = classtype

    def validate(self, value: Any) -> None:
        if value is not None and not isinstance(value, self.classtype):
            raise TypeError(f"The value must be a {self.classtype}, {value!r} is a {type(value)}.")


class WithinRange(Validator):
    """The value must be in the closed interval."""

    def __init__(self, minimum: float, maximum: float) -> None:
        self.minimum = minimum
        self.maximum = maximum

    def validate(self, value: Any) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"The value must be within [{self.minimum}, {self.maximum}], it is {value}.")


class Minimum(Validator):
    """The value must not be less than the minimum."""

    def __init__(self, minimum: float) -> None:
        self.minimum = minimum

    def validate(self, value: Any) -> None:
        if not value >= self.minimum:
            raise ValueError(f"The value must be at least {self.minimum}, it is {value}.")


class Maximum(Validator):
    """The value must not be greater than the maximum."""

    def __init__(self, maximum: float) -> None:
        self.maximum = maximum

    def validate(self, value: Any) -> None:
        if not value <= self.maximum:
            raise ValueError(f"The value must be at most {self.maximum}, it is {value}.")


class Choice(Validator):
    """The value must be one of the choices."""

    def __init__(self, choices: Collection) -> None:
        self.choices = choices

    def validate(self, value: Any) -> None:
        if value not in self.choices:
            raise ValueError(f"The value must be one of {self.choices}, it is {value!r}.")


class Exclude(Validator):
    """The value must be none of the excluded values."""

    def __init__(self, excludedValues: Collection) -> None:
        self.excludedValues = excludedValues

    def validate(self, value: Any) -> None:
        if value in self.excludedValues:
            raise ValueError(f"The value must be none of {self.excludedValues}, it is {value!r}.")


class RangeBounds(Validator):
    """The range (an object with `minimum` and `maximum`) must lie within the bounds."""

    def __init__(self, minimum: float, maximum: float) -> None:
        self.minimum = minimum
        self.maximum = maximum

    def validate(self, value: Any) -> None:
        if not (self.minimum <= value.minimum and value.maximum <= self.maximum):
            raise ValueError(
                f"The range must lie within [{self.minimum}, {self.maximum}], it is [{value.minimum}, {value.maximum}]."
            )
