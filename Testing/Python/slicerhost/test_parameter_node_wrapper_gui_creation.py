"""Widgets of parameter packs, created widgets, and connectors and creators that a module registers."""

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
