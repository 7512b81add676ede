"""Opening the panel: quickly, without torch, without the worker's packages, in its place in Slicer's menus."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
MODULE = REPOSITORY / "SegmentModule" / "SegmentModule.py"
MAXIMUM_SECONDS = 0.3

OPEN_AND_MEASURE = """
import json, sys, time

class Refuse:  # as in a Slicer in which nothing has been installed yet
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in REFUSED:
            raise ImportError(f"{name} is refused")

REFUSED = set(sys.argv[2:])
sys.meta_path.insert(0, Refuse())
import slicerhost
slicerhost.start()
start = time.perf_counter()
slicerhost.load_module(sys.argv[1])
seconds = time.perf_counter() - start
print(json.dumps({"seconds": seconds, "packages": sorted({name.partition(".")[0] for name in sys.modules})}))
"""


def open_in_new_process(tmp_path, *refused: str) -> dict:
    """Open the panel in a new process in which some packages cannot be imported; only Testing/ is on the path, as
    Slicer adds nothing but the module's own folder."""
    paths = [REPOSITORY / "Testing", REPOSITORY / "MedDeepExtension"]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "MEDDEEP_RUNS": str(tmp_path / "runs"),
        "QT_QPA_PLATFORM": "offscreen",
    }
    environment.pop("COVERAGE_PROCESS_START", None)
    result = subprocess.run(
        [sys.executable, "-c", OPEN_AND_MEASURE, str(MODULE), *refused],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=environment,
        timeout=120,
    )
    assert result.returncode == 0 and "Traceback" not in result.stderr, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def test_opens_quickly_and_without_torch(tmp_path):
    """The least of three measurements counts: a busy machine makes a process slower, never faster."""
    measurements = [open_in_new_process(tmp_path) for _ in range(3)]
    assert not {"torch", "monai", "ignite", "itk"} & set(measurements[0]["packages"])
    assert min(measurement["seconds"] for measurement in measurements) < MAXIMUM_SECONDS


def test_opens_before_any_package_has_been_installed(tmp_path):
    lines = (REPOSITORY / "MedDeepExtension/Resources/requirements.txt").read_text(encoding="utf-8").splitlines()
    names = [line.split(">")[0].strip() for line in lines if line and not line.startswith("#")]
    imported_as = {"pytorch-ignite": "ignite", "scikit-image": "skimage", "nvidia-ml-py": "pynvml"}
    refused = ["torch", *(imported_as.get(name, name) for name in names)]
    assert "psutil" in refused
    open_in_new_process(tmp_path, *refused)


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
