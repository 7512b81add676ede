"""Stand-in of slicer.parameterNodeWrapper, with the names and the stored form of Slicer 5.13.

A class with type hints becomes, by the decorator `parameterNodeWrapper`, a typed view of a
vtkMRMLScriptedModuleNode. Its values are saved with the scene and can be bound to widgets in both directions.
"""

import sys
from types import ModuleType

import slicer

from . import annotations as _annotations
from . import (
    container_serializers,
    data_connectors,
    float_range,
    gui_connectors,
    gui_creation,
    input_connectors,
    observed_containers,
    pack_connector,
    pack_serializer,
    parameter_pack,
    serializers,
    validators,
    value_serializers,
    wrapper,
)
from .annotations import (
    Decimals,
    Default,
    Label,
    SingleStep,
    findFirstAnnotation,
    getNodeTypes,
    isNodeOrUnionOfNodes,
    splitAnnotations,
    unannotatedType,
)
from .container_serializers import DictSerializer, ListSerializer, TupleSerializer, UnionSerializer
from .float_range import FloatRange
from .gui_connectors import GuiConnector, createGuiConnector, parameterNodeGuiConnector
from .gui_creation import GuiCreator, createGui, parameterNodeGuiCreator
from .pack_connector import SlicerPackParameterNamePropertyName
from .parameter_pack import isParameterPack, nestedParameterNames, parameterPack
from .serializers import Serializer, ValidatedSerializer, parameterNodeSerializer
from .validators import (
    Choice,
    Exclude,
    IsInstance,
    Maximum,
    Minimum,
    NotNone,
    RangeBounds,
    Validator,
    WithinRange,
)
from .value_serializers import (
    BoolSerializer,
    NodeSerializer,
    NumberSerializer,
    PathSerializer,
    StringSerializer,
)
from .wrapper import (
    SlicerParameterNamePropertyName,
    findChildWidgetForParameter,
    isParameterNodeWrapper,
    parameterNodeWrapper,
)

__all__ = [
    "parameterNodeWrapper",
    "isParameterNodeWrapper",
    "findChildWidgetForParameter",
    "SlicerParameterNamePropertyName",
    "parameterPack",
    "isParameterPack",
    "nestedParameterNames",
    "FloatRange",
    "Default",
    "Decimals",
    "SingleStep",
    "Label",
    "Validator",
    "NotNone",
    "IsInstance",
    "WithinRange",
    "Minimum",
    "Maximum",
    "Choice",
    "Exclude",
    "RangeBounds",
    "parameterNodeSerializer",
    "Serializer",
    "ValidatedSerializer",
    "NumberSerializer",
    "StringSerializer",
    "PathSerializer",
    "BoolSerializer",
    "NodeSerializer",
    "ListSerializer",
    "TupleSerializer",
    "DictSerializer",
    "UnionSerializer",
    "parameterNodeGuiConnector",
    "GuiConnector",
    "createGuiConnector",
    "SlicerPackParameterNamePropertyName",
    "parameterNodeGuiCreator",
    "GuiCreator",
    "createGui",
    "findFirstAnnotation",
    "getNodeTypes",
    "isNodeOrUnionOfNodes",
    "splitAnnotations",
    "unannotatedType",
]

# Slicer's names of the modules of this package, and what each holds here.
_SLICER_MODULES = {
    "default": [_annotations],
    "util": [_annotations],
    "validators": [validators],
    "serializers": [serializers, value_serializers, container_serializers, observed_containers],
    "parameterInfo": [parameter_pack],
    "parameterPack": [parameter_pack, pack_serializer],
    "types": [float_range],
    "guiConnectors": [gui_connectors, input_connectors, data_connectors, pack_connector],
    "guiCreation": [gui_creation],
    "wrapper": [wrapper],
}


def register() -> None:
    """Make this package importable as slicer.parameterNodeWrapper, its modules by Slicer's names of them."""
    sys.modules["slicer.parameterNodeWrapper"] = sys.modules[__name__]
    slicer.parameterNodeWrapper = sys.modules[__name__]
    for moduleName, parts in _SLICER_MODULES.items():
        fullName = f"slicer.parameterNodeWrapper.{moduleName}"
        if fullName not in sys.modules:
            module = ModuleType(fullName, f"Stand-in of {fullName}.")
            for part in parts:
                names = [name for name in vars(part) if not name.startswith("__")]
                vars(module).update({name: getattr(part, name) for name in names})
            sys.modules[fullName] = module


register()
