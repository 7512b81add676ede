"""parameterNodeWrapper: typed attributes over the texts and references of a vtkMRMLScriptedModuleNode."""

from __future__ import annotations

import typing
import weakref
from collections.abc import Callable
from typing import Any

import qt
import slicer.util
import vtk

from .annotations import (
    Default,
    extractDefault,
    splitAnnotations,
    splitPossiblyDottedName,
    unannotatedType,
    warnOfUnusedAnnotations,
)
from .gui_connectors import GuiConnector, createGuiConnector
from .pack_connector import pack_widgets
from .parameter_pack import ParameterInfo, check_member
from .serializers import createSerializer

SlicerParameterNamePropertyName = "SlicerParameterName"


def isParameterNodeWrapper(classOrObj: Any) -> bool:
    """Tell whether the class or object is a parameter node wrapper."""
    return getattr(classOrObj, "_is_parameter_node_wrapper", False)


def parameterNodeWrapper(classtype: type | None = None) -> Callable | type:
    """Class decorator, with or without parentheses, that makes a wrapper of a class with type hints.

    The class is then made with a parameter node and, where several wrappers share one node, a prefix for the
    names of the parameters. It gets the methods of `_WrapperMethods`.

    Raises ValueError if a parameter has the name of such a method, TypeError if its type has no serializer.
    """
    return _make_wrapper if classtype is None else _make_wrapper(classtype)


def findChildWidgetForParameter(widget: Any, parameter: str) -> Any:
    """Return the widget inside `widget` that is bound to the (dotted) parameter, None if there is none."""
    for child in widget.findChildren(qt.QWidget):
        if child.property(SlicerParameterNamePropertyName) == parameter:
            return child
    first, rest = splitPossiblyDottedName(parameter)
    if rest is None:
        return None
    packWidget = findChildWidgetForParameter(widget, first)
    return None if packWidget is None else pack_widgets(packWidget).get(rest)


class _Parameter:
    """One parameter in one node. The value is read again each time."""

    def __init__(self, info: ParameterInfo, parameterNode: Any, prefix: str) -> None:
        self.default = info.default
        self._serializer = info.serializer
        self._name = prefix + info.basename
        self._node = parameterNode
        self._write_default_if_absent()

    def _write_default_if_absent(self) -> None:
        if not self._serializer.isIn(self._node, self._name):
            self._serializer.write(self._node, self._name, self.default.value)

    def read(self) -> Any:
        self._write_default_if_absent()
        return self._serializer.read(self._node, self._name)

    def write(self, value: Any) -> None:
        self._serializer.write(self._node, self._name, value)


class _CachedParameter(_Parameter):
    """A parameter whose value is read again only after the node was modified."""

    def __init__(self, info: ParameterInfo, parameterNode: Any, prefix: str) -> None:
        super().__init__(info, parameterNode, prefix)
        self._value = super().read()
        self._writing = False
        # The node outlives this object, so it may only hold a weak reference to it.
        reference = weakref.ref(self)

        def on_modified(_caller: Any, _event: str) -> None:
            parameter = reference()
            if parameter is not None and not parameter._writing:
                parameter._refresh()

        tag = parameterNode.AddObserver(vtk.vtkCommand.ModifiedEvent, on_modified)
        weakref.finalize(self, parameterNode.RemoveObserver, tag).atexit = False

    def _refresh(self) -> None:
        self._value = super().read()

    def read(self) -> Any:
        return self._value

    def write(self, value: Any) -> None:
        # Other observers are called when NodeModify ends, and must then see the new value.
        self._writing = True
        try:
            with slicer.util.NodeModify(self._node):
                super().write(value)
                self._refresh()
        finally:
            self._writing = False


class _GuiConnection:
    """Widgets bound to parameters of a wrapper, in both directions, until `disconnect`."""

    def __init__(self, wrapper: Any, connectors: dict[str, GuiConnector]) -> None:
        self._wrapper = wrapper
        self._connectors = connectors
        self._updating_gui = False
        self._update_gui()
        for name, connector in connectors.items():
            connector.onChanged(self._make_gui_callback(name, connector))
        self._tag = wrapper.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._update_gui())

    def _make_gui_callback(self, name: str, connector: GuiConnector) -> Callable[[], None]:
        def on_gui_changed() -> None:
            if not self._updating_gui:
                with slicer.util.NodeModify(self._wrapper):
                    self._wrapper.setValue(name, connector.read())

        return on_gui_changed

    def _update_gui(self) -> None:
        if self._updating_gui:
            return
        self._updating_gui = True
        try:
            with slicer.util.NodeModify(self._wrapper):
                for name, connector in self._connectors.items():
                    connector.write(self._wrapper.getValue(name))
        finally:
            self._updating_gui = False

    def disconnect(self) -> None:
        self._wrapper.RemoveObserver(self._tag)
        for connector in self._connectors.values():
            connector.onChanged(None)


class _WrapperMethods:
    """The methods that every parameter node wrapper gets."""

    def __init__(self, parameterNode: Any, prefix: str | None = None) -> None:
        self.parameterNode = parameterNode
        self._gui_connections: dict[int, _GuiConnection] = {}
        self._next_gui_tag = 0
        self._parameters: dict[str, _Parameter] = {}
        for name, info in self.allParameters.items():
            parameterClass = _CachedParameter if info.serializer.supportsCaching() else _Parameter
            self._parameters[name] = parameterClass(info, parameterNode, prefix or "")

    def default(self, paramName: str) -> Default:
        """Return the default of the parameter."""
        return self._parameters[_check_parameter(self, paramName)].default

    def isCached(self, paramName: str) -> bool:
        """Tell whether the parameter is read again only when the node was modified."""
        return isinstance(self._parameters[_check_parameter(self, paramName)], _CachedParameter)

    def getValue(self, name: str) -> Any:
        """Return the value of the parameter with the (dotted) name; raises ValueError if there is none."""
        _check_parameter(self, name)
        first, rest = splitPossiblyDottedName(name)
        value = self._parameters[first].read()
        return value if rest is None else value.getValue(rest)

    def setValue(self, name: str, value: Any) -> None:
        """Set the parameter with the (dotted) name; raises ValueError if there is none."""
        _check_parameter(self, name)
        first, rest = splitPossiblyDottedName(name)
        if rest is None:
            self._parameters[first].write(value)
        else:
            self._parameters[first].read().setValue(rest, value)

    def connectParametersToGui(self, mapping: dict[str, Any]) -> int:
        """Bind parameters to widgets (or connectors), by (dotted) name; return a tag for `disconnectGui`."""
        for name in mapping:
            _check_parameter(self, name)
        connectors = {
            name: item if isinstance(item, GuiConnector) else createGuiConnector(item, self.dataType(name))
            for name, item in mapping.items()
        }
        tag = self._next_gui_tag
        self._next_gui_tag += 1
        self._gui_connections[tag] = _GuiConnection(self, connectors)
        return tag

    def connectGui(self, gui: Any) -> int:
        """Bind all widgets whose property SlicerParameterName names a parameter.

        `gui` is a widget, whose children are looked through, or an object that has widgets as attributes,
        such as the result of slicer.util.childWidgetVariables. Returns a tag for `disconnectGui`.
        """
        widgets = gui.findChildren(qt.QWidget) if isinstance(gui, qt.QWidget) else vars(gui).values()
        named = {widget.property(SlicerParameterNamePropertyName): widget for widget in widgets}
        return self.connectParametersToGui({name: widget for name, widget in named.items() if name})

    def disconnectGui(self, guiTag: int) -> None:
        """End the binding that returned the tag; an unknown tag is ignored."""
        connection = self._gui_connections.pop(guiTag, None)
        if connection is not None:
            connection.disconnect()

    def StartModify(self) -> int:
        """Hold back events of the parameter node until EndModify."""
        return self.parameterNode.StartModify()

    def EndModify(self, wasModified: int) -> int:
        """Send the event that was held back since StartModify."""
        return self.parameterNode.EndModify(wasModified)

    def AddObserver(self, event: Any, callback: Callable, priority: float = 0.0) -> int:
        """Observe the parameter node."""
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag: int) -> None:
        """End an observation of the parameter node."""
        self.parameterNode.RemoveObserver(tag)

    def Modified(self) -> None:
        """Send a modified event of the parameter node."""
        self.parameterNode.Modified()


def _make_wrapper(classtype: type) -> type:
    members = typing.get_type_hints(classtype, include_extras=True)
    methods = {name: method for name, method in vars(_WrapperMethods).items() if callable(method)}
    init = methods.pop("__init__")
    for name in [*methods, "dataType", "allParameters", "_is_parameter_node_wrapper"]:
        if name in members or hasattr(classtype, name):
            raise ValueError(f"The name {name!r} is reserved, no parameter can have it.")
    classtype.allParameters = {name: _make_info(classtype, name, hint) for name, hint in members.items()}
    for name in members:
        setattr(classtype, name, _make_property(name))
    classtype.__init__ = init
    for name, method in methods.items():
        setattr(classtype, name, method)
    classtype.dataType = staticmethod(lambda membername: _data_type(classtype, membername))
    classtype._is_parameter_node_wrapper = True
    return classtype


def _make_info(classtype: type, name: str, hint: Any) -> ParameterInfo:
    where = f"{classtype.__name__}.{name}"
    try:
        serializer, annotations = createSerializer(*splitAnnotations(hint))
    except (TypeError, ValueError) as error:
        raise type(error)(f"{where} cannot be a parameter: {error}") from error
    default, unused = extractDefault(annotations)
    warnOfUnusedAnnotations(where, unused)
    if hasattr(classtype, name):
        default = Default(getattr(classtype, name))
    return ParameterInfo(name, serializer, default or Default(generator=serializer.default), hint)


def _make_property(name: str) -> property:
    return property(lambda self: self._parameters[name].read(), lambda self, value: self._parameters[name].write(value))


def _check_parameter(wrapper: Any, name: str) -> str:
    """Return the name; raise ValueError unless it names a parameter or, dotted, a member of a pack."""
    first, rest = splitPossiblyDottedName(name)
    if first not in wrapper.allParameters:
        raise ValueError(f"There is no parameter {first!r}, only {', '.join(wrapper.allParameters)}.")
    if rest is not None:
        check_member(unannotatedType(wrapper.allParameters[first].unalteredType), rest)
    return name


def _data_type(classtype: Any, membername: str) -> Any:
    """Return the type, with its annotations, of the parameter with the (dotted) name."""
    _check_parameter(classtype, membername)
    first, rest = splitPossiblyDottedName(membername)
    hint = classtype.allParameters[first].unalteredType
    return hint if rest is None else unannotatedType(hint).dataType(rest)
