"""The life cycle of a scripted module: load, use, screenshot, reload, unload."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

EXAMPLE = Path(__file__).parent / "example"


@pytest.fixture
def slicer(host):
    import slicer

    return slicer


@pytest.fixture
def widget(host):
    return host.load_module(EXAMPLE / "ExampleModule.py")


@pytest.fixture
def volume(slicer):
    array = np.zeros((8, 9, 10))
    array[2:5, 2:5, 2:5] = 500
    return slicer.util.addVolumeFromArray(array, name="head")


def test_loading_sets_up_and_enters(widget, slicer):
    assert widget.calls == ["setup", "enter"]
    assert slicer.modules.ExampleModuleWidget is widget
    assert slicer.util.getModuleWidget("ExampleModule") is widget
    assert slicer.util.getModuleLogic("ExampleModule") is widget.logic
    assert slicer.util.selectedModule() == "ExampleModule"
    assert slicer.util.moduleNames() == ("ExampleModule",)
    assert Path(slicer.util.modulePath("ExampleModule")) == EXAMPLE / "ExampleModule.py"
    assert slicer.modules.examplemodule.title == "Example"
    assert slicer.modules.examplemodule.categories == ("Examples",)


def test_the_panel_works(widget, volume, host):
    assert not widget.ui.applyButton.enabled
    widget.ui.inputSelector.setCurrentNode(volume)
    widget.ui.outputSelector.addNode()
    assert widget.ui.applyButton.enabled
    widget.ui.applyButton.click()
    assert widget.ui.statusLabel.text == "27 voxels"
    assert widget.ui.segmentsTable.segmentCount() == 1
    assert host.process_events(1, until=lambda: widget.calls[-1] == "applied")


def test_screenshot_shows_the_panel(widget, volume, host, tmp_path):
    import qt

    image = qt.QImage(str(host.screenshot(widget, tmp_path / "deep" / "panel.png")))
    assert image.width() >= 460 and image.height() > 200
    colors = {image.pixel(x, y) for x in range(0, image.width(), 3) for y in range(0, image.height(), 3)}
    assert len(colors) > 20, "a blank picture has one colour"
    assert widget.ui.inputsButton.width > 400, "the sections use the width of the panel"


def test_closing_the_scene(widget, volume, host):
    widget.ui.inputSelector.setCurrentNode(volume)
    host.close_scene()
    assert "scene closed" in widget.calls
    assert widget.ui.inputSelector.currentNode() is None and not widget.ui.applyButton.enabled


def test_reload(widget, slicer):
    slicer.util.reloadScriptedModule("ExampleModule")
    assert widget.calls[-1] == "cleanup"
    fresh = slicer.modules.ExampleModuleWidget
    assert fresh is not widget and fresh.calls == ["setup", "enter"] and fresh.parent is widget.parent
    assert (
        widget.parent.layout().itemAt(0).widget().findChild("QPushButton", "applyButton")
        is fresh.ui.applyButton
    )


def test_unload_and_load_again(widget, slicer, host):
    host.unload_module("ExampleModule")
    assert widget.calls[-1] == "cleanup"
    assert not hasattr(slicer.modules, "examplemodule") and not hasattr(slicer.modules, "ExampleModuleWidget")
    with pytest.raises(RuntimeError, match="Could not find module"):
        slicer.util.getModule("ExampleModule")
    assert host.load_module(EXAMPLE / "ExampleModule.py").calls == ["setup", "enter"]


def test_selecting_another_module_leaves_the_first(widget, host, slicer, tmp_path):
    source = (
        (EXAMPLE / "ExampleModule.py").read_text(encoding="utf-8").replace("ExampleModule", "OtherModule")
    )
    (tmp_path / "OtherModule.py").write_text(source, encoding="utf-8")
    (tmp_path / "Resources" / "UI").mkdir(parents=True)
    shutil.copy(EXAMPLE / "Resources/UI/ExampleModule.ui", tmp_path / "Resources/UI/OtherModule.ui")
    other = host.load_module(tmp_path / "OtherModule.py")
    assert widget.calls == ["setup", "enter", "exit"]
    slicer.util.selectModule("ExampleModule")
    assert widget.calls[-1] == "enter" and other.calls == ["setup", "enter", "exit"]


def test_a_failing_module_is_reported(host, tmp_path):
    (tmp_path / "BrokenModule.py").write_text("raise RuntimeError('broken on purpose')", encoding="utf-8")
    with pytest.raises(RuntimeError, match="broken on purpose"):
        host.load_module(tmp_path / "BrokenModule.py")
    with pytest.raises(FileNotFoundError):
        host.load_module(tmp_path / "AbsentModule.py")


def test_parameter_node(widget, slicer):
    logic = widget.logic
    node = logic.getParameterNode()
    assert logic.getParameterNode() is node
    assert node.GetSingletonTag() == node.GetAttribute("ModuleName") == "ExampleModule"
    node.SetAttribute("ModuleName", None)
    assert logic.getParameterNode().GetAttribute("ModuleName") == "ExampleModule"
    assert logic.getAllParameterNodes() == [node]


def test_several_parameter_nodes(widget, slicer):
    logic = widget.logic
    logic.isSingletonParameterNode = False
    first = logic.getParameterNode()
    second = slicer.mrmlScene.AddNode(logic.createParameterNode())
    assert logic.getParameterNode() is first
    assert logic.getAllParameterNodes() == [first, second]


def test_self_test(widget, slicer):
    import sys

    slicer.selfTests["ExampleModule"](msec=1)
    assert sys.modules["ExampleModule"].ExampleModuleTest.ran


def test_developer_section(host, slicer, monkeypatch):
    slicer.app.settings().setValue("Developer/DeveloperMode", True)
    try:
        widget = host.load_module(EXAMPLE / "ExampleModule.py")
    finally:
        slicer.app.settings().remove("Developer/DeveloperMode")
    restarts = slicer.app.restartCount
    widget.restartButton.click()
    assert slicer.app.restartCount == restarts + 1
    widget.reloadButton.click()
    assert slicer.modules.ExampleModuleWidget is not widget


def test_documentation_link(widget, slicer):
    link = slicer.modules.ExampleModuleInstance.getDefaultModuleDocumentationLink()
    assert slicer.app.moduleDocumentationUrl("ExampleModule") in link


def test_widget_without_parent_shows_itself(host, slicer):
    host.load_module(EXAMPLE / "ExampleModule.py")
    import ExampleModule

    window = ExampleModule.ExampleModuleWidget()
    assert window.calls == ["setup"] and window.parent.visible
    window.parent.close()
    window.cleanup()
    window.parent.deleteLater()


def test_run_unit_test(host, slicer, tmp_path):
    test = "import unittest\nclass T(unittest.TestCase):\n    def test(self): self.assertEqual(1, {})\n"
    for name, value, passed in (("unit_test_passing", 1, True), ("unit_test_failing", 2, False)):
        (tmp_path / f"{name}.py").write_text(test.format(value), encoding="utf-8")
        assert slicer.testing.runUnitTest(str(tmp_path), name) is passed
