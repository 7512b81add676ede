"""Widgets bound to parameters, in both directions."""

# No `from __future__ import annotations` here: the types of parameters that are classes inside a test
# function could not be looked up from their names.

import enum
import pathlib
from types import SimpleNamespace
from typing import Annotated

import pytest


class Axis(enum.Enum):
    LEFT = "l"
    UP = "u"

    def label(self):
        return self.name.capitalize()


@pytest.fixture
def slicer(host):
    import slicer

    return slicer


@pytest.fixture
def make_parameters(slicer):
    """Return a function that wraps a new parameter node with the one parameter `p` of a given type."""

    def make(datatype, **members):
        hints = {"p": datatype, **members}
        Parameters = slicer.parameterNodeWrapper.parameterNodeWrapper(type("P", (), {"__annotations__": hints}))
        return Parameters(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))

    return make


def _widget(library, name):
    import ctk
    import qt
    import slicer

    return getattr({"qt": qt, "ctk": ctk, "slicer": slicer}[library], name)()


def _cases():
    """Library and class of the widget, parameter type as function of the wrapper module, attribute, two values."""

    def choice(pnw):
        return Annotated[str, pnw.Choice(["a", "b", "c"]), pnw.Default("a")]

    def bounded(pnw):
        return Annotated[float, pnw.WithinRange(0, 10)]

    def path(pnw):
        return pathlib.Path

    return [
        ("qt", "QCheckBox", lambda pnw: bool, "checked", True, False, bool),
        ("ctk", "ctkCheckBox", lambda pnw: bool, "checked", True, False, bool),
        ("qt", "QPushButton", lambda pnw: bool, "checked", True, False, bool),
        ("qt", "QSpinBox", lambda pnw: int, "value", 7, -123456, int),
        ("qt", "QSlider", lambda pnw: Annotated[int, pnw.WithinRange(-2, 9)], "value", 7, 3, int),
        ("qt", "QDoubleSpinBox", lambda pnw: float, "value", 7.5, -1e6, float),
        ("ctk", "ctkDoubleSpinBox", lambda pnw: float, "value", 7.5, -1.25, float),
        ("ctk", "ctkSliderWidget", bounded, "value", 7.5, 2.0, float),
        ("slicer", "qMRMLSliderWidget", bounded, "value", 7.5, 2.0, float),
        ("qt", "QLineEdit", lambda pnw: str, "text", "one", "two", str),
        ("qt", "QComboBox", choice, "currentText", "b", "c", str),
        ("ctk", "ctkComboBox", choice, "currentText", "b", "c", str),
        ("qt", "QComboBox", lambda pnw: Axis, "currentText", "Up", "Left", lambda text: Axis[text.upper()]),
        ("ctk", "ctkPathLineEdit", path, "currentPath", "a/b.nrrd", "c d", pathlib.Path),
        ("ctk", "ctkDirectoryButton", path, "directory", "some/folder", "other", pathlib.Path),
    ]


@pytest.mark.parametrize(
    ("library", "widget_class", "datatype", "attribute", "first", "second", "to_value"),
    _cases(),
    ids=lambda item: item if isinstance(item, str) and item[0] in "Qcq" else "",
)
def test_widget_and_parameter_follow_each_other(
    slicer, make_parameters, library, widget_class, datatype, attribute, first, second, to_value
):
    parameters = make_parameters(datatype(slicer.parameterNodeWrapper))
    widget = _widget(library, widget_class)
    tag = parameters.connectParametersToGui({"p": widget})
    assert to_value(getattr(widget, attribute)) == parameters.p

    setattr(widget, attribute, first)
    assert parameters.p == to_value(first)
    parameters.p = to_value(second)
    assert to_value(getattr(widget, attribute)) == to_value(second)

    parameters.disconnectGui(tag)
    setattr(widget, attribute, first)
    assert parameters.p == to_value(second)
    parameters.p = parameters.p
    assert to_value(getattr(widget, attribute)) == to_value(first)


def test_text_edit_and_label(make_parameters):
    import qt

    parameters = make_parameters(str)
    edit, label = qt.QTextEdit(), qt.QLabel()
    parameters.connectParametersToGui({"p": edit})
    parameters.connectParametersToGui({"p": label})
    edit.setHtml("first<br/><b>second</b>")
    assert parameters.p == label.text == "first\nsecond"
    label.text = "only shown"
    assert parameters.p == "first\nsecond"
    parameters.p = "third"
    assert (edit.toPlainText(), label.text) == ("third", "third")


def test_colour_button(make_parameters):
    import ctk
    import qt

    parameters = make_parameters(qt.QColor)
    button = ctk.ctkColorPickerButton()
    parameters.connectParametersToGui({"p": button})
    assert button.color == qt.QColor("black")
    button.color = qt.QColor("green")
    assert parameters.p == qt.QColor("green")
    parameters.p = qt.QColor("blue")
    assert button.color == qt.QColor("blue")


@pytest.mark.parametrize("widget_class", ["ctk.ctkRangeWidget", "ctk.ctkDoubleRangeSlider", "slicer.qMRMLRangeWidget"])
def test_range_widget(slicer, make_parameters, widget_class):
    from slicer.parameterNodeWrapper import Default, FloatRange, RangeBounds

    parameters = make_parameters(Annotated[FloatRange, RangeBounds(-5, 20), Default(FloatRange(1, 2))])
    widget = _widget(*widget_class.split("."))
    parameters.connectParametersToGui({"p": widget})
    assert (widget.minimum, widget.maximum) == (-5, 20)
    assert (widget.minimumValue, widget.maximumValue) == (1, 2)
    widget.maximumValue = 8
    assert parameters.p == FloatRange(1, 8)
    parameters.p = FloatRange(-4, 15)
    assert (widget.minimumValue, widget.maximumValue) == (-4, 15)


def test_annotations_set_up_the_widget(slicer, make_parameters):
    import qt
    from slicer.parameterNodeWrapper import Decimals, Default, Maximum, Minimum, SingleStep

    annotations = Minimum(0.125), Maximum(0.875), Default(0.5), Decimals(3), SingleStep(0.25)
    spin_box = qt.QDoubleSpinBox()
    make_parameters(Annotated[float, *annotations]).connectParametersToGui({"p": spin_box})
    assert (spin_box.minimum, spin_box.maximum, spin_box.value) == (0.125, 0.875, 0.5)
    assert (spin_box.decimals, spin_box.singleStep) == (3, 0.25)

    spin_box = qt.QSpinBox()
    make_parameters(int).connectParametersToGui({"p": spin_box})
    assert (spin_box.minimum, spin_box.maximum) == (-(2**31), 2**31 - 1)


@pytest.mark.parametrize(
    ("widget_class", "datatype", "message"),
    [
        ("qt.QSlider", int, "both bounds"),
        ("ctk.ctkSliderWidget", float, "both bounds"),
        ("slicer.qMRMLSliderWidget", float, "both bounds"),
        ("qt.QComboBox", str, "Choice"),
        ("qt.QCheckBox", int, "QCheckBox cannot be bound"),
        ("qt.QSpinBox", float, "QSpinBox cannot be bound"),
        ("qt.QPlainTextEdit", str, "QPlainTextEdit cannot be bound"),
    ],
)
def test_what_slicer_cannot_bind_is_an_error(make_parameters, widget_class, datatype, message):
    with pytest.raises(RuntimeError, match=message):
        make_parameters(datatype).connectParametersToGui({"p": _widget(*widget_class.split("."))})


def test_unknown_parameter_name_of_a_widget_is_an_error(make_parameters):
    with pytest.raises(ValueError, match="'q'"):
        make_parameters(int).connectParametersToGui({"q": _widget("qt", "QSpinBox")})


def test_node_selector_offers_the_parameters_classes(slicer, make_parameters):
    parameters = make_parameters(slicer.vtkMRMLModelNode | slicer.vtkMRMLTransformNode | None)
    model = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode")
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    selector = slicer.qMRMLNodeComboBox()
    selector.noneEnabled = True
    selector.setMRMLScene(slicer.mrmlScene)
    parameters.connectParametersToGui({"p": selector})
    assert tuple(selector.nodeTypes) == ("vtkMRMLModelNode", "vtkMRMLTransformNode")
    assert selector.currentNode() is None
    selector.setCurrentNode(model)
    assert parameters.p is model
    parameters.p = transform
    assert selector.currentNode() is transform
    parameters.p = None
    assert selector.currentNode() is None


@pytest.mark.parametrize("widget_class", ["qMRMLSubjectHierarchyTreeView", "qMRMLSubjectHierarchyComboBox"])
def test_subject_hierarchy_selector(slicer, make_parameters, widget_class):
    parameters = make_parameters(slicer.vtkMRMLModelNode)
    selector = getattr(slicer, widget_class)()
    selector.setMRMLScene(slicer.mrmlScene)
    parameters.connectParametersToGui({"p": selector})
    first, second = (slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode") for _ in range(2))
    assert parameters.p is None
    selector.setCurrentNode(second)
    assert parameters.p is second
    parameters.p = first
    assert selector.currentNode() is first
    parameters.p = None
    assert not selector.currentNode()


def test_ticked_nodes_are_a_list_of_nodes(slicer, make_parameters):
    import qt

    models = [slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode", name) for name in "ABC"]
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode")
    selector = slicer.qMRMLCheckableNodeComboBox()
    selector.setMRMLScene(slicer.mrmlScene)
    parameters = make_parameters(list[slicer.vtkMRMLModelNode])
    parameters.p = models[:1]
    parameters.connectParametersToGui({"p": selector})
    assert (selector.nodeCount(), list(selector.checkedNodes())) == (3, models[:1])
    selector.setCheckState(models[2], qt.Qt.Checked)
    assert parameters.p == [models[0], models[2]]
    parameters.p = [models[1]]
    assert list(selector.checkedNodes()) == [models[1]]


def test_node_that_leaves_the_scene_leaves_selector_and_parameter(slicer, make_parameters):
    parameters = make_parameters(slicer.vtkMRMLModelNode)
    selector = slicer.qMRMLNodeComboBox()
    selector.noneEnabled = True
    selector.setMRMLScene(slicer.mrmlScene)
    parameters.connectParametersToGui({"p": selector})
    parameters.p = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode")
    slicer.mrmlScene.RemoveNode(parameters.p)
    assert selector.currentNode() is None
    assert parameters.p is None


def test_new_node_after_scene_close_begins_with_the_defaults(host, slicer):
    import qt
    from slicer.parameterNodeWrapper import Default, parameterNodeWrapper

    @parameterNodeWrapper
    class Parameters:
        p: Annotated[int, Default(3)]

    spin_box = qt.QSpinBox()
    spin_box.setProperty("SlicerParameterName", "p")
    ui = SimpleNamespace(spin_box=spin_box, other=qt.QSpinBox())

    before = Parameters(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))
    tag = before.connectGui(ui)
    spin_box.value = 8
    assert before.p == 8

    before.disconnectGui(tag)
    host.close_scene()
    after = Parameters(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))
    after.connectGui(ui)
    assert (after.p, spin_box.value) == (3, 3)
    spin_box.value = 9
    assert (before.p, after.p) == (8, 9)
