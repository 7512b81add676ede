"""Values of every type: written, read back, saved with the scene, and refused if of another type."""

# No `from __future__ import annotations` here: the types of parameters that are classes inside a test
# function could not be looked up from their names.

import enum
import http
import pathlib
from typing import Annotated, Any, Optional, Union

import pytest
import slicerhost


class Side(enum.Enum):
    LEFT = 1
    RIGHT = 2


SIMPLE_VALUES = {
    "int": (int, 0, -7, {"p": "-7"}),
    "float": (float, 0.0, 2.5, {"p": "2.5"}),
    "bool": (bool, False, True, {"p": "True"}),
    "str": (str, "", "two words", {"p": "two words"}),
    "path": (pathlib.Path, pathlib.Path(), pathlib.Path("data", "a b.nrrd"), None),
    "windows path": (pathlib.PureWindowsPath, pathlib.PureWindowsPath(), pathlib.PureWindowsPath("C:/x"), None),
    "enum": (Side, Side.LEFT, Side.RIGHT, {"p": "RIGHT"}),
    "list": (list[int], [], [3, 1], {"p.len": "2", "p.0": "3", "p.1": "1"}),
    "list of lists": (list[list[str]], [], [["a"], [], ["b", "c"]], None),
    "tuple": (tuple[int, str], (0, ""), (4, "x"), {"p.0": "4", "p.1": "x"}),
    "dict": (dict[str, float], {}, {"b": 1.0, "a": 2.0}, {"p.len": "2", "p.0.0": "b", "p.0.1": "1.0"}),
    "union": (Union[int, str], 0, "text", {"p.1": "text"}),  # noqa: UP007 - this spelling, too
    "union with |": (int | str, 0, "text", {"p.1": "text"}),
    "optional": (Optional[bool], None, False, {"p.0": "False"}),  # noqa: UP045
    "any": (Any, None, [1, "two", None], None),
    "any enum": (Any, None, http.HTTPStatus.NOT_FOUND, None),
}


@pytest.fixture(scope="module")
def slicer():
    """The running application. No test here minds what others left in the scene."""
    import slicer

    slicerhost.start()
    slicerhost.close_scene()
    yield slicer
    slicerhost.close_scene()


@pytest.fixture
def make_parameters(slicer):
    """Return a function that wraps a (new) parameter node with the one parameter `p` of a given type."""

    def make(datatype, node=None):
        @slicer.parameterNodeWrapper.parameterNodeWrapper
        class Parameters:
            p: datatype

        return Parameters(node or slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))

    return make


@pytest.mark.parametrize("kind", SIMPLE_VALUES)
def test_value_is_read_back_as_it_was_written(make_parameters, kind):
    datatype, default, value, stored = SIMPLE_VALUES[kind]
    parameters = make_parameters(datatype)
    assert parameters.p == default

    parameters.p = value
    assert parameters.p == value
    node = parameters.parameterNode
    assert make_parameters(datatype, node).p == value
    for name, text in (stored or {}).items():
        assert node.GetParameter(name) == text


def test_values_are_saved_and_loaded_with_the_scene(slicer, tmp_path):
    names = {f"p{index}": kind for index, kind in enumerate(SIMPLE_VALUES)}
    hints = {name: SIMPLE_VALUES[kind][0] for name, kind in names.items()}
    definition = type("Parameters", (), {"__annotations__": hints})
    Parameters = slicer.parameterNodeWrapper.parameterNodeWrapper(definition)
    saved = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "Kept")
    for name, kind in names.items():
        Parameters(saved).setValue(name, SIMPLE_VALUES[kind][2])
    path = tmp_path / "scene.mrml"
    assert slicer.util.saveScene(str(path))

    slicerhost.close_scene()
    slicer.util.loadScene(str(path))
    loaded = slicer.util.getNode("Kept")
    assert loaded is not saved
    for name, kind in names.items():
        assert Parameters(loaded).getValue(name) == SIMPLE_VALUES[kind][2], kind


def test_node_reference_is_saved_and_loaded_with_the_scene(slicer, make_parameters, tmp_path):
    parameters = make_parameters(slicer.vtkMRMLTransformNode)
    parameters.p = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Shift")
    parameters.parameterNode.SetName("Kept")
    path = tmp_path / "scene.mrml"
    assert slicer.util.saveScene(str(path))

    slicerhost.close_scene()
    slicer.util.loadScene(str(path))
    loaded = make_parameters(slicer.vtkMRMLTransformNode, slicer.util.getNode("Kept"))
    assert loaded.p is slicer.util.getNode("Shift")


def test_node_parameter_takes_subclasses_and_none_only(slicer, make_parameters):
    parameters = make_parameters(slicer.vtkMRMLVolumeNode)
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    parameters.p = volume
    assert parameters.p is volume
    with pytest.raises(TypeError):
        parameters.p = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode")
    assert parameters.p is volume
    parameters.p = None
    assert parameters.p is None


def test_union_of_node_classes_takes_each_of_them(slicer, make_parameters):
    datatype = slicer.vtkMRMLModelNode | slicer.vtkMRMLLabelMapVolumeNode | None
    parameters = make_parameters(datatype)
    for class_name in ("vtkMRMLModelNode", "vtkMRMLLabelMapVolumeNode"):
        parameters.p = slicer.mrmlScene.AddNewNodeByClass(class_name)
        assert parameters.p.GetClassName() == class_name
    with pytest.raises(TypeError):
        parameters.p = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    assert parameters.p.GetClassName() == "vtkMRMLLabelMapVolumeNode"


def test_colour_is_read_back_with_its_opacity(make_parameters):
    import qt

    parameters = make_parameters(qt.QColor)
    assert parameters.p == qt.QColor(0, 0, 0)
    parameters.p = qt.QColor(10, 20, 30, 40)
    assert make_parameters(qt.QColor, parameters.parameterNode).p == qt.QColor(10, 20, 30, 40)


@pytest.mark.parametrize(
    ("datatype", "wrong", "error"),
    [
        (int, "1", TypeError),
        (int, 1.5, TypeError),
        (int, None, ValueError),
        (str, 3, TypeError),
        (bool, 1, TypeError),
        (Side, "LEFT", TypeError),
        (pathlib.Path, "data", TypeError),
        (list[int], [1, "two"], TypeError),
        (tuple[int, str], (1,), ValueError),
        (int | str, 1.5, TypeError),
        (int | str, True, TypeError),
    ],
)
def test_wrong_value_is_refused_and_leaves_no_trace(make_parameters, datatype, wrong, error):
    parameters = make_parameters(datatype)
    before = {name: parameters.parameterNode.GetParameter(name) for name in _names(parameters)}
    with pytest.raises(error):
        parameters.p = wrong
    assert {name: parameters.parameterNode.GetParameter(name) for name in _names(parameters)} == before


def _names(parameters) -> tuple[str, ...]:
    return parameters.parameterNode.GetParameterNames()


def test_refused_tuple_leaves_the_last_one(make_parameters):
    parameters = make_parameters(tuple[int, str])
    parameters.p = (1, "one")
    with pytest.raises(TypeError):
        parameters.p = (2, 2)
    assert parameters.p == make_parameters(tuple[int, str], parameters.parameterNode).p == (1, "one")


@pytest.mark.parametrize("datatype", [tuple[int, ...], tuple[()]])
def test_tuple_of_unknown_length_is_an_error(make_parameters, datatype):
    with pytest.raises(TypeError, match="list"):
        make_parameters(datatype)


def test_name_that_the_enumeration_lacks_is_an_error(make_parameters):
    parameters = make_parameters(Side)
    parameters.parameterNode.DisableModifiedEventOn()
    parameters.parameterNode.SetParameter("p", "MIDDLE")
    with pytest.raises(ValueError, match="MIDDLE"):
        make_parameters(Side, parameters.parameterNode)


def test_int_can_be_written_to_a_float_parameter(make_parameters):
    parameters = make_parameters(float)
    parameters.p = 4
    assert parameters.p == 4.0
    assert isinstance(parameters.p, float)


def test_every_change_of_a_list_goes_to_the_node(make_parameters):
    parameters = make_parameters(list[int])
    expected = []
    for change in (
        lambda values: values.append(5),
        lambda values: values.extend([1, 3]),
        lambda values: values.insert(1, 9),
        lambda values: values.__setitem__(0, 7),
        lambda values: values.__delitem__(1),
        lambda values: values.__iadd__([2]),
        lambda values: values.__imul__(2),
        lambda values: values.pop(),
        lambda values: values.remove(3),
        lambda values: values.sort(),
        lambda values: values.reverse(),
    ):
        change(parameters.p)
        change(expected)
        assert parameters.p == expected
        assert make_parameters(list[int], parameters.parameterNode).p == expected
    parameters.p.clear()
    assert _names(parameters) == ("p.len",)


def test_refused_change_of_a_list_is_undone(make_parameters):
    parameters = make_parameters(list[int])
    parameters.p = [1, 2]
    values = parameters.p
    with pytest.raises(TypeError):
        values.extend([3, "four"])
    assert values == parameters.p == [1, 2]
    assert sorted(_names(parameters)) == ["p.0", "p.1", "p.len"]


@pytest.mark.parametrize("operation", [lambda v: v + [1], lambda v: [1] + v, lambda v: v * 2, lambda v: 2 * v])
def test_operations_that_would_lose_the_node_are_not_supported(make_parameters, operation):
    with pytest.raises(NotImplementedError):
        operation(make_parameters(list[int]).p)


def test_every_change_of_a_dictionary_goes_to_the_node(make_parameters):
    parameters = make_parameters(dict[str, list[int]])
    parameters.p["b"] = [1]
    parameters.p["a"] = []
    parameters.p["b"].append(2)
    parameters.p.update({"c": [3]})
    assert parameters.p.pop("a") == []
    parameters.p["last"] = []
    assert parameters.p.popitem() == ("last", [])
    assert parameters.p.get("missing", "nothing") == "nothing"
    again = make_parameters(dict[str, list[int]], parameters.parameterNode)
    assert list(again.p.items()) == [("b", [1, 2]), ("c", [3])]


def test_list_of_nodes_keeps_nodes_and_their_order(slicer, make_parameters):
    parameters = make_parameters(list[slicer.vtkMRMLModelNode])
    models = [slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode") for _ in range(3)]
    parameters.p = models
    parameters.p.reverse()
    assert list(parameters.p) == models[::-1]


def test_type_without_serializer_is_an_error_that_names_the_parameter(make_parameters):
    with pytest.raises(TypeError, match=r"Parameters\.p cannot be a parameter.*complex"):
        make_parameters(complex)


def test_registered_serializer_makes_a_new_type_possible(slicer, make_parameters):
    wrapper_module = slicer.parameterNodeWrapper

    @wrapper_module.parameterNodeSerializer
    class FrozensetSerializer(wrapper_module.StringSerializer):
        @staticmethod
        def canSerialize(type_):
            return type_ is frozenset

        @staticmethod
        def create(type_):
            return FrozensetSerializer() if type_ is frozenset else None

        def default(self):
            return frozenset()

        def write(self, parameterNode, name, value):
            super().write(parameterNode, name, " ".join(sorted(value)))

        def read(self, parameterNode, name):
            return frozenset(super().read(parameterNode, name).split())

    parameters = make_parameters(frozenset)
    parameters.p = frozenset({"x", "y"})
    assert make_parameters(frozenset, parameters.parameterNode).p == frozenset({"x", "y"})
    assert make_parameters(Annotated[str, FrozensetSerializer()]).p == frozenset()
