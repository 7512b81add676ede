"""slicer.app: its settings, layout and lifetime."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def slicer(host):
    import slicer

    return slicer


def test_start_is_idempotent(host, slicer):
    assert host.start() is slicer.app is host.start(testing=False)
    assert not slicer.app.testingEnabled()
    host.start(testing=True)
    assert slicer.app.testingEnabled()


TAKE_OVER = """
from MedDeepLib.scene import headless
headless.start()
import slicer
scene, logic = slicer.mrmlScene, slicer.app.applicationLogic()
import slicerhost
app = slicerhost.start()
import qt
assert isinstance(app, qt.QApplication) and slicer.app is app and headless.start() is app
assert app.mrmlScene() is slicer.mrmlScene is scene and app.applicationLogic() is logic
selector = slicer.qMRMLNodeComboBox()
selector.nodeTypes = ["vtkMRMLTextNode"]
selector.setMRMLScene(scene)
scene.AddNewNodeByClass("vtkMRMLTextNode")
assert selector.nodeCount() == 1
print("taken over")
"""


def test_a_headless_application_is_taken_over():
    root = Path(__file__).parents[3]
    paths = os.pathsep.join(str(root / folder) for folder in ("Testing", "MedDeepExtension"))
    run = subprocess.run(
        [sys.executable, "-c", TAKE_OVER],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (run.returncode, run.stdout.strip()) == (0, "taken over"), run.stderr


def test_application_is_both_halves(slicer):
    import qt

    assert isinstance(slicer.app, qt.QApplication)
    assert slicer.app.mrmlScene() is slicer.mrmlScene
    assert slicer.app.applicationLogic().GetMRMLScene() is slicer.mrmlScene
    with pytest.raises(AttributeError, match="creating new attributes"):
        slicer.app.remark = 1


def test_modules_of_slicers_python_package_can_be_imported(host):
    import slicer.i18n
    import slicer.packaging
    import slicer.parameterNodeWrapper
    import slicer.ScriptedLoadableModule
    import slicer.testing
    from qSlicerSubjectHierarchyModuleWidgetsPythonQt import qMRMLSubjectHierarchyTreeView

    assert qMRMLSubjectHierarchyTreeView is slicer.qMRMLSubjectHierarchyTreeView
    assert slicer.i18n.tr("text") == "text"


def test_settings_are_temporary_and_shared(slicer):
    import qt

    assert qt.QSettings().fileName().startswith(slicer.app.temporaryPath)
    qt.QSettings().setValue("Example/Number", 3)
    assert slicer.util.settingsValue("Example/Number", 0, converter=int) == 3
    assert slicer.app.userSettings().value("Example/Number") in (3, "3")
    assert slicer.util.settingsValue("Example/Absent", True, converter=slicer.util.toBool) is True


def test_restart_is_only_counted(slicer):
    before = slicer.app.restartCount
    slicer.util.restart()
    assert slicer.app.restartCount == before + 1


def test_quitting_tells_everyone(host, slicer):
    seen = []
    slicer.app.connect("aboutToQuit()", lambda: seen.append(True))
    host.quit_application()
    slicer.app.disconnect("aboutToQuit()")
    assert seen == [True]


def test_main_window_and_status_bar(slicer):
    assert slicer.util.mainWindow().className() == "qSlicerMainWindow"
    assert slicer.util.showStatusMessage("Working")
    assert slicer.util.mainWindow().statusBar().currentMessage() == "Working"


def test_layout(slicer):
    manager, seen = slicer.app.layoutManager(), []
    manager.connect("layoutChanged(int)", lambda layout: seen.append(layout))
    manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView)
    manager.layout = slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
    assert seen == [
        slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView,
        slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView,
    ]
    assert manager.sliceViewNames() == ("Red", "Yellow", "Green")


@pytest.fixture
def volume(slicer):
    return slicer.util.addVolumeFromArray(np.arange(60.0).reshape(3, 4, 5), name="head")


def test_selected_volume_reaches_the_slice_views(slicer, volume):
    logic = slicer.app.applicationLogic()
    logic.GetSelectionNode().SetActiveVolumeID(volume.GetID())
    logic.PropagateVolumeSelection()
    for name in slicer.app.layoutManager().sliceViewNames():
        composite = slicer.app.layoutManager().sliceWidget(name).mrmlSliceCompositeNode()
        assert composite.GetBackgroundVolumeID() == volume.GetID()


def test_slice_layers_and_reset(slicer, volume):
    slicer.util.setSliceViewerLayers(background=volume, fit=True, rotateToVolumePlane=True)
    slicer.util.resetSliceViews()
    logic = slicer.app.layoutManager().sliceWidget("Red").sliceLogic()
    assert logic.GetBackgroundLayer().GetVolumeNode() is volume
    assert max(logic.GetSliceNode().GetFieldOfView()[:2]) < 20, "fitted to a volume of 5 x 4 x 3 mm"


def test_slice_views_survive_closing_the_scene(slicer, host, volume):
    host.close_scene()
    again = slicer.util.addVolumeFromArray(np.zeros((3, 4, 5)))
    slicer.util.setSliceViewerLayers(background=again)
    composite = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    assert composite.GetBackgroundVolumeID() == again.GetID()


def test_wait_cursor(slicer):
    import qt

    with slicer.util.WaitCursor():
        assert qt.QApplication.overrideCursor().shape() == qt.Qt.WaitCursor
    assert qt.QApplication.overrideCursor() is None


def test_process_events_until(host):
    import qt

    seen = []
    qt.QTimer.singleShot(30, lambda: seen.append(True))
    assert not host.process_events(0.001, until=lambda: seen)
    assert host.process_events(5, until=lambda: seen)


def test_delete_later_happens_when_control_returns_to_the_event_loop(host, slicer):
    import qt

    parent = qt.QWidget()
    child = qt.QLabel(parent)
    child.deleteLater()
    slicer.app.processEvents()
    assert parent.children() == [child]
    host.process_events()
    assert parent.children() == []


def test_console_process_reports_to_callbacks(host, slicer):
    lines, codes = [], []
    slicer.util.launchConsoleProcess(
        [sys.executable, "-c", "print('hello')"],
        blocking=False,
        logCallback=lambda line: lines.append(line.strip()),
        completedCallback=codes.append,
    )
    assert host.process_events(30, until=lambda: codes)
    assert "hello" in lines and codes == [0]
