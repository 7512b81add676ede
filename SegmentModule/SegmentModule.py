"""Deep Segmentation: train, apply and evaluate networks that segment volumes."""

import sys
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
from SegmentModuleLib.scene.segmentation_jobs import SegmentationJob, start_segmentation

TASK = "segment"


class SegmentModule(ScriptedLoadableModule):
    """What Slicer shows of the module in its menus and help."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Deep Segmentation")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = []
        self.parent.contributors = ["MedDeepExtension contributors"]
        self.parent.helpText = _(
            "Trains segmentation networks on your own images, applies them to volumes of the scene and evaluates them "
            "on test cases. All computing happens in the background, on this computer. Research use only."
        )
        self.parent.helpText += self.getDefaultModuleDocumentationLink()
        self.parent.acknowledgementText = _("Networks and training are built on PyTorch and MONAI.")


@parameterNodeWrapper
class SegmentModuleParameterNode:
    """The state of the panel; saved with the scene.

    ``applyOptions`` is a JSON object of the options that are not at their default; ``trainingParameters`` holds one
    such object for each method, by the method's name. ``validation`` is "holdout", "patients" or "sites".
    Paths are text, so that an empty one stays empty.
    """

    applyModel: str
    inputVolumes: list[slicer.vtkMRMLScalarVolumeNode]
    outputSegmentation: slicer.vtkMRMLSegmentationNode
    applyOptions: str
    device: str = "auto"

    trainingDataset: str
    method: str = "unet"
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


class SegmentModuleWidget(TaskWidget):
    """The panel; what it shares with its sister modules is in its base class."""

    task = TASK

    def makeLogic(self):
        return SegmentModuleLogic()

    def makeApplySection(self, log, devices):
        from SegmentModuleLib.panel.apply_section import ApplySection

        return ApplySection(self.ui, TASK, log, devices, self._startApply)

    def _startApply(self, request: dict[str, Any]) -> SegmentationJob | None:
        segmentation = self._parameterNode.outputSegmentation
        if segmentation is not None and segmentation.GetSegmentation().GetNumberOfSegments():
            question = _("'{name}' has segments already. Replace them?").format(name=segmentation.GetName())
            if not slicer.util.confirmOkCancelDisplay(question):
                return None
        return self.logic.apply(**request, segmentation=segmentation, replace=True)


class SegmentModuleLogic(TaskLogic, ScriptedLoadableModuleLogic):
    """Starts jobs and brings their results into the scene; needs no panel, see its base class."""

    task = TASK

    def getParameterNode(self) -> SegmentModuleParameterNode:
        return SegmentModuleParameterNode(ScriptedLoadableModuleLogic.getParameterNode(self))

    def apply(
        self,
        volumes: list[slicer.vtkMRMLScalarVolumeNode],
        model: str | Path,
        segmentation: slicer.vtkMRMLSegmentationNode | None = None,
        device: str = "auto",
        options: dict[str, Any] | None = None,
        replace: bool = False,
    ) -> SegmentationJob:
        """Segment volumes of the scene.

        Args:
            volumes: one for each input channel of the model, all on one grid.
            model: a run folder, a model folder, or the name of a released model.
            segmentation: where the result goes; a new node when None.
            device: auto, cpu, cuda:0, mps, ...
            options: the method's apply parameters by name.
            replace: whether segments that ``segmentation`` has already may be replaced.
        """
        return start_segmentation(TASK, volumes, model, segmentation, device, options, replace)


class SegmentModuleTest(ScriptedLoadableModuleTest):
    """A quick test that needs neither data nor the network; the long ones run under pytest, see the README."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        self.setUp()
        self.test_mistakes_are_explained()

    def test_mistakes_are_explained(self):
        volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
        with self.assertRaisesRegex(UserError, "holds no voxels"):
            SegmentModuleLogic().apply([volume], "no such model")
        with self.assertRaisesRegex(UserError, "needs a dataset"):
            SegmentModuleLogic().train("", "unet")
