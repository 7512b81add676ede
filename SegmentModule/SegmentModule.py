"""Deep Segmentation: train, apply and evaluate networks that segment volumes."""

import sys
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import parameterNodeWrapper

try:
    import MedDeepLib  # noqa: F401 - installed, all packages share one folder
except ImportError:
    # In a source tree the library lies in the folder beside this module's.
    sys.path.append(str(Path(__file__).resolve().parents[1] / "MedDeepExtension"))

from MedDeepLib.errors import UserError
from MedDeepLib.panels.task_module import TaskModule, TaskModuleLogic, TaskModuleTest, TaskParameterNode
from MedDeepLib.panels.task_widget import TaskWidget
from SegmentModuleLib.scene.segmentation_jobs import SegmentationJob, start_segmentation
from SegmentModuleLib.task import TASK


class SegmentModule(TaskModule):
    """The module's entry in Slicer's menus and help."""

    def __init__(self, parent):
        super().__init__(parent)
        self.parent.title = _("Deep Segmentation")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.describe(
            _(
                "Trains segmentation networks on your own images, applies them to volumes of the scene and evaluates "
                "them on test cases."
            )
        )


@parameterNodeWrapper
class SegmentModuleParameterNode(TaskParameterNode):
    """The state of the panel; saved with the scene."""

    inputVolumes: list[slicer.vtkMRMLScalarVolumeNode]
    outputSegmentation: slicer.vtkMRMLSegmentationNode
    method: str = "unet"


class SegmentModuleWidget(TaskWidget):
    """The panel; the part that all modules share is in its base class."""

    def makeLogic(self):
        return SegmentModuleLogic()

    def applySectionClass(self):
        from SegmentModuleLib.panel.apply_section import ApplySection

        return ApplySection


class SegmentModuleLogic(TaskModuleLogic):
    """Starts jobs and brings their results into the scene; needs no panel, see its base class."""

    task = TASK.name
    parameterNodeClass = SegmentModuleParameterNode

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
        return start_segmentation(self.launcher, volumes, model, segmentation, device, options, replace)


class SegmentModuleTest(TaskModuleTest):
    """See its base class."""

    def test_mistakes_are_explained(self):
        volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
        with self.assertRaisesRegex(UserError, "holds no voxels"):
            SegmentModuleLogic().apply([volume], "no such model")
        with self.assertRaisesRegex(UserError, "needs a dataset"):
            SegmentModuleLogic().train("", "unet")
