"""A small scripted module for the tests of slicerhost: thresholds a volume into a segmentation."""

from __future__ import annotations

import numpy as np
import qt
import slicer
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin


class ExampleModule(ScriptedLoadableModule):
    def __init__(self, parent):
        super().__init__(parent)
        parent.title = _("Example")
        parent.categories = ["Examples"]


class ExampleModuleWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent=None):
        self.calls: list[str] = []
        super().__init__(parent)  # sets up the panel at once if there is no parent

    def setup(self):
        super().setup()
        panel = slicer.util.loadUI(self.resourcePath("UI/ExampleModule.ui"))
        self.layout.addWidget(panel)
        self.layout.addStretch(1)
        self.ui = slicer.util.childWidgetVariables(panel)
        panel.setMRMLScene(slicer.mrmlScene)
        self.logic = ExampleModuleLogic()
        self.ui.inputSelector.connect("currentNodeChanged(vtkMRMLNode*)", self.checkInputs)
        self.ui.outputSelector.connect("currentNodeChanged(vtkMRMLNode*)", self.checkInputs)
        self.ui.applyButton.connect("clicked(bool)", self.onApply)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneClosed)
        self.calls.append("setup")
        self.checkInputs()

    def enter(self):
        self.calls.append("enter")

    def exit(self):
        self.calls.append("exit")

    def cleanup(self):
        self.calls.append("cleanup")
        self.removeObservers()

    def onSceneClosed(self, caller, event):
        self.calls.append("scene closed")

    def checkInputs(self):
        ready = self.ui.inputSelector.currentNode() and self.ui.outputSelector.currentNode()
        self.ui.applyButton.enabled = bool(ready)

    def onApply(self):
        with slicer.util.tryWithErrorDisplay(_("Thresholding failed."), waitCursor=True):
            segmentation = self.ui.outputSelector.currentNode()
            voxels = self.logic.process(
                self.ui.inputSelector.currentNode(), segmentation, self.ui.thresholdSlider.value
            )
            self.ui.statusLabel.text = f"{voxels} voxels"
            self.ui.segmentsTable.setSegmentationNode(segmentation)
            qt.QTimer.singleShot(0, lambda: self.calls.append("applied"))


class ExampleModuleLogic(ScriptedLoadableModuleLogic):
    def process(self, volume, segmentation, threshold: float) -> int:
        if threshold < 0:
            raise ValueError("The threshold must not be negative.")
        mask = (slicer.util.arrayFromVolume(volume) > threshold).astype(np.uint8)
        segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        segment_id = segmentation.GetSegmentation().AddEmptySegment("", "bright", (1.0, 0.5, 0.0))
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask, segmentation, segment_id, volume)
        return int(mask.sum())


class ExampleModuleTest(ScriptedLoadableModuleTest):
    ran = False

    def runTest(self):
        self.delayDisplay("Running")
        type(self).ran = True
