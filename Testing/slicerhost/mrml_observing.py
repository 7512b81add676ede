"""Shared by the widgets that show the MRML scene: the scene, and observers that are removed with the widget."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import shiboken6
import slicer
import vtk
from PySide6 import QtWidgets
from PySide6.QtCore import Signal

from slicerhost.cpp import cpp_class


class SceneObserver:
    """Mixin: VTK observers that are removed with the widget or on its request."""

    def _observe(
        self, source: Any, events: tuple, callback: Callable[[], None], group: str = "scene"
    ) -> None:
        """Call `callback` (a bound method of self) after each of the events of the VTK object."""
        method = weakref.WeakMethod(callback)

        def relay(_caller, _event):
            function = method()
            if function is not None and shiboken6.isValid(function.__self__):
                function()

        tags = self.__dict__.setdefault("_observations", {}).setdefault(group, [])
        tags.extend((source, source.AddObserver(event, relay)) for event in events)

    def _stop_observing(self, group: str = "scene") -> None:
        for source, tag in self.__dict__.setdefault("_observations", {}).pop(group, []):
            source.RemoveObserver(tag)

    def mrmlScene(self):
        return self.__dict__.get("_scene")


NODE_LIST_EVENTS = (
    slicer.vtkMRMLScene.NodeAddedEvent,
    slicer.vtkMRMLScene.NodeRemovedEvent,
    slicer.vtkMRMLScene.EndBatchProcessEvent,
    slicer.vtkMRMLScene.EndCloseEvent,
    slicer.vtkMRMLScene.EndImportEvent,
)


class NodeListWidget(SceneObserver):
    """Mixin: lists the nodes of a scene that pass the filters of Slicer's node selectors.

    The class has to provide the properties nodeTypes, hideChildNodeTypes, showHidden and showChildNodeTypes,
    and `_refresh()`, which is called whenever the list may have changed.
    """

    def _observe_scene(self, scene) -> None:
        self._stop_observing()
        self._stop_observing("nodes")
        self._scene = scene
        if scene is not None:
            self._observe(scene, NODE_LIST_EVENTS, self._nodes_changed)
        self._nodes_changed()

    def _nodes_changed(self) -> None:
        """Follow each node of a suitable type too: its name, attributes and visibility change the list."""
        self._stop_observing("nodes")
        for node in self._nodes_of_type():
            self._observe(node, (vtk.vtkCommand.ModifiedEvent,), self._refresh, "nodes")
        self._refresh()

    def addAttribute(self, node_type: str, name: str, value: Any = None) -> None:
        """List nodes of this class only if they have the attribute (and, unless None, this value of it)."""
        self.__dict__.setdefault("_attributes", []).append(
            (node_type, name, None if value is None else str(value))
        )
        self._refresh()

    def removeAttribute(self, node_type: str, name: str) -> None:
        kept = [item for item in self.__dict__.get("_attributes", []) if item[:2] != (node_type, name)]
        self._attributes = kept
        self._refresh()

    def _nodes_of_type(self) -> list:
        scene = self.mrmlScene()
        if scene is None:
            return []
        nodes = [scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes())]
        return [node for node in nodes if self._type_matches(node)]

    def _type_matches(self, node) -> bool:
        if any(node.IsA(name) for name in self.hideChildNodeTypes):
            return False
        if self.showChildNodeTypes:
            return any(node.IsA(name) for name in self.nodeTypes)
        return node.GetClassName() in self.nodeTypes

    def _attributes_match(self, node) -> bool:
        for node_type, name, value in self.__dict__.get("_attributes", []):
            if node.IsA(node_type):
                present = node.GetAttribute(name)
                if present is None or (value is not None and present != value):
                    return False
        return True

    def _listed_nodes(self) -> list:
        return [
            node
            for node in self._nodes_of_type()
            if (self.showHidden or not node.GetHideFromEditors()) and self._attributes_match(node)
        ]


@cpp_class
class qMRMLWidget(QtWidgets.QWidget, SceneObserver):
    """The root of a module panel: hands its scene to the widgets connected to it."""

    mrmlSceneChanged = Signal(object)
    CPP_SIGNALS = {"mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged"}

    def setMRMLScene(self, scene) -> None:
        if scene is not self.mrmlScene():
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)


@cpp_class
class qSlicerWidget(qMRMLWidget):
    """As qMRMLWidget, for code that depends on the application."""
