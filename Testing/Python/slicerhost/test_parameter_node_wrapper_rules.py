"""Defaults, validators, events and names of the parameters of a wrapper."""

# No `from __future__ import annotations` here: the types of parameters that are classes inside a test
# function could not be looked up from their names.

from typing import Annotated

import pytest
import slicerhost


@pytest.fixture(scope="module")
def slicer():
    """The running application. No test here minds what others left in the scene."""
    import slicer

    slicerhost.start()
    slicerhost.close_scene()
    yield slicer
    slicerhost.close_scene()


@pytest.fixture
def node(slicer):
    return slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")


@pytest.fixture
def make_parameters(slicer, node):
    """Return a function that wraps the parameter node with the one parameter `p` of a given type."""

    def make(datatype):
        @slicer.parameterNodeWrapper.parameterNodeWrapper
        class Parameters:
            p: datatype

        return Parameters(node)

    return make


def test_default_is_written_to_an_empty_node_only(slicer, node):
    from slicer.parameterNodeWrapper import Default, parameterNodeWrapper

    @parameterNodeWrapper
    class Parameters:
        annotated: Annotated[int, Default(3)]
        assigned: str = "text"

    parameters = Parameters(node)
    assert (parameters.annotated, parameters.assigned) == (3, "text")
    assert node.GetParameter("annotated") == "3"
    assert parameters.default("assigned").value == "text"

    parameters.annotated = 8
    assert Parameters(node).annotated == 8


def test_default_generator_is_called_for_each_node(slicer):
    from slicer.parameterNodeWrapper import Default, parameterNodeWrapper

    numbers = iter([10, 20])

    @parameterNodeWrapper
    class Parameters:
        p: Annotated[int, Default(generator=lambda: next(numbers))]

    nodes = [slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode") for _ in range(2)]
    assert [Parameters(node).p for node in nodes] == [10, 20]


def test_two_defaults_are_an_error(slicer, make_parameters):
    from slicer.parameterNodeWrapper import Default

    with pytest.raises(ValueError, match="only one Default"):
        make_parameters(Annotated[int, Default(1), Default(2)])


@pytest.mark.parametrize(
    ("validator", "arguments", "accepted", "refused"),
    [
        ("WithinRange", (0, 10), [0, 4, 10], [-1, 11]),
        ("Minimum", (0,), [0, 99], [-1]),
        ("Maximum", (0,), [0, -99], [1]),
        ("Choice", ([0, 2, 4],), [0, 2, 4], [1, 3]),
        ("Exclude", ([1, 3],), [0, 2], [1, 3]),
    ],
)
def test_validator_refuses_values_and_keeps_the_last_good_one(
    slicer, make_parameters, validator, arguments, accepted, refused
):
    rule = getattr(slicer.parameterNodeWrapper, validator)(*arguments)
    parameters = make_parameters(Annotated[int, rule])
    for value in accepted:
        parameters.p = value
        for wrong in refused:
            with pytest.raises(ValueError, match=str(wrong)):
                parameters.p = wrong
            assert parameters.p == value


@pytest.mark.parametrize(("minimum", "maximum"), [(-1, 5), (2, 11), (-1, 11)])
def test_range_bounds_hold_both_ends(slicer, make_parameters, minimum, maximum):
    from slicer.parameterNodeWrapper import FloatRange, RangeBounds

    parameters = make_parameters(Annotated[FloatRange, RangeBounds(0, 10)])
    parameters.p = FloatRange(2, 5)
    with pytest.raises(ValueError, match="within"):
        parameters.p = FloatRange(minimum, maximum)
    assert parameters.p == FloatRange(2, 5)


def test_range_ends_stay_in_order(slicer, make_parameters):
    from slicer.parameterNodeWrapper import FloatRange

    parameters = make_parameters(FloatRange)
    parameters.p = FloatRange(2, 5)
    parameters.p.maximum = 6
    with pytest.raises(ValueError, match="minimum <= maximum"):
        parameters.p.minimum = 7
    assert (parameters.p.minimum, parameters.p.maximum) == (2, 6)


def test_default_that_a_validator_refuses_is_an_error(slicer, make_parameters):
    from slicer.parameterNodeWrapper import Minimum

    with pytest.raises(ValueError, match="at least 5"):
        make_parameters(Annotated[int, Minimum(5)])


def test_validator_of_list_elements(slicer, make_parameters):
    from slicer.parameterNodeWrapper import Choice

    parameters = make_parameters(list[Annotated[str, Choice(["yes", "no"])]])
    parameters.p.append("yes")
    with pytest.raises(ValueError, match="maybe"):
        parameters.p.append("maybe")
    assert parameters.p == ["yes"]


def test_unused_annotation_is_reported(slicer, make_parameters, caplog):
    from slicer.parameterNodeWrapper import Decimals

    make_parameters(Annotated[float, Decimals(2)])
    assert not caplog.records
    make_parameters(Annotated[float, "no meaning"])
    assert "no meaning" in caplog.text


def test_one_change_makes_one_event_and_observers_see_the_new_value(slicer, make_parameters):
    import vtk

    parameters = make_parameters(list[int])
    seen = []
    tag = parameters.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: seen.append(list(parameters.p)))
    parameters.p = [1, 2, 3]
    parameters.p.append(4)
    with slicer.util.NodeModify(parameters):
        parameters.p = []
        parameters.p = [5]
    parameters.RemoveObserver(tag)
    parameters.p = [6]
    assert seen == [[1, 2, 3], [1, 2, 3, 4], [5]]


def test_change_of_the_node_by_others_is_seen(make_parameters, node):
    parameters = make_parameters(int)
    assert parameters.isCached("p")
    node.SetParameter("p", "12")
    assert parameters.p == 12


def test_wrapper_that_is_gone_leaves_no_observer(make_parameters, node):
    import gc

    import vtk

    parameters = make_parameters(int)
    assert node.HasObserver(vtk.vtkCommand.ModifiedEvent)
    del parameters
    gc.collect()
    assert not node.HasObserver(vtk.vtkCommand.ModifiedEvent)


def test_prefix_lets_wrappers_share_a_node(slicer, node):
    @slicer.parameterNodeWrapper.parameterNodeWrapper
    class Parameters:
        p: int

    first, second = Parameters(node, prefix="first."), Parameters(node, prefix="second.")
    first.p, second.p = 1, 2
    assert (first.p, second.p) == (1, 2)
    assert node.GetParameterNames() == ("first.p", "second.p")


def test_unknown_name_is_an_error_that_tells_the_known_ones(make_parameters):
    parameters = make_parameters(int)
    for call in (parameters.getValue, parameters.isCached, parameters.default, parameters.dataType):
        with pytest.raises(ValueError, match="'missing'.*p"):
            call("missing")
    with pytest.raises(ValueError, match="'missing'"):
        parameters.setValue("missing", 1)


@pytest.mark.parametrize("name", ["allParameters", "connectGui", "dataType", "isCached"])
def test_reserved_name_is_an_error(slicer, name):
    with pytest.raises(ValueError, match=name):
        slicer.parameterNodeWrapper.parameterNodeWrapper(type("Parameters", (), {"__annotations__": {name: int}}))


def test_wrapper_classes_and_objects_are_known_as_such(slicer, make_parameters):
    parameters = make_parameters(int)
    isParameterNodeWrapper = slicer.parameterNodeWrapper.isParameterNodeWrapper
    assert isParameterNodeWrapper(parameters)
    assert isParameterNodeWrapper(type(parameters))
    assert not isParameterNodeWrapper(int)


def test_decorator_can_be_written_with_parentheses(slicer, node):
    @slicer.parameterNodeWrapper.parameterNodeWrapper()
    class Parameters:
        p: int = 4

    assert Parameters(node).p == 4


def test_slicers_names_of_the_modules_can_be_imported(slicer):
    from slicer.parameterNodeWrapper.guiConnectors import createGuiConnector
    from slicer.parameterNodeWrapper.parameterPack import ParameterPackSerializer
    from slicer.parameterNodeWrapper.serializers import EnumSerializer
    from slicer.parameterNodeWrapper.wrapper import parameterNodeWrapper

    assert createGuiConnector is slicer.parameterNodeWrapper.createGuiConnector
    assert parameterNodeWrapper is slicer.parameterNodeWrapper.parameterNodeWrapper
    assert issubclass(ParameterPackSerializer, slicer.parameterNodeWrapper.Serializer)
    assert issubclass(EnumSerializer, slicer.parameterNodeWrapper.Serializer)
