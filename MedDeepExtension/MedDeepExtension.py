"""Deep Learning Jobs and Models: the devices, jobs and trained models of this computer, whichever module uses them."""

from pathlib import Path
from typing import Any

import slicer
from MedDeepLib.devices import Device, list_devices
from MedDeepLib.errors import UserError
from MedDeepLib.jobs import JobFolder, Launcher, State, application_launcher
from MedDeepLib.jobs.disk import delete_job
from MedDeepLib.jobs.listing import JobList
from MedDeepLib.jobs.models import ModelEntry, ModelList
from MedDeepLib.jobs.stopping import Stopping
from MedDeepLib.jobs.summary import Overview
from MedDeepLib.panels.scene_widget import SceneWidget
from MedDeepLib.scene import runs
from MedDeepLib.scene.scene_jobs import EvaluationJob, TrainingJob, start_training
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
)


class MedDeepExtension(ScriptedLoadableModule):
    """What Slicer shows of the module in its menus and help."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Deep Learning Jobs and Models")
        # It serves the modules of several categories and does nothing to an image itself.
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Utilities")]
        self.parent.dependencies = []
        self.parent.contributors = ["MedDeepExtension contributors"]
        self.parent.helpText = _(
            "Shows what this computer can compute on, who uses it and who waits for it; all trainings, evaluations and "
            "applications, running, waiting and past; and all trained models. Jobs can be stopped, resumed and deleted "
            "whichever Slicer or script has started them, and models taken elsewhere. Research use only."
        )
        self.parent.helpText += self.getDefaultModuleDocumentationLink()
        self.parent.acknowledgementText = _("Networks and training are built on PyTorch and MONAI.")


@parameterNodeWrapper
class MedDeepExtensionParameterNode:
    """What is chosen in the panel; saved with the scene. Jobs and models are named by their folders."""

    selectedJob: str
    jobOrder: str = "-begun"
    selectedModel: str
    modelOrder: str = "-made"


class MedDeepExtensionWidget(SceneWidget):
    """The panel: connects its sections with the form, the parameter node and the life of the scene."""

    alwaysSet = "jobOrder"

    def __init__(self, parent=None):
        super().__init__(parent)
        self.home: Any = None

    def setup(self):
        from MedDeepLib.panels.home import Home

        super().setup()
        panel = slicer.util.loadUI(self.resourcePath("UI/MedDeepExtension.ui"))
        self.layout.addWidget(panel)
        self.ui = slicer.util.childWidgetVariables(panel)
        panel.setMRMLScene(slicer.mrmlScene)
        self.logic = MedDeepExtensionLogic()
        self.home = Home(self.ui, self.logic)
        self.bindToScene()

    def enter(self):
        super().enter()
        self.home.begin()

    def exit(self):
        """Another module is shown: the panel stops looking at the jobs; what was resumed here runs on."""
        self.home.end()

    def shutDown(self):
        """Stop all that goes on: the panel or the application goes away. A training can be resumed later."""
        if self.home is not None:  # else the panel was never finished
            self.home.shut_down()

    def sceneCloses(self):
        self.home.scene_closes()

    def connectGui(self, parameterNode: MedDeepExtensionParameterNode) -> list[int]:
        return [parameterNode.connectParametersToGui(self.home.connectors())]


class MedDeepExtensionLogic(ScriptedLoadableModuleLogic):
    """The panel's functions for scripts and the Python console; needs no panel.

    Wrong arguments raise :class:`MedDeepLib.errors.UserError`.

    Attributes:
        launcher: starts the workers of resumed jobs.
    """

    def __init__(self, launcher: Launcher | None = None):
        """``launcher``: that of the application when None."""
        super().__init__()
        self.launcher = application_launcher() if launcher is None else launcher

    def getParameterNode(self) -> MedDeepExtensionParameterNode:
        return MedDeepExtensionParameterNode(super().getParameterNode())

    def devices(self) -> list[Device]:
        """What this computer can compute on, with who uses each device and who waits for it."""
        return list_devices()

    def jobs(self) -> list[Overview]:
        """All jobs of the runs folder, the newest first."""
        jobs = JobList()
        _exhaust(jobs.refresh(runs.runs_folder()))
        return jobs.overviews

    def models(self) -> list[ModelEntry]:
        """All models, released ones and those of the runs, the newest first."""
        models = ModelList()
        _exhaust(models.refresh(runs.runs_folder()))
        return models.entries

    def resume(self, run_folder: str | Path) -> TrainingJob | EvaluationJob:
        """Resume a training or cross-validation from its last checkpoint."""
        return start_training(self.launcher, JobFolder(run_folder))

    def stop(self, run_folder: str | Path) -> Stopping:
        """Ask a job to save and leave, also one that waits or that another program has started; does not wait."""
        return Stopping(JobFolder(run_folder))

    def deleteJob(self, run_folder: str | Path) -> None:
        """Delete a job with its folder, the trained model included. Does not ask."""
        _exhaust(delete_job(JobFolder(run_folder)))


class MedDeepExtensionTest(ScriptedLoadableModuleTest):
    """A quick test that needs neither data nor network access; the long ones run under pytest, see the README."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        self.setUp()
        self.test_the_computer_can_compute()
        self.test_mistakes_are_explained()

    def test_the_computer_can_compute(self):
        devices = MedDeepExtensionLogic().devices()
        self.assertEqual(devices[-1].id, "cpu")

    def test_mistakes_are_explained(self):
        nowhere = runs.runs_folder() / "no such job"
        self.assertIs(JobFolder(nowhere).state(), State.QUEUED)
        with self.assertRaisesRegex(UserError, "cannot be read"):
            MedDeepExtensionLogic().resume(nowhere)
        with self.assertRaisesRegex(UserError, "nothing to stop"):
            MedDeepExtensionLogic().stop(nowhere)


def _exhaust(steps) -> None:
    for _step in steps:
        pass
