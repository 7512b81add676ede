"""Toy Module: a third module for the tests; it writes to a text node what a model finds in a volume."""

from pathlib import Path
from typing import Any

import slicer
from MedDeepLib.core import ApplyItem
from MedDeepLib.data.slots import Source
from MedDeepLib.errors import UserError
from MedDeepLib.panels.changes import ValueConnector
from MedDeepLib.panels.task_module import TaskModule, TaskModuleLogic, TaskModuleTest, TaskParameterNode
from MedDeepLib.panels.task_widget import TaskWidget
from MedDeepLib.scene import nodes
from MedDeepLib.scene.application_jobs import ApplicationJob, application_folder, start_application
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import parameterNodeWrapper

TASK = "segment"


class ToyModule(TaskModule):
    def __init__(self, parent):
        super().__init__(parent)
        self.parent.title = _("Toy")
        self.parent.categories = ["Testing"]
        self.describe(_("Says what a model has found."))


@parameterNodeWrapper
class ToyModuleParameterNode(TaskParameterNode):
    inputVolumes: list[slicer.vtkMRMLScalarVolumeNode]
    loudness: int = 3
    method: str = "segresnet"


class ToyModuleWidget(TaskWidget):
    def makeLogic(self):
        return ToyModuleLogic()

    def applySectionClass(self):
        return make_section_class()


class ToyModuleLogic(TaskModuleLogic):
    task = TASK
    parameterNodeClass = ToyModuleParameterNode

    def apply(self, volume: Any, model: str | Path, device: str = "auto", options: dict[str, Any] | None = None):
        with application_folder(TASK) as folder:
            file = nodes.volume_to_file(volume, folder / "input")
            item = ApplyItem({"image": Source("image", (file,))}, {"segmentation": str(folder / "output.seg.nrrd")})
            return ToyJob(start_application(self.launcher, folder, TASK, model, item, device, options), {file: volume})


class ToyJob(ApplicationJob):
    text = None

    def take_over(self):
        self.text = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode", "found")
        self.text.SetText(str(self.folder.result()["action"]))


def make_section_class():
    from MedDeepLib.panels.fields.channel_volumes import ChannelVolumes
    from MedDeepLib.panels.sections.model_section import ModelSection

    class ToySection(ModelSection):
        def make_inputs(self):
            self.volumes = ChannelVolumes(self.ui.applyInputsWidget, [self.ui.applyModelTitle])
            return [self.volumes]

        def make_connectors(self):
            return super().make_connectors() | {"inputVolumes": ValueConnector(self.volumes)}

        def show_inputs(self, model):
            self.volumes.set_channels(("volume",) if model is not None else ())

        def input_obstacles(self):
            return [] if self.volumes.value()[0] is not None else [_("Choose a volume.")]

        def make_job(self, **request):
            return self.logic.apply(self.volumes.value()[0], **request)

        def finished(self, job, state):
            self.status.info(job.text.GetText() if job.text is not None else _("Stopped."))

    return ToySection


class ToyModuleTest(TaskModuleTest):
    def test_mistakes_are_explained(self):
        with self.assertRaisesRegex(UserError, "needs a dataset"):
            ToyModuleLogic().train("", "unet")
