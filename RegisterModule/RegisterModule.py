"""Deep Registration: align two volumes by networks and gradient steps, train such networks and evaluate them."""

import sys
from collections.abc import Sequence
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
from RegisterModuleLib.scene.registration_jobs import RegistrationJob, start_registration
from RegisterModuleLib.task import TASK


class RegisterModule(TaskModule):
    """The module's entry in Slicer's menus and help."""

    def __init__(self, parent):
        super().__init__(parent)
        self.parent.title = _("Deep Registration")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Registration")]
        self.describe(
            _(
                "Aligns a moving volume with a fixed one by a matrix or a deformation and reports how well; trains "
                "networks for it on your own pairs or cohort and evaluates them."
            )
        )
        self.parent.acknowledgementText += " " + _("elastix is used where it is installed.")


@parameterNodeWrapper
class RegisterModuleParameterNode(TaskParameterNode):
    """The state of the panel; saved with the scene."""

    applyModel: str = "brain"
    fixedVolumes: list[slicer.vtkMRMLScalarVolumeNode]
    movingVolumes: list[slicer.vtkMRMLScalarVolumeNode]
    initialTransform: slicer.vtkMRMLTransformNode
    outputTransform: slicer.vtkMRMLTransformNode
    outputVolume: slicer.vtkMRMLScalarVolumeNode
    checkerboard: bool
    difference: bool
    jacobian: bool
    method: str = "morph"


class RegisterModuleWidget(TaskWidget):
    """The panel; the part that all modules share is in its base class."""

    def makeLogic(self):
        return RegisterModuleLogic()

    def applySectionClass(self):
        from RegisterModuleLib.panel.register_section import RegisterSection

        return RegisterSection


class RegisterModuleLogic(TaskModuleLogic):
    """Starts jobs and brings their results into the scene; needs no panel, see its base class."""

    task = TASK.name
    parameterNodeClass = RegisterModuleParameterNode

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
        return start_registration(
            self.launcher, fixed, moving, model, transform, initial, volume, maps, device, options
        )


class RegisterModuleTest(TaskModuleTest):
    """See its base class."""

    def test_mistakes_are_explained(self):
        volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
        other = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "other")
        with self.assertRaisesRegex(UserError, "choose another moving volume"):
            RegisterModuleLogic().apply([volume], [volume], "morph")
        with self.assertRaisesRegex(UserError, "holds no voxels"):
            RegisterModuleLogic().apply([volume], [other], "morph")
        with self.assertRaisesRegex(UserError, "needs a dataset"):
            RegisterModuleLogic().train("", "morph")
