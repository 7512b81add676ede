"""Parameter packs: by themselves, and inside a parameter node."""

# No `from __future__ import annotations` here: the types of parameters that are classes inside a test
# function could not be looked up from their names.

from types import SimpleNamespace
from typing import Annotated, Any

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
def packs(slicer):
    """Return a pack `Point`, a pack `Box` of two points, and a wrapper `Parameters` with the box `p`."""
    from slicer.parameterNodeWrapper import Default, WithinRange, parameterNodeWrapper, parameterPack

    @parameterPack
    class Point:
        x: Annotated[float, WithinRange(-10, 10)]
        y: Annotated[float, Default(1)]

    @parameterPack
    class Box:
        low: Point
        high: Annotated[Point, Default(Point(5, 6))]

    @parameterNodeWrapper
    class Parameters:
        p: Box
        points: list[Point]

    return SimpleNamespace(Point=Point, Box=Box, Parameters=Parameters)


@pytest.fixture
def parameters(slicer, packs):
    return packs.Parameters(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))


def test_pack_is_made_from_positions_keywords_and_defaults(packs):
    assert packs.Point() == packs.Point(0, 1)
    assert packs.Point(3) == packs.Point(y=1, x=3)
    assert packs.Box().high == packs.Point(5, 6)
    assert repr(packs.Point(3, 4)) == "Point(x=3, y=4)"
    assert packs.Point(3, 4) != packs.Point(4, 3)


@pytest.mark.parametrize(("args", "kwargs"), [((1, 2, 3), {}), ((1,), {"x": 2}), ((), {"z": 1})])
def test_wrong_arguments_of_a_pack_are_an_error(packs, args, kwargs):
    with pytest.raises(TypeError, match="Point"):
        packs.Point(*args, **kwargs)


def test_members_are_validated(packs):
    point = packs.Point(10, 0)
    with pytest.raises(ValueError, match="within"):
        point.x = 11
    with pytest.raises(TypeError):
        point.y = "high"
    with pytest.raises(ValueError, match="within"):
        packs.Point(-11, 0)
    assert point == packs.Point(10, 0)


def test_nested_defaults_are_not_shared(packs):
    changed = packs.Box()
    changed.high.x = 9
    assert packs.Box().high.x == 5


def test_members_by_dotted_name(packs):
    box = packs.Box()
    box.setValue("high.x", 7)
    assert box.getValue("high.x") == 7
    assert box.getValue("high") == packs.Point(7, 6)
    assert packs.Box.dataType("low") is packs.Point
    for name in ("depth", "low.z", "low.x.y"):
        with pytest.raises(ValueError, match="no member"):
            box.getValue(name)
        with pytest.raises(ValueError, match="no member"):
            box.dataType(name)


def test_names_of_all_nested_members(packs):
    from slicer.parameterNodeWrapper import isParameterPack, nestedParameterNames

    assert nestedParameterNames(packs.Box) == ["low.x", "low.y", "high.x", "high.y"]
    assert isParameterPack(packs.Box) and isParameterPack(packs.Box()) and not isParameterPack(int)


def test_own_methods_of_a_pack_are_kept(slicer):
    from slicer.parameterNodeWrapper import parameterPack

    @parameterPack
    class Period:
        start: int = 3
        length: int

        def __init__(self, length=2):
            self.length = length

        def __repr__(self):
            return f"{self.start} + {self.length}"

        @property
        def end(self):
            return self.start + self.length

    assert repr(Period()) == "3 + 2"
    assert Period(7).end == 10
    assert str(Period()) == "Period(start=3, length=2)"


@pytest.mark.parametrize("name", ["allParameters", "getValue", "_parameterPack_x_impl", "_parameterPack_x_serializer"])
def test_reserved_member_name_is_an_error(slicer, name):
    from slicer.parameterNodeWrapper import parameterPack

    with pytest.raises(ValueError, match=name):
        parameterPack(type("Pack", (), {"__annotations__": {name: int, "x": int}}))


def test_pack_without_members_or_with_a_bad_default_is_an_error(slicer):
    from slicer.parameterNodeWrapper import Maximum, parameterPack

    with pytest.raises(ValueError, match="no members"):
        parameterPack(type("Pack", (), {}))
    with pytest.raises(ValueError, match="default 9 of Pack.x"):
        parameterPack(type("Pack", (), {"__annotations__": {"x": Annotated[int, Maximum(5)]}, "x": 9}))


def test_every_change_of_a_pack_goes_to_the_node(packs, parameters):
    node = parameters.parameterNode
    assert parameters.p == packs.Box()
    parameters.p = packs.Box(packs.Point(1, 2), packs.Point(3, 4))
    parameters.p.low.x = -1
    parameters.p.high = packs.Point(8, 9)
    parameters.p.setValue("low.y", -2)
    parameters.setValue("p.high.y", 10)

    assert parameters.p == packs.Parameters(node).p == packs.Box(packs.Point(-1, -2), packs.Point(8, 10))
    stored = {name: float(node.GetParameter(name)) for name in node.GetParameterNames() if name[:2] == "p."}
    assert stored == {"p.low.x": -1, "p.low.y": -2, "p.high.x": 8, "p.high.y": 10}
    assert parameters.getValue("p.high.y") == 10
    assert parameters.dataType("p.low") is packs.Point


def test_refused_change_leaves_the_node_as_it_was(packs, parameters):
    with pytest.raises(ValueError, match="within"):
        parameters.p.low.x = 99
    with pytest.raises(AttributeError, match="Box has no member 'depth'"):
        parameters.p.depth = 1
    assert parameters.p == packs.Parameters(parameters.parameterNode).p == packs.Box()


def test_packs_in_a_list_write_their_changes(packs, parameters):
    parameters.points = [packs.Point(1, 1), packs.Point(2, 2)]
    parameters.points[1].x = 5
    parameters.points.pop(0)
    assert parameters.points == [packs.Point(5, 2)]
    assert float(parameters.parameterNode.GetParameter("points.0.x")) == 5


def test_pack_with_node_and_any(slicer):
    from slicer.parameterNodeWrapper import parameterNodeWrapper, parameterPack

    @parameterPack
    class Entry:
        model: slicer.vtkMRMLModelNode
        note: Any

    @parameterNodeWrapper
    class Parameters:
        entry: Entry

    parameters = Parameters(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))
    model = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode")
    parameters.entry = Entry(model, {"k": 1})
    assert parameters.entry.model is model
    assert Parameters(parameters.parameterNode).entry == Entry(model, {"k": 1})
