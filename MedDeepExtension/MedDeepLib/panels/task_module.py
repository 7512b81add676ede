"""The base classes of the modules: a module for another task adds its own form, section and parameters.

Slicer finds the four classes of a module by their names, ``<Module>``, ``<Module>Widget``, ``<Module>Logic`` and
``<Module>Test``; they derive from :class:`TaskModule`, :class:`~MedDeepLib.panels.task_widget.TaskWidget`,
:class:`TaskModuleLogic` and :class:`TaskModuleTest`. See SegmentModule.py.
"""

from __future__ import annotations

from typing import Annotated, Any

import slicer
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import WithinRange
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
)

from MedDeepLib.scene.task_logic import TaskLogic


class TaskModule(ScriptedLoadableModule):
    """The module as shown in Slicer's menus and help.

    A subclass sets title and categories and calls :meth:`describe`.
    """

    def __init__(self, parent):
        super().__init__(parent)
        parent.dependencies = []
        parent.contributors = ["MedDeepExtension contributors"]
        parent.acknowledgementText = _("Networks and training are built on PyTorch and MONAI.")

    def describe(self, text: str) -> None:
        """Start the module's help with ``text``, a description of the module."""
        where = _("All computing happens in the background, on this computer. Research use only.")
        self.parent.helpText = f"{text} {where}" + self.getDefaultModuleDocumentationLink()


class TaskParameterNode:
    """The fields of a panel's state that all tasks have; saved with the scene.

    Derive from it, add the fields for the inputs and outputs of an application, and put ``@parameterNodeWrapper`` above
    the subclass: the wrapper takes the annotations of base classes too, as long as these are not wrapped themselves.
    Saved scenes contain the names of fields, so these must not change.

    ``applyOptions`` is a JSON object of the options that are not at their default; ``trainingParameters`` holds one
    such object per method, by name. ``validation`` is "holdout", "patients" or "sites". Paths are text, so that an
    empty one stays empty.
    """

    applyModel: str
    applyOptions: str
    device: str = "auto"

    trainingDataset: str
    method: str
    trainingParameters: str
    validation: str = "holdout"
    folds: Annotated[int, WithinRange(2, 100)] = 5
    runFolder: str
    seed: Annotated[int, WithinRange(0, 2**31 - 1)] = 0
    trainingChart: slicer.vtkMRMLPlotChartNode

    evaluationModel: str
    evaluationDataset: str
    metricsTable: slicer.vtkMRMLTableNode
    metricsReport: str


class TaskModuleLogic(TaskLogic, ScriptedLoadableModuleLogic):
    """The functions of a panel for scripts and the Python console, see :class:`TaskLogic`; needs no panel.

    A subclass adds ``apply(...)``, which starts an application to nodes of the scene.

    Attributes:
        parameterNodeClass: the module's wrapped :class:`TaskParameterNode`.
    """

    parameterNodeClass: type

    def getParameterNode(self) -> Any:
        return self.parameterNodeClass(super().getParameterNode())


class TaskModuleTest(ScriptedLoadableModuleTest):
    """A quick test that needs neither data nor network access; the long ones run under pytest, see the README.

    Runs every method whose name begins with ``test_``, each with an empty scene.
    """

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self, **arguments):
        for name in sorted(name for name in vars(type(self)) if name.startswith("test_")):
            self.setUp()
            getattr(self, name)()
