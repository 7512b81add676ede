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


@pytest.fixture
def pack(slicer):
    from slicer.parameterNodeWrapper import Label, WithinRange, parameterPack

    @parameterPack
    class Inner:
        count: Annotated[int, WithinRange(0, 9), Label("How many")]
        text: str

    @parameterPack
    class Outer:
        first: Inner
        second: Inner
        use: bool

    return SimpleNamespace(Inner=Inner, Outer=Outer)


def test_dotted_names_bind_members_of_a_pack(make_parameters, pack):
    import qt

    window = qt.QWidget()
    count, use = qt.QSpinBox(window), qt.QCheckBox(window)
    count.setProperty("SlicerParameterName", "p.second.count")
    use.setProperty("SlicerParameterName", "p.use")
    parameters = make_parameters(pack.Outer)
    parameters.connectGui(window)
    count.value = 4
    use.checked = True
    assert parameters.p == pack.Outer(pack.Inner(), pack.Inner(4, ""), True)
    parameters.p.second.count = 6
    assert count.value == 6
    parameters.p = pack.Outer()
    assert (count.value, use.checked) == (0, False)


def test_created_gui_is_bound_to_a_whole_wrapper(slicer, make_parameters, pack):
    import qt
    from slicer.parameterNodeWrapper import createGui, findChildWidgetForParameter

    parameters = make_parameters(pack.Outer, model=slicer.vtkMRMLModelNode)
    gui = createGui(type(parameters))
    gui.setMRMLScene(slicer.mrmlScene)
    parameters.connectGui(gui)

    count = findChildWidgetForParameter(gui, "p.first.count")
    assert (type(count), count.maximum) == (qt.QSpinBox, 9)
    assert "How many" in [label.text for label in gui.findChildren(qt.QLabel)]
    assert findChildWidgetForParameter(gui, "p.first.missing") is None
    assert findChildWidgetForParameter(gui, "missing") is None
    count.value = 5
    findChildWidgetForParameter(gui, "p.second.text").text = "typed"
    assert parameters.p == pack.Outer(pack.Inner(5, ""), pack.Inner(0, "typed"), False)
    parameters.p.first.count = 2
    assert count.value == 2

    selector = findChildWidgetForParameter(gui, "model")
    assert selector.mrmlScene() is slicer.mrmlScene
    parameters.model = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode")
    assert selector.currentNode() is parameters.model


def test_created_widget_fits_the_type(slicer):
    import ctk
    import qt
    from slicer.parameterNodeWrapper import Choice, FloatRange, Minimum, WithinRange, createGui

    expected = {
        bool: qt.QCheckBox,
        int: qt.QSpinBox,
        float: qt.QDoubleSpinBox,
        Annotated[float, Minimum(0)]: qt.QDoubleSpinBox,
        Annotated[float, WithinRange(0, 1)]: ctk.ctkSliderWidget,
        Annotated[int, WithinRange(0, 1)]: qt.QSpinBox,
        str: qt.QLineEdit,
        Annotated[str, Choice(("a", "b"))]: qt.QComboBox,
        Axis: qt.QComboBox,
        FloatRange: ctk.ctkRangeWidget,
        pathlib.Path: ctk.ctkPathLineEdit,
        slicer.vtkMRMLModelNode: slicer.qMRMLNodeComboBox,
        slicer.vtkMRMLModelNode | None: slicer.qMRMLNodeComboBox,
    }
    assert {datatype: type(createGui(datatype)) for datatype in expected} == expected
    with pytest.raises(RuntimeError, match="No widget"):
        createGui(complex)


def test_registered_connector_and_creator_are_used(slicer, make_parameters):
    import qt
    from slicer.parameterNodeWrapper import (
        GuiConnector,
        GuiCreator,
        createGui,
        parameterNodeGuiConnector,
        parameterNodeGuiCreator,
    )

    class Dial(qt.QDial):
        pass

    @parameterNodeGuiConnector
    class DialConnector(GuiConnector):
        @staticmethod
        def canRepresent(widget, datatype):
            return type(widget) is Dial and datatype is int

        @staticmethod
        def create(widget, datatype):
            connector = DialConnector()
            connector.dial = widget
            return connector

        def _connect(self):
            self.dial.valueChanged.connect(self.changed)

        def _disconnect(self):
            self.dial.valueChanged.disconnect(self.changed)

        def widget(self):
            return self.dial

        def read(self):
            return self.dial.value

        def write(self, value):
            self.dial.value = value

    @parameterNodeGuiCreator
    class DialCreator(GuiCreator):
        @staticmethod
        def representationValue(datatype):
            return 95 if datatype is bytes else 0

        @staticmethod
        def create(datatype):
            return Dial()

    dial = createGui(bytes)
    parameters = make_parameters(int)
    parameters.connectParametersToGui({"p": dial})
    dial.value = 12
    assert parameters.p == 12
    parameters.p = 30
    assert dial.value == 30
