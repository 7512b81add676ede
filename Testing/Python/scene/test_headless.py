"""Slicer without a window, in a separate process: it must not need Qt."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from MedDeepLib.scene import headless

PACKAGE_FOLDER = Path(headless.__file__).parents[2]
FILE_ROUND_TRIPS = """
import sys
from pathlib import Path
from MedDeepLib.scene import headless
application = headless.start()
assert application is headless.start()
import numpy as np, slicer, vtk
assert "PySide6" not in sys.modules and "torch" not in sys.modules
folder = Path(sys.argv[1])
add = slicer.mrmlScene.AddNewNodeByClass

volume = slicer.util.addVolumeFromArray(np.arange(24, dtype=np.int16).reshape(2, 3, 4), name="Büro")
slicer.util.saveNode(volume, str(folder / "v é.nrrd"))
loaded = slicer.util.loadVolume(str(folder / "v é.nrrd"))
assert np.array_equal(slicer.util.arrayFromVolume(loaded), slicer.util.arrayFromVolume(volume))
label_map = slicer.util.loadLabelVolume(str(folder / "v é.nrrd"))
assert label_map.GetDisplayNode().GetColorNode().GetNumberOfColors() > 200
assert slicer.util.loadSegmentation(str(folder / "v é.nrrd")).GetSegmentation().GetNumberOfSegments() == 23

points = add("vtkMRMLMarkupsFiducialNode")
points.AddControlPoint(1, 2, 3)
for ending in (".mrk.json", ".fcsv"):
    slicer.util.saveNode(points, str(folder / f"points{ending}"))
    loaded = slicer.util.loadMarkups(str(folder / f"points{ending}"))
    assert np.allclose(loaded.GetNthControlPointPosition(0), (1, 2, 3))

transform = add("vtkMRMLLinearTransformNode")
matrix = np.eye(4); matrix[:3, 3] = 4, 5, 6
transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
for ending in (".h5", ".tfm"):
    slicer.util.saveNode(transform, str(folder / f"transform{ending}"))
    loaded = slicer.util.loadTransform(str(folder / f"transform{ending}"))
    assert np.allclose(slicer.util.arrayFromTransformMatrix(loaded), matrix)

sphere = vtk.vtkSphereSource(); sphere.Update()
model = add("vtkMRMLModelNode"); model.SetAndObservePolyData(sphere.GetOutput())
slicer.util.saveNode(model, str(folder / "model.vtp"))
assert slicer.util.loadModel(str(folder / "model.vtp")).GetPolyData().GetNumberOfPoints() == 50

table = add("vtkMRMLTableNode"); table.AddColumn(); table.AddEmptyRow(); table.SetCellText(0, 0, "x")
slicer.util.saveNode(table, str(folder / "table.csv"))
assert slicer.util.loadTable(str(folder / "table.csv")).GetCellText(0, 0) == "x"

text = add("vtkMRMLTextNode"); text.SetText("hé")
slicer.util.saveNode(text, str(folder / "text.txt"))
assert slicer.util.loadText(str(folder / "text.txt")).GetText() == "hé"

for ending in (".mrml", ".mrb"):
    slicer.mrmlScene.Clear()
    kept = slicer.util.addVolumeFromArray(np.ones((2, 3, 4), np.int16), name="kept")
    slicer.util.saveNode(kept, str(folder / "kept.nrrd"))
    assert slicer.util.saveScene(str(folder / f"scene{ending}"))
    slicer.mrmlScene.Clear()
    slicer.util.loadScene(str(folder / f"scene{ending}"))
    assert np.all(slicer.util.arrayFromVolume(slicer.util.getNode("kept")) == 1)

try:
    slicer.util.loadVolume(str(folder / "gone.nrrd"))
except RuntimeError:
    print("all done")
"""
DEFAULTS = """
from MedDeepLib.scene import headless
application = headless.start()
import slicer, vtk
assert application.testingEnabled()
assert application.translate("context", "text") == "text"
logic = slicer.modules.terminologies.logic()
names = vtk.vtkStringArray()
logic.GetLoadedTerminologyNames(names)
assert names.GetNumberOfValues() == 2
for name in ("GenericColors", "GenericAnatomyColors"):
    assert slicer.mrmlScene.GetNodeByID(f"vtkMRMLColorTableNodeFile{name}.txt").GetNumberOfColors() > 30
entry = slicer.vtkSlicerTerminologyEntry()
tissue = "SCT^85756007^Tissue"
contexts = ["Segmentation category and type - 3D Slicer General Anatomy list", "Anatomic codes - DICOM master list"]
text = "~".join([contexts[0], tissue, tissue, "^^", contexts[1], "^^", "^^"])
assert logic.DeserializeTerminologyEntry(text, entry)
assert entry.GetTypeObject().GetCodeMeaning() == "Tissue"
slice_node = slicer.mrmlScene.GetDefaultNodeByClass("vtkMRMLSliceNode")
assert slice_node.HasSliceOrientationPreset("Coronal")
print("all done")
"""
WITHOUT_SLICER = """
import sys
sys.modules["slicer"] = None
from MedDeepLib.errors import UserError
from MedDeepLib.scene import headless
try:
    headless.start()
except UserError as error:
    print(error)
"""
SUBCLASS = """
from MedDeepLib.scene import headless
class Application(headless.HeadlessApplication):
    applicationName = "Mine"
application = headless.start(Application)
import slicer
assert slicer.app is application and type(application) is Application
assert type(headless.start()) is Application
assert application.mrmlScene() is slicer.mrmlScene
print("all done")
"""


def run(script: str, *arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-X", "utf8", "-c", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": str(PACKAGE_FOLDER)},
    )


def test_files_of_every_kind_are_saved_and_loaded(tmp_path):
    done = run(FILE_ROUND_TRIPS, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("all done\n")


@pytest.mark.parametrize("script", [DEFAULTS, SUBCLASS])
def test_start_makes_what_the_application_makes(script):
    done = run(script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("all done\n")
    assert "ERR|" not in done.stderr
    assert "WARN|" not in done.stderr


def test_without_slicer_the_error_says_what_to_install():
    done = run(WITHOUT_SLICER)
    assert done.stdout.count("\n") == 1
    assert "pip install slicer-core" in done.stdout


def test_running_application_is_used(host):
    import slicer

    assert headless.start() is slicer.app
