"""The form made from a dataclass of parameters: one field for every kind, values in and out, limits and mistakes."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
from MedDeepLib.core import from_mapping, methods, parameter, to_mapping


@dataclass(frozen=True)
class EveryKind:
    switch: bool = parameter(True, "A switch.")
    count: int = parameter(10, "A count.", unit="steps", minimum=1, maximum=500)
    unlimited: int = parameter(3, "A count without limits.")
    share: float = parameter(0.25, "A share.", minimum=0.0, maximum=1.0)
    rate: float = parameter(1e-3, "A number of any magnitude.", minimum=0.0)
    size: tuple[int, ...] = parameter((96, 96, 64), "A size.", unit="voxels", minimum=1)
    spacing: tuple[float, ...] = parameter((0.0, 1.5), "A spacing.", unit="mm")
    choice: str = parameter("dice_ce", "A choice.", choices=("dice_ce", "dice"))
    number_choice: int = parameter(3, "A choice of numbers.", choices=(2, 3))
    name: str = parameter("abc", "A text.")
    hidden: float = parameter(0.5, "An advanced one.", minimum=0.0, maximum=5.0, advanced=True)


OTHER_VALUES = {
    "switch": False,
    "count": 20,
    "unlimited": -7,
    "share": 0.3,
    "rate": 3e-5,
    "size": [32, 48],
    "spacing": [0.5, 2.0],
    "choice": "dice",
    "number_choice": 2,
    "name": "xyz",
    "hidden": 1.125,
}


@pytest.fixture
def form(host):
    import qt
    from MedDeepLib.panels.fields.parameter_form import ParameterForm

    parent = qt.QWidget()
    form = ParameterForm(parent)
    form.set_class(EveryKind)
    yield form
    parent.delete()


def test_shows_the_defaults_and_calls_them_unchanged(form):
    assert form.value() == {}
    assert form.problem() == ""
    for name, default in to_mapping(EveryKind()).items():
        value = form.field(name).value()
        assert (list(value) if isinstance(value, tuple) else value) == default


@pytest.mark.parametrize("name", OTHER_VALUES)
def test_a_value_of_each_kind_goes_in_and_comes_out(form, name):
    form.set_value({name: OTHER_VALUES[name]})
    assert form.value() == {name: OTHER_VALUES[name]}
    assert form.problem() == ""


def test_values_survive_json_and_make_the_dataclass(form):
    form.set_value(json.loads(json.dumps(OTHER_VALUES)))
    assert form.value() == OTHER_VALUES
    assert to_mapping(from_mapping(EveryKind, form.value())) == OTHER_VALUES


def test_what_the_user_does_is_told_and_comes_out(form):
    told = []
    form.changes.connect(lambda: told.append(form.value()))
    form.field("switch").widget.click()
    form.field("count").widget.value = 11
    form.field("share").widget.stepUp()
    form.field("rate").widget.text = "1e-4"
    form.field("size").widget.findChild("QLineEdit").text = "64, 64, 32"
    form.field("choice").widget.currentIndex = 1
    assert form.value() == {
        "switch": False, "count": 11, "share": 0.3, "rate": 1e-4, "size": [64, 64, 32], "choice": "dice"
    }  # fmt: skip
    assert told[0] == {"switch": False}
    assert told[-1] == form.value()


def test_limits_and_units_are_on_the_widgets(form):
    count = form.field("count").widget
    assert (count.minimum, count.maximum, count.suffix) == (1, 500, " steps")
    share = form.field("share").widget
    assert (share.minimum, share.maximum) == (0.0, 1.0)
    assert "voxels" in [label.text for label in form.field("size").widget.findChildren("QLabel")]
    assert form.field("count").widget.toolTip == "A count.\nDefault: 10 steps"


def test_a_mistake_is_one_sentence(form):
    form.field("rate").widget.text = "fast"
    assert form.problem() == "Parameter 'rate' must be a number, not 'fast'."
    form.field("rate").widget.text = "-1"
    assert "must be at least 0" in form.problem()
    form.field("rate").widget.text = "0.1"
    form.field("size").widget.findChild("QLineEdit").text = "1, two"
    assert form.problem() == "Parameter 'size' must be whole numbers separated by commas, not '1, two'."


def test_reset_brings_all_defaults_back(form):
    button = form._contents.findChildren("QPushButton")[0]
    assert not button.enabled
    form.set_value(OTHER_VALUES)
    assert button.enabled
    button.click()
    assert form.value() == {}
    assert not button.enabled


def test_advanced_parameters_are_folded_away(form):
    box = form._contents.findChild("ctkCollapsibleGroupBox")
    assert box.collapsed
    assert [child.name for child in box.findChildren("QDoubleSpinBox")] == ["hidden"]


def test_settings_of_another_version_do_no_harm(form):
    form.set_value({"no such parameter": 1, "choice": "not a choice any more", "count": 12})
    assert form.value() == {"count": 12}


def test_every_method_has_a_form_that_keeps_its_defaults(host):
    """Rounding by a widget would change a default that nobody has touched."""
    import qt
    from MedDeepLib.panels.fields.parameter_form import ParameterForm

    for method in methods("segment").values():
        for parameters in (method.Parameters, method.ApplyParameters):
            parent = qt.QWidget()
            form = ParameterForm(parent)
            form.set_class(parameters)
            assert form.value() == {}
            assert form.problem() == ""
            parent.delete()
