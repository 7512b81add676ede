"""The base of all panels: stays bound to the scene's parameter node when scenes are closed or loaded."""

from __future__ import annotations

from typing import Any

import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic, ScriptedLoadableModuleWidget
from slicer.util import VTKObservationMixin


class SceneWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """A panel whose settings are in a parameter node; they survive closing the scene.

    A subclass makes its form and ``logic`` in ``setup`` and then calls :meth:`bindToScene`.
    """

    alwaysSet = ""
    """A parameter that is set in every node that is neither new nor cleared."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic: Any = None
        self._parameterNode: Any = None
        self._guiTags: list[int] = []
        self._settings: dict[str, Any] = {}

    def connectGui(self, parameterNode: Any) -> list[int]:
        """For subclasses: connect the form with a parameter node; returns the tags that disconnect it again."""
        raise NotImplementedError

    def sceneCloses(self):
        """For subclasses: the scene is about to be cleared."""

    def shutDown(self):
        """For subclasses: stop everything, since the panel or the application is closing."""

    def bindToScene(self):
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEndImport)
        slicer.app.connect("aboutToQuit()", self.shutDown)
        self.initializeParameterNode()

    def cleanup(self):
        self.shutDown()
        slicer.app.disconnect("aboutToQuit()", self.shutDown)
        self.removeObservers()
        self.setParameterNode(None)

    def enter(self):
        self.initializeParameterNode()

    def onSceneStartClose(self, caller, event):
        self.sceneCloses()
        if self._parameterNode is not None:
            self._settings = _settings(self._parameterNode)
        self.setParameterNode(None)

    def onSceneEndClose(self, caller, event):
        if self.parent.isEntered:
            self.initializeParameterNode()

    def onSceneEndImport(self, caller, event):
        """The loaded scene may have brought other values and nodes for the same parameter node."""
        if self._parameterNode is not None:
            self.setParameterNode(None)
            self.initializeParameterNode()

    def initializeParameterNode(self):
        """Bind the panel to the scene's parameter node; a new one gets the settings made before the scene closed."""
        # Closing the scene does not remove the node but clears it.
        isEmpty = not ScriptedLoadableModuleLogic.getParameterNode(self.logic).HasParameter(self.alwaysSet)
        parameterNode = self.logic.getParameterNode()
        if isEmpty:
            for name, value in self._settings.items():
                parameterNode.setValue(name, value)
        if self._parameterNode is None or self._parameterNode.parameterNode is not parameterNode.parameterNode:
            self.setParameterNode(parameterNode)

    def setParameterNode(self, parameterNode: Any):
        for tag in self._guiTags:
            self._parameterNode.disconnectGui(tag)
        self._guiTags = []
        self._parameterNode = parameterNode
        if parameterNode is not None:
            self._guiTags = self.connectGui(parameterNode)


def _settings(parameterNode: Any) -> dict[str, Any]:
    """The settings that outlive the scene: everything that is not a node."""
    values = {name: parameterNode.getValue(name) for name in parameterNode.allParameters}
    return {name: value for name, value in values.items() if not _holds_nodes(parameterNode, name)}


def _holds_nodes(parameterNode: Any, name: str) -> bool:
    kind = parameterNode.dataType(name)
    kinds = getattr(kind, "__args__", ()) or (kind,)
    return any(isinstance(one, type) and issubclass(one, slicer.vtkMRMLNode) for one in kinds)
