"""Deep Registration: align two volumes by networks and gradient steps, train such networks and evaluate them."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
)

try:
    import MedDeepLib  # noqa: F401 - installed, all packages share one folder
except ImportError:
    # In a source tree the library lies in the folder beside this module's.
    sys.path.append(str(Path(__file__).resolve().parents[1] / "MedDeepExtension"))

from MedDeepLib.errors import UserError
from MedDeepLib.panels.module_widget import TaskWidget
from MedDeepLib.scene.task_logic import TaskLogic
from RegisterModuleLib.scene.registration_jobs import TASK, RegistrationJob, overlap, start_registration


class RegisterModule(ScriptedLoadableModule):
    """What Slicer shows of the module in its menus and help."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Deep Registration")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Registration")]
        self.parent.dependencies = []
        self.parent.contributors = ["MedDeepExtension contributors"]
        self.parent.helpText = _(
            "Aligns a moving volume with a fixed one, by a matrix or a deformation, and says how well; trains networks "
            "for it on your own pairs or cohort and evaluates them. All computing happens in the background, on this "
            "computer. Research use only."
        )
        self.parent.helpText += self.getDefaultModuleDocumentationLink()
        self.parent.acknowledgementText = _(
            "Networks and training are built on PyTorch and MONAI; elastix is used where it is installed."
        )


@parameterNodeWrapper
class RegisterModuleParameterNode:
    """The state of the panel; saved with the scene.

    ``applyOptions`` is a JSON object of the options that are not at their default; ``trainingParameters`` holds one
    such object for each method, by the method's name. ``validation`` is "holdout", "patients" or "sites".
    Paths are text, so that an empty one stays empty.
    """

    applyModel: str = "brain"
    fixedVolumes: list[slicer.vtkMRMLScalarVolumeNode]
    movingVolumes: list[slicer.vtkMRMLScalarVolumeNode]
    initialTransform: slicer.vtkMRMLTransformNode
    outputTransform: slicer.vtkMRMLTransformNode
    outputVolume: slicer.vtkMRMLScalarVolumeNode
    checkerboard: bool
    difference: bool
    jacobian: bool
    applyOptions: str
    device: str = "auto"

    trainingDataset: str
    method: str = "morph"
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


class RegisterModuleWidget(TaskWidget):
    """The panel; what it shares with its sister modules is in its base class."""

    task = TASK

    def makeLogic(self):
        return RegisterModuleLogic()

    def makeApplySection(self, log, devices):
        from RegisterModuleLib.panel.register_section import RegisterSection

        return RegisterSection(self.ui, TASK, log, devices, self._startApply)

    def _startApply(self, request: dict[str, Any]) -> RegistrationJob | None:
        node = self._parameterNode
        pair = request["fixed"][0], request["moving"][0]
        if not request["options"].get("center") and not overlap(*pair, node.initialTransform):
            question = _("'{fixed}' and '{moving}' have no place in common. Bring their middles together first?")
            if not slicer.util.confirmOkCancelDisplay(
                question.format(fixed=pair[0].GetName(), moving=pair[1].GetName())
            ):
                return None
            request["options"] = {**request["options"], "center": True}
        return self.logic.apply(
            **request, transform=node.outputTransform, initial=node.initialTransform, volume=node.outputVolume
        )


class RegisterModuleLogic(TaskLogic, ScriptedLoadableModuleLogic):
    """Starts jobs and brings their results into the scene; needs no panel, see its base class."""

    task = TASK

    def getParameterNode(self) -> RegisterModuleParameterNode:
        return RegisterModuleParameterNode(ScriptedLoadableModuleLogic.getParameterNode(self))

    def apply(
        self,
        fixed: Sequence[slicer.vtkMRMLScalarVolumeNode],
        moving: Sequence[slicer.vtkMRMLScalarVolumeNode],
        model: str | Path = "brain",
        transform: slicer.vtkMRMLTransformNode | None = None,
        initial: slicer.vtkMRMLTransformNode | None = None,
        volume: slicer.vtkMRMLScalarVolumeNode | bool | None = None,
        maps: Sequence[str] = (),
        device: str = "auto",
        options: dict[str, Any] | None = None,
    ) -> RegistrationJob:
        """Align a moving volume with a fixed one; see
        :func:`RegisterModuleLib.scene.registration_jobs.start_registration`.
        """
        return start_registration(fixed, moving, model, transform, initial, volume, maps, device, options)


class RegisterModuleTest(ScriptedLoadableModuleTest):
    """A quick test that needs neither data nor the network; the long ones run under pytest, see the README."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        self.setUp()
        self.test_mistakes_are_explained()

    def test_mistakes_are_explained(self):
        volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
        other = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "other")
        with self.assertRaisesRegex(UserError, "choose another moving volume"):
            RegisterModuleLogic().apply([volume], [volume], "morph")
        with self.assertRaisesRegex(UserError, "holds no voxels"):
            RegisterModuleLogic().apply([volume], [other], "morph")
        with self.assertRaisesRegex(UserError, "needs a dataset"):
            RegisterModuleLogic().train("", "morph")
