"""Deep Classification: train, apply and evaluate models that give a case a class or a value."""

import sys
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import parameterNodeWrapper

try:
    import MedDeepLib  # noqa: F401 - installed, all packages share one folder
except ImportError:
    # In a source tree the library lies in the folder beside this module's.
    sys.path.append(str(Path(__file__).resolve().parents[1] / "MedDeepExtension"))

from ClassifyModuleLib.scene.classification_jobs import ClassificationJob, start_classification
from ClassifyModuleLib.task import TASK
from MedDeepLib.errors import UserError
from MedDeepLib.panels.task_module import TaskModule, TaskModuleLogic, TaskModuleTest, TaskParameterNode
from MedDeepLib.panels.task_widget import TaskWidget


class ClassifyModule(TaskModule):
    """The module's entry in Slicer's menus and help."""

    def __init__(self, parent):
        super().__init__(parent)
        self.parent.title = _("Deep Classification")
        self.parent.categories = [_("Classification")]
        self.describe(
            _(
                "Gives a volume a class with calibrated probabilities, or a value, and names the training cases that "
                "resemble it; trains and evaluates models on your own cases."
            )
        )


@parameterNodeWrapper
class ClassifyModuleParameterNode(TaskParameterNode):
    """The state of the panel; saved with the scene."""

    inputVolumes: list[slicer.vtkMRMLScalarVolumeNode]
    outputTable: slicer.vtkMRMLTableNode
    method: str = "cnn"


class ClassifyModuleWidget(TaskWidget):
    """The panel; the part that all modules share is in its base class."""

    def makeLogic(self):
        return ClassifyModuleLogic()

    def applySectionClass(self):
        from ClassifyModuleLib.panel.apply_section import ApplySection

        return ApplySection


class ClassifyModuleLogic(TaskModuleLogic):
    """Starts jobs and brings their results into the scene; needs no panel, see its base class."""

    task = TASK.name
    parameterNodeClass = ClassifyModuleParameterNode

    def apply(
        self,
        volumes: list[slicer.vtkMRMLScalarVolumeNode],
        model: str | Path,
        table: slicer.vtkMRMLTableNode | None = None,
        device: str = "auto",
        options: dict[str, Any] | None = None,
        replace: bool = False,
    ) -> ClassificationJob:
        """Classify volumes of the scene.

        Args:
            volumes: one for each input channel of the model.
            model: a run folder, a model folder, or the name of a released model.
            table: the node that gets the answer; a new node when None.
            device: auto, cpu, cuda:0, mps, ...
            options: the method's apply parameters by name.
            replace: whether rows that ``table`` has already may be replaced.
        """
        return start_classification(self.launcher, volumes, model, table, device, options, replace)


class ClassifyModuleTest(TaskModuleTest):
    """See its base class."""

    def test_mistakes_are_explained(self):
        volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
        with self.assertRaisesRegex(UserError, "holds no voxels"):
            ClassifyModuleLogic().apply([volume], "no such model")
        with self.assertRaisesRegex(UserError, "needs a dataset"):
            ClassifyModuleLogic().train("", "cnn")
