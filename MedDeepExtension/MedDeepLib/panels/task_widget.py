"""The panel of a module that trains, applies and evaluates: three sections and a log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer

from MedDeepLib.panels.scene_widget import SceneWidget

_FORMS = Path(__file__).resolve().parents[2] / "Resources" / "UI"
_SHARED_FORMS = ("TrainForm", "EvaluateForm", "LogForm")


class TaskWidget(SceneWidget):
    """Base of the modules' panels; a subclass makes its logic and the section that applies a model.

    The module's own form, ``UI/<Module>.ui``, comes first; the forms for training, evaluation and the log are the same
    for all modules and follow.

    Attributes:
        sections: ``applySection``, ``trainSection`` and ``evaluateSection``.
    """

    alwaysSet = "method"

    def __init__(self, parent=None):
        super().__init__(parent)
        self.sections: list[Any] = []

    def makeLogic(self) -> Any:
        """For subclasses: the module's logic, a :class:`~MedDeepLib.panels.task_module.TaskModuleLogic`."""
        raise NotImplementedError

    def applySectionClass(self) -> type:
        """For subclasses: the section that applies a model, a :class:`.model_section.ModelSection`.

        Import it here and not at the top of the module's file, which Slicer imports at start-up.
        """
        raise NotImplementedError

    def setup(self):
        super().setup()
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
        self.bindToScene()
        self.trainSection.offer_interrupted_run()

    def _makeSections(self):
        from MedDeepLib.devices import present_devices
        from MedDeepLib.panels.sections.evaluate_section import EvaluateSection
        from MedDeepLib.panels.sections.train_section import TrainSection
        from MedDeepLib.panels.status import JobLog

        devices = present_devices()
        log = JobLog(self.ui.logTextEdit, self.ui.workerLogButton)
        makers = self.applySectionClass(), TrainSection, EvaluateSection
        self.sections = [make(self.ui, self.logic, log, devices) for make in makers]
        self.applySection, self.trainSection, self.evaluateSection = self.sections
        self.trainSection.model_trained.connect(self._refreshModels)
        self.trainSection.on_metrics = self.evaluateSection.show_metrics

    def enter(self):
        super().enter()
        self._refreshModels()

    def exit(self):
        """Jobs continue while another module is shown; the panel stays bound to its parameter node to show them."""

    def shutDown(self):
        """Stop all jobs: the panel or the application is closing. A training can be resumed later."""
        from MedDeepLib.panels.job_monitor import shut_down_all

        if self.logic is not None:  # else the setup of the panel failed
            shut_down_all([section.monitor for section in self.sections], self.logic.launcher)

    def sceneCloses(self):
        for section in self.sections:
            section.scene_closes()
        self.logic.launcher.release()  # an empty scene needs no memory for a model

    def connectGui(self, parameterNode: Any) -> list[int]:
        tags = [parameterNode.connectGui(self.ui)]
        return tags + [parameterNode.connectParametersToGui(section.connectors()) for section in self.sections]

    def _refreshModels(self):
        for section in (self.applySection, self.evaluateSection):
            section.model_chooser.refresh()
            section.update_buttons()
