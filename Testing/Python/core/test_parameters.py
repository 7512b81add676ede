"""Typed parameters: one dataclass, from values or text."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass, replace

import pytest
from MedDeepLib.core import describe, from_mapping, parameter, to_mapping, with_defaults
from MedDeepLib.errors import UserError


@dataclass(frozen=True)
class Sample:
    steps: int = parameter(10, "Steps.", unit="steps", minimum=1, maximum=100)
    rate: float = parameter(0.5, "Rate.", minimum=0.0)
    name: str = parameter("a", "Name.", choices=("a", "b"))
    fast: bool = parameter(False, "Fast?", advanced=True)
    size: tuple[int, ...] = parameter((1, 2), "Size.", minimum=1)
    window: tuple[float, ...] = parameter((-1.0, 1.5), "Window.")


@dataclass(frozen=True)
class Derived(Sample):
    extra: int = parameter(3, "More.", choices=(3, 4))


def test_nothing_given_means_the_defaults():
    assert from_mapping(Sample, {}) == Sample()


def test_text_and_values_give_the_same():
    text = {"steps": " 7 ", "rate": "1e-3", "name": "b", "fast": "Yes", "size": "4, 5;6", "window": "-200,300"}
    values = {"steps": 7.0, "rate": 1e-3, "name": "b", "fast": True, "size": [4, 5, 6], "window": (-200, 300)}
    expected = Sample(steps=7, rate=1e-3, name="b", fast=True, size=(4, 5, 6), window=(-200.0, 300.0))
    assert from_mapping(Sample, text) == expected
    assert from_mapping(Sample, values) == expected
    assert type(from_mapping(Sample, values).steps) is int
    assert all(type(value) is float for value in from_mapping(Sample, values).window)


@pytest.mark.parametrize("text, value", [("on", True), ("1", True), ("TRUE", True), ("off", False), ("No", False)])
def test_the_ways_to_say_yes_and_no(text, value):
    assert from_mapping(Sample, {"fast": text}).fast is value


@dataclass(frozen=True)
class More:
    keep: str = parameter("automatic", "Keep?", choices=("automatic", "always", "never"), switch=("always", "never"))


@pytest.mark.parametrize(
    "value, choice",
    [(True, "always"), (False, "never"), ("true", "always"), ("no", "never"), ("automatic", "automatic")],
)
def test_yes_and_no_where_there_are_more_choices_now(value, choice):
    assert from_mapping(More, {"keep": value}).keep == choice
    with pytest.raises(UserError, match="must be one of automatic, always, never, not 'perhaps'"):
        from_mapping(More, {"keep": "perhaps"})
    with pytest.raises(UserError):
        from_mapping(Sample, {"name": value})


@pytest.mark.parametrize(
    "values, sentence",
    [
        ({"step": 1}, "There is no parameter 'step': 'steps' may be meant."),
        ({"xyz": 1}, "There is no parameter 'xyz': the parameters are steps, rate, name, fast, size, window."),
        ({"steps": "many"}, "Parameter 'steps' must be a whole number, not 'many'."),
        ({"steps": 1.5}, "Parameter 'steps' must be a whole number, not '1.5'."),
        ({"steps": True}, "Parameter 'steps' must be a whole number, not 'True'."),
        ({"steps": None}, "Parameter 'steps' must be a whole number, not 'None'."),
        ({"steps": float("inf")}, "Parameter 'steps' must be a whole number, not 'inf'."),
        ({"steps": 0}, "Parameter 'steps' must be at least 1 steps, not 0."),
        ({"steps": 101}, "Parameter 'steps' must be at most 100 steps, not 101."),
        ({"rate": "fast"}, "Parameter 'rate' must be a number, not 'fast'."),
        ({"rate": "nan"}, "Parameter 'rate' must be a number, not 'nan'."),
        ({"rate": "inf"}, "Parameter 'rate' must be a number, not 'inf'."),
        ({"rate": -0.1}, "Parameter 'rate' must be at least 0.0, not -0.1."),
        ({"name": "c"}, "Parameter 'name' must be one of a, b, not 'c'."),
        ({"fast": "perhaps"}, "Parameter 'fast' must be yes or no, not 'perhaps'."),
        ({"size": "1,two"}, "Parameter 'size' must be whole numbers separated by commas, not '1,two'."),
        ({"size": 3}, "Parameter 'size' must be whole numbers separated by commas, not '3'."),
        ({"size": "3,0"}, "Parameter 'size' must be at least 1, not 0."),
        ({"size": ""}, "Parameter 'size' must be whole numbers separated by commas, not ''."),
        ({"window": "low,high"}, "Parameter 'window' must be numbers separated by commas, not 'low,high'."),
    ],
)
def test_every_mistake_is_one_sentence(values, sentence):
    with pytest.raises(UserError) as caught:
        from_mapping(Sample, values)
    assert str(caught.value) == sentence


def test_description_for_a_form():
    infos = {info.name: info for info in describe(Derived)}
    assert list(infos) == ["steps", "rate", "name", "fast", "size", "window", "extra"]
    steps = infos["steps"]
    assert (steps.type, steps.default, steps.unit, steps.minimum, steps.maximum) == (int, 10, "steps", 1, 100)
    assert (infos["size"].type, infos["size"].item) == (tuple, int)
    assert infos["fast"].advanced and not infos["rate"].advanced
    assert infos["extra"].choices == (3, 4)


def test_choices_of_a_number_are_compared_as_numbers():
    assert from_mapping(Derived, {"extra": "4"}).extra == 4
    with pytest.raises(UserError, match="one of 3, 4"):
        from_mapping(Derived, {"extra": 5})


def test_to_mapping_is_plain_json_and_comes_back():
    import json

    sample = Sample(size=(7, 8), fast=True)
    mapping = json.loads(json.dumps(to_mapping(sample)))
    assert mapping["size"] == [7, 8]
    assert from_mapping(Sample, mapping) == sample


@dataclass(frozen=True)
@with_defaults(steps=50, size=[7, 8])
class Longer(Derived):
    depth: int = parameter(2, "Depth.")


@dataclass(frozen=True)
@with_defaults(steps=60)
class Longest(Longer):
    """One more level of inheritance, without new parameters."""


def test_another_default_is_not_another_parameter():
    infos, before = describe(Longer), {info.name: info for info in describe(Derived)}
    assert [info.name for info in infos] == [*before, "depth"]
    for info in infos[:-1]:
        changed = {"steps": 50, "size": (7, 8)}.get(info.name, info.default)
        assert info == replace(before[info.name], default=changed)
    assert Longer() == Longer(steps=50, size=(7, 8)) == from_mapping(Longer, {})
    assert Longest() == Longest(steps=60, size=(7, 8)) and Longest().depth == 2
    assert Sample().steps == Derived().steps == 10, "the parameters inherited from are left alone"
    with pytest.raises(UserError, match="at most 100 steps, not 101"):
        from_mapping(Longest, {"steps": 101})
    with pytest.raises(FrozenInstanceError):
        Longest().steps = 1


def test_a_default_that_cannot_be_is_told_when_the_class_is_made():
    with pytest.raises(TypeError, match="Wrong inherits no parameter 'stepz', only steps, "):

        @with_defaults(stepz=1)
        class Wrong(Sample):
            pass

    with pytest.raises(UserError, match="'steps' must be at most 100 steps, not 500"):
        with_defaults(steps=500)(type("TooMany", (Sample,), {"__annotations__": {}}))
    with pytest.raises(TypeError, match="below dataclass"):
        with_defaults(steps=5)(Derived)
