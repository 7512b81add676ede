"""The panel of a module that trains, applies and evaluates: sections, parameter node, and the life of the scene."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic, ScriptedLoadableModuleWidget
from slicer.util import VTKObservationMixin

from MedDeepLib.scene import scene_jobs

_FORMS = Path(__file__).resolve().parents[2] / "Resources" / "UI"
_SHARED_FORMS = ("TrainForm", "EvaluateForm", "LogForm")


class TaskWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """Base of the modules' panels; a subclass makes the section that applies a model.

    The module's own form, ``UI/<Module>.ui``, comes first; those for training, evaluating and the log are the same for
    all modules and follow.

    Attributes:
        task: of the module's methods.
        sections: all of them; ``applySection``, ``trainSection`` and ``evaluateSection`` are three.
    """

    task = ""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic: Any = None
        self.sections: list[Any] = []
        self._parameterNode: Any = None
        self._guiTags: list[int] = []
        self._settings: dict[str, Any] = {}

    def makeLogic(self) -> Any:
        """For subclasses: the module's logic."""
        raise NotImplementedError

    def makeApplySection(self, log: Any, devices: list[Any]) -> Any:
        """For subclasses: the section that applies a model."""
        raise NotImplementedError

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        panel = slicer.util.loadUI(self.resourcePath(f"UI/{self.moduleName}.ui"))
        self.layout.addWidget(panel)
        forms = [panel]
        for name in _SHARED_FORMS:
            forms.append(slicer.util.loadUI(str(_FORMS / f"{name}.ui")))
            panel.layout().insertWidget(panel.layout().count() - 1, forms[-1])  # before the spacer at the end
        self.ui = slicer.util.childWidgetVariables(panel)
        for form in forms:
            form.setMRMLScene(slicer.mrmlScene)
        self.logic = self.makeLogic()
        self._makeSections()
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEndImport)
        slicer.app.connect("aboutToQuit()", self.shutDown)
        self.initializeParameterNode()
        self.trainSection.offer_interrupted_run()

    def _makeSections(self):
        from MedDeepLib.devices import present_devices
        from MedDeepLib.panels.evaluate_section import EvaluateSection
        from MedDeepLib.panels.status import JobLog
        from MedDeepLib.panels.train_section import TrainSection

        devices = present_devices()
        log = JobLog(self.ui.logTextEdit, self.ui.workerLogButton)
        self.applySection = self.makeApplySection(log, devices)
        self.trainSection = TrainSection(self.ui, self.task, log, devices, self.logic)
        self.evaluateSection = EvaluateSection(self.ui, self.task, log, devices, self.logic)
        self.sections = [self.applySection, self.trainSection, self.evaluateSection]
        self.trainSection.model_trained.connect(self._refreshModels)
        self.trainSection.on_figures = self.evaluateSection.show_figures

    def cleanup(self):
        self.shutDown()
        slicer.app.disconnect("aboutToQuit()", self.shutDown)
        self.removeObservers()
        self.setParameterNode(None)

    def enter(self):
        self.initializeParameterNode()
        self._refreshModels()

    def exit(self):
        """Jobs go on while another module is shown; the panel stays bound to its parameter node to show them."""

    def shutDown(self):
        """Stop all jobs: the panel or the application goes away. A training can be resumed later."""
        from MedDeepLib.panels.job_monitor import shut_down_all

        shut_down_all([section.monitor for section in self.sections])

    def onSceneStartClose(self, caller, event):
        for section in self.sections:
            section.scene_closes()
        scene_jobs.release_workers()  # an empty scene needs no memory for a model
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
        # Closing the scene does not remove the node but empties it.
        isEmpty = not ScriptedLoadableModuleLogic.getParameterNode(self.logic).HasParameter("method")
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
            self._guiTags.append(parameterNode.connectGui(self.ui))
            for section in self.sections:
                self._guiTags.append(parameterNode.connectParametersToGui(section.connectors()))

    def _refreshModels(self):
        for section in (self.applySection, self.evaluateSection):
            section.model_chooser.refresh()
            section.update_buttons()


def _settings(parameterNode: Any) -> dict[str, Any]:
    """What outlives the scene: everything that is not a node."""
    values = {name: parameterNode.getValue(name) for name in parameterNode.allParameters}
    return {name: value for name, value in values.items() if not _holds_nodes(parameterNode, name)}


def _holds_nodes(parameterNode: Any, name: str) -> bool:
    kind = parameterNode.dataType(name)
    kinds = getattr(kind, "__args__", ()) or (kind,)
    return any(isinstance(one, type) and issubclass(one, slicer.vtkMRMLNode) for one in kinds)
