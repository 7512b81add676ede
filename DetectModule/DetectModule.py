"""Deep Detection: train, apply and evaluate networks that find things in volumes, and review what they find."""

import sys
from pathlib import Path
from typing import Annotated, Any

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

try:
    import MedDeepLib  # noqa: F401 - installed, all packages share one folder
except ImportError:
    # In a source tree the library lies in the folder beside this module's.
    sys.path.append(str(Path(__file__).resolve().parents[1] / "MedDeepExtension"))

from DetectModuleLib.scene.detection_jobs import DetectionJob, start_detection
from DetectModuleLib.scene.findings_nodes import MOST_BOXES
from DetectModuleLib.task import TASK
from MedDeepLib.errors import UserError
from MedDeepLib.panels.task_module import TaskModule, TaskModuleLogic, TaskModuleTest, TaskParameterNode
from MedDeepLib.panels.task_widget import TaskWidget


class DetectModule(TaskModule):
    """The module's entry in Slicer's menus and help."""

    def __init__(self, parent):
        super().__init__(parent)
        self.parent.title = _("Deep Detection")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Analysis")]
        self.describe(
            _(
                "Trains networks on your own images to find lesions and other things, applies them to volumes of the "
                "scene, and lets you correct what they find and train on it."
            )
        )


@parameterNodeWrapper
class DetectModuleParameterNode(TaskParameterNode):
    """The state of the panel; saved with the scene."""

    inputVolumes: list[slicer.vtkMRMLScalarVolumeNode]
    outputFindings: slicer.vtkMRMLMarkupsFiducialNode
    method: str = "retina"
    reviewThreshold: Annotated[float, WithinRange(0.0, 1.0)] = 0.0
    reviewBoxes: Annotated[int, WithinRange(0, 200)] = MOST_BOXES
    reviewOrder: str = "-score"
    reviewDataset: str


class DetectModuleWidget(TaskWidget):
    """The panel; the part that all modules share is in its base class."""

    def makeLogic(self):
        return DetectModuleLogic()

    def applySectionClass(self):
        from DetectModuleLib.panel.apply_section import ApplySection

        return ApplySection

    def cleanup(self):
        super().cleanup()
        if self.sections:  # else the setup of the panel failed
            self.applySection.review.shut_down()


class DetectModuleLogic(TaskModuleLogic):
    """Starts jobs and brings their results into the scene; needs no panel, see its base class."""

    task = TASK.name
    parameterNodeClass = DetectModuleParameterNode

    def apply(
        self,
        volumes: list[slicer.vtkMRMLScalarVolumeNode],
        model: str | Path,
        points: slicer.vtkMRMLMarkupsFiducialNode | None = None,
        device: str = "auto",
        options: dict[str, Any] | None = None,
        replace: bool = False,
        boxes: int = MOST_BOXES,
    ) -> DetectionJob:
        """Search volumes of the scene; ``DetectModuleLib.scene.findings_nodes.FindingsNodes`` reads the result.

        Args:
            volumes: one for each input channel of the model, all on one grid.
            model: a run folder, a model folder, or the name of a released model.
            points: the point list that the findings go into; a new one when None.
            device: auto, cpu, cuda:0, mps, ...
            options: the method's apply parameters by name.
            replace: whether findings that ``points`` has already may be replaced.
            boxes: how many findings, those with the highest scores, get a ROI.
        """
        return start_detection(self.launcher, volumes, model, points, device, options, replace, boxes)


class DetectModuleTest(TaskModuleTest):
    """See its base class."""

    def test_mistakes_are_explained(self):
        volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
        with self.assertRaisesRegex(UserError, "holds no voxels"):
            DetectModuleLogic().apply([volume], "no such model")
        with self.assertRaisesRegex(UserError, "needs a dataset"):
            DetectModuleLogic().train("", "retina")
