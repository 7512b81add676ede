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
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

try:
    import MedDeepLib  # noqa: F401 - installed, all packages share one folder
except ImportError:
    # In a source tree the library lies in the folder beside this module's.
    sys.path.append(str(Path(__file__).resolve().parents[1] / "MedDeepExtension"))

from MedDeepLib.errors import UserError
from MedDeepLib.scene import scene_jobs

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


class SegmentModuleWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel: connects the sections with the form, the parameter node and the life of the scene."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic: SegmentModuleLogic | None = None
        self.sections: list[Any] = []
        self._parameterNode: SegmentModuleParameterNode | None = None
        self._guiTags: list[int] = []
        self._settings: dict[str, Any] = {}

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        panel = slicer.util.loadUI(self.resourcePath("UI/SegmentModule.ui"))
        self.layout.addWidget(panel)
        self.ui = slicer.util.childWidgetVariables(panel)
        panel.setMRMLScene(slicer.mrmlScene)
        self.logic = SegmentModuleLogic()
        self._makeSections()
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEndImport)
        slicer.app.connect("aboutToQuit()", self.shutDown)
        self.initializeParameterNode()
        self.trainSection.offer_interrupted_run()

    def _makeSections(self):
        from MedDeepLib.devices import list_devices
        from MedDeepLib.panels.apply_section import ApplySection
        from MedDeepLib.panels.evaluate_section import EvaluateSection
        from MedDeepLib.panels.status import JobLog
        from MedDeepLib.panels.train_section import TrainSection

        devices = list_devices()
        log = JobLog(self.ui.logTextEdit, self.ui.workerLogButton)
        self.applySection = ApplySection(self.ui, TASK, log, devices, self._startApply)
        self.trainSection = TrainSection(self.ui, TASK, log, devices, self.logic)
        self.evaluateSection = EvaluateSection(self.ui, TASK, log, devices, self.logic)
        self.sections = [self.applySection, self.trainSection, self.evaluateSection]
        self.trainSection.model_trained.connect(self._refreshModels)
        self.trainSection.on_figures = self.evaluateSection.show_figures

    def cleanup(self):
        self.shutDown()
        slicer.app.disconnect("aboutToQuit()", self.shutDown)
        self.removeObservers()
        self.setParameterNode(None)

    def enter(self):
        self.initializeParameterNode()
        self._refreshModels()

    def exit(self):
        """Jobs go on while another module is shown; the panel stays bound to its parameter node to show them."""

    def shutDown(self):
        """Stop all jobs: the panel or the application goes away. A training can be resumed later."""
        from MedDeepLib.panels.job_monitor import shut_down_all

        shut_down_all([section.monitor for section in self.sections])

    def onSceneStartClose(self, caller, event):
        for section in self.sections:
            section.scene_closes()
        scene_jobs.release_workers()  # an empty scene needs no memory for a model
        if self._parameterNode is not None:
            self._settings = _settings(self._parameterNode)
        self.setParameterNode(None)

    def onSceneEndClose(self, caller, event):
        if self.parent.isEntered:
            self.initializeParameterNode()

    def onSceneEndImport(self, caller, event):
        """The loaded scene may have brought other values and nodes for the same parameter node."""
        if self._parameterNode is not None:
            self.setParameterNode(None)
            self.initializeParameterNode()

    def initializeParameterNode(self):
        """Bind the panel to the scene's parameter node; a new one gets the settings made before the scene closed."""
        # Closing the scene does not remove the node but empties it.
        isEmpty = not ScriptedLoadableModuleLogic.getParameterNode(self.logic).HasParameter("method")
        parameterNode = self.logic.getParameterNode()
        if isEmpty:
            for name, value in self._settings.items():
                parameterNode.setValue(name, value)
        if self._parameterNode is None or self._parameterNode.parameterNode is not parameterNode.parameterNode:
            self.setParameterNode(parameterNode)

    def setParameterNode(self, parameterNode: SegmentModuleParameterNode | None):
        for tag in self._guiTags:
            self._parameterNode.disconnectGui(tag)
        self._guiTags = []
        self._parameterNode = parameterNode
        if parameterNode is not None:
            self._guiTags.append(parameterNode.connectGui(self.ui))
            for section in self.sections:
                self._guiTags.append(parameterNode.connectParametersToGui(section.connectors()))

    def _refreshModels(self):
        for section in (self.applySection, self.evaluateSection):
            section.model_chooser.refresh()
            section.update_buttons()

    def _startApply(self, request: dict[str, Any]) -> scene_jobs.SegmentationJob | None:
        segmentation = self._parameterNode.outputSegmentation
        if segmentation is not None and segmentation.GetSegmentation().GetNumberOfSegments():
            question = _("'{name}' has segments already. Replace them?").format(name=segmentation.GetName())
            if not slicer.util.confirmOkCancelDisplay(question):
                return None
        return self.logic.apply(**request, segmentation=segmentation, replace=True)


class SegmentModuleLogic(ScriptedLoadableModuleLogic):
    """Starts jobs and brings their results into the scene; needs no panel.

    Each function returns at once with a job to ``wait()`` for. Wrong arguments raise
    :class:`MedDeepLib.errors.UserError`; what goes wrong in the job makes ``wait()`` raise.
    """

    def getParameterNode(self) -> SegmentModuleParameterNode:
        return SegmentModuleParameterNode(super().getParameterNode())

    def apply(
        self,
        volumes: list[slicer.vtkMRMLScalarVolumeNode],
        model: str | Path,
        segmentation: slicer.vtkMRMLSegmentationNode | None = None,
        device: str = "auto",
        options: dict[str, Any] | None = None,
        replace: bool = False,
    ) -> scene_jobs.SegmentationJob:
        """Segment volumes of the scene.

        Args:
            volumes: one for each input channel of the model, all on one grid.
            model: a run folder, a model folder, or the name of a released model.
            segmentation: where the result goes; a new node when None.
            device: auto, cpu, cuda:0, mps, ...
            options: the method's apply parameters by name.
            replace: whether segments that ``segmentation`` has already may be replaced.
        """
        return scene_jobs.start_segmentation(TASK, volumes, model, segmentation, device, options, replace)

    def train(
        self,
        dataset: str | Path,
        method: str,
        parameters: dict[str, Any] | None = None,
        run_folder: str | Path | None = None,
        device: str = "auto",
        seed: int = 0,
    ) -> scene_jobs.TrainingJob:
        """Train a network; see :func:`MedDeepLib.scene.scene_jobs.start_training`."""
        return scene_jobs.start_training(TASK, dataset, method, parameters, run_folder, device, seed)

    def plan(
        self, dataset: str | Path, method: str, parameters: dict[str, Any] | None = None, device: str = "auto"
    ) -> scene_jobs.PlanningJob:
        """What a training would choose for these images and this device, and why; ``job.text`` after ``wait()``."""
        return scene_jobs.start_plan(TASK, dataset, method, parameters, device)

    def cross_validate(
        self,
        dataset: str | Path,
        method: str,
        parameters: dict[str, Any] | None = None,
        folds: int | str = 5,
        run_folder: str | Path | None = None,
        device: str = "auto",
        seed: int = 0,
    ) -> scene_jobs.EvaluationJob:
        """Judge a method on cases it has not seen; see :func:`MedDeepLib.scene.scene_jobs.start_cross_validation`."""
        return scene_jobs.start_cross_validation(TASK, dataset, method, folds, parameters, run_folder, device, seed)

    def resume(self, run_folder: str | Path) -> scene_jobs.TrainingJob | scene_jobs.EvaluationJob:
        """Go on with a training or cross-validation that was stopped or interrupted."""
        return scene_jobs.resume_training(run_folder)

    def evaluate(self, model: str | Path, dataset: str | Path, device: str = "auto") -> scene_jobs.EvaluationJob:
        """Evaluate a model on the test cases of a dataset; the job's tables come into the scene."""
        return scene_jobs.start_evaluation(TASK, model, dataset, device)


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


def _settings(parameterNode: SegmentModuleParameterNode) -> dict[str, Any]:
    """What outlives the scene: everything that is not a node."""
    names = [name for name in parameterNode.allParameters if not _is_node_field(name)]
    return {name: parameterNode.getValue(name) for name in names}


def _is_node_field(name: str) -> bool:
    return name in ("inputVolumes", "outputSegmentation", "trainingChart", "metricsTable")
