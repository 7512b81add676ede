"""The panel opens quickly, without torch and the worker's packages, and at its place in Slicer's menus."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from opening import REPOSITORY, check_opening, open_in_new_process, packages_of_the_worker

MODULE = REPOSITORY / "SegmentModule" / "SegmentModule.py"


@pytest.mark.alone
def test_opens_quickly_and_without_torch(tmp_path):
    check_opening(MODULE, tmp_path)


def test_opens_before_any_package_has_been_installed(tmp_path):
    open_in_new_process(MODULE, tmp_path, *packages_of_the_worker())


FIND_THE_LIBRARY = """
import sys
testing, library, module = sys.argv[1:]
sys.path[:0] = [testing, library]
import slicerhost
slicerhost.start()  # needs the library itself, which is then forgotten
sys.path.remove(library)
for name in [name for name in sys.modules if name.partition(".")[0] == "MedDeepLib"]:
    del sys.modules[name]
slicerhost.load_module(module)
print(sys.modules["MedDeepLib"].__file__)
"""


def test_finds_the_library_beside_it_in_a_source_tree(tmp_path):
    library = REPOSITORY / "MedDeepExtension"
    environment = {**os.environ, "MEDDEEP_RUNS": str(tmp_path), "QT_QPA_PLATFORM": "offscreen"}
    environment.pop("PYTHONPATH", None)
    result = subprocess.run(
        [sys.executable, "-c", FIND_THE_LIBRARY, str(REPOSITORY / "Testing"), str(library), str(MODULE)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=environment,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    assert Path(result.stdout.splitlines()[-1]) == library / "MedDeepLib" / "__init__.py"


def test_what_slicer_shows_of_the_module(panel):
    import slicer

    module = slicer.modules.segmentmodule
    assert module.title == "Deep Segmentation"
    assert list(module.categories) == ["Segmentation"]
    assert "Research use only" in module.helpText
    assert not module.icon.isNull()


def test_buttons_that_are_off_say_why(panel):
    ui = panel.ui
    assert not ui.applyButton.enabled and ui.applyButton.toolTip == "Choose a model first."
    assert not ui.trainStartButton.enabled and "Choose a dataset first" in ui.trainStartButton.toolTip
    assert not ui.trainStopButton.enabled and ui.trainStopButton.toolTip == "No training is running."
    assert not ui.trainResumeButton.enabled and "stopped or interrupted" in ui.trainResumeButton.toolTip
    assert not ui.evaluateButton.enabled and ui.evaluateButton.toolTip == "Choose a model first."


def test_devices_and_methods_are_offered(panel):
    ui = panel.ui
    devices = [ui.applyDeviceComboBox.itemData(n) for n in range(ui.applyDeviceComboBox.count)]
    assert devices[0] == "auto" and devices[-1] == "cpu"
    titles = [ui.trainMethodComboBox.itemText(n) for n in range(ui.trainMethodComboBox.count)]
    assert "U-Net" in titles and "SegResNet" in titles
    assert "Ronneberger" in ui.trainMethodDescriptionLabel.toolTip


def test_one_device_for_all_sections(panel):
    panel.ui.trainDeviceComboBox.currentIndex = panel.ui.trainDeviceComboBox.findData("cpu")
    assert panel.parameters.device == "cpu"
    assert "CPU" in panel.ui.applyDeviceComboBox.currentText
    assert "CPU" in panel.ui.evaluateDeviceComboBox.currentText


def test_the_self_test_of_the_module_passes(panel):
    import SegmentModule

    SegmentModule.SegmentModuleTest().runTest()
