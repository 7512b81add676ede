"""What of ITK is loaded to read an image, to write a transform, and for elastix: what is used, and no more.

Each in a fresh process, and by the names of what is loaded: seconds would tell of the computer.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from MedDeepLib.data.sources.image import read_image, write_image

REPOSITORY = Path(__file__).resolve().parents[3]
SOURCE_PATH = [REPOSITORY / name for name in ("MedDeepExtension", "RegisterModule", "SegmentModule")]
IMAGE_LIBRARIES = {"ITKBridgeNumPy", "ITKCommon", "ITKCommonBase", "ITKPyBase"}
TRANSFORM_LIBRARIES = IMAGE_LIBRARIES | {"ITKDisplacementField", "ITKTransform"}

LOADED = """
import json, re, sys
names = [re.fullmatch(r"itk\\._(ITK\\w+)Python", name) for name in sys.modules]
libraries = sorted(name[1] for name in names if name and "IO" not in name[1])
packages = sorted({name.partition(".")[0] for name, module in sys.modules.items() if module is not None})
print(json.dumps({"libraries": libraries, "packages": packages}))
"""


def loaded_after(code: str, *arguments: str | Path) -> dict[str, set[str]]:
    """ITK's libraries, but those of file formats, and the packages that a new process has loaded after ``code``."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, SOURCE_PATH))}
    environment.pop("COVERAGE_PROCESS_START", None)
    command = [sys.executable, "-c", code + LOADED, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=environment, timeout=180)
    assert result.returncode == 0, result.stderr
    return {key: set(value) for key, value in json.loads(result.stdout.splitlines()[-1]).items()}


@pytest.mark.parametrize("name", ["image.nii.gz", "image.nrrd", "image.mha"])
def test_an_image_is_read_and_written_without_filters_and_transforms(tmp_path, name):
    array = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    write_image(tmp_path / name, array, np.diag([-1.0, 2, 3, 1]))
    code = """
import sys
from pathlib import Path
from MedDeepLib.data.sources.image import read_image, write_image
image = read_image(Path(sys.argv[1]))
write_image(Path(sys.argv[2]), image.array[0], image.affine)
"""
    copy = tmp_path / f"copy-{name}"
    loaded = loaded_after(code, tmp_path / name, copy)
    assert loaded["libraries"] <= IMAGE_LIBRARIES
    assert "distributed" not in loaded["packages"]
    again = read_image(copy)
    assert np.array_equal(again.array[0], array) and np.allclose(again.affine, np.diag([-1.0, 2, 3, 1]))


def test_a_deformation_is_written_and_read_without_filters(tmp_path):
    code = """
import sys
import numpy as np, torch
from RegisterModuleLib.worker.grids import Grid
from RegisterModuleLib.worker.transforms import Displacement, SpatialTransform, read_transform, write_transform
grid = Grid(np.diag([2.0, 2, 2, 1]), (5, 6, 7))
vectors = torch.rand((3, 5, 6, 7))
write_transform(sys.argv[1], SpatialTransform((Displacement(grid, vectors), np.diag([1.1, 1, 1, 1]))))
field, matrix = read_transform(sys.argv[1], grid).steps
assert torch.equal(field.vectors, vectors) and np.allclose(matrix, np.diag([1.1, 1, 1, 1]))
"""
    assert loaded_after(code, tmp_path / "transform.h5")["libraries"] <= TRANSFORM_LIBRARIES


def test_a_transform_of_another_kind_still_loads_what_it_needs(tmp_path):
    """Classes of modules that were left out are found as soon as they are named."""
    code = """
from MedDeepLib.data.formats.lean_itk import load_itk_with_transforms
itk = load_itk_with_transforms()
assert itk.MedianImageFilter[itk.Image[itk.F, 3], itk.Image[itk.F, 3]].New() is not None
assert itk.BSplineTransform[itk.D, 3, 3].New() is not None
"""
    assert "ITKSmoothing" in loaded_after(code)["libraries"]


def test_elastix_loads_neither_torch_nor_filters():
    pytest.importorskip("itk.elxParameterObjectPython", reason="itk-elastix is not installed")
    code = """
import sys
from MedDeepLib.data.formats.lean_itk import load_itk_with_elastix
itk = load_itk_with_elastix()
assert itk.ParameterObject.New().GetDefaultParameterMap("rigid")["Transform"] == ("EulerTransform",)
assert not hasattr(sys.modules["torch"], "nn")
"""
    loaded = loaded_after(code)["libraries"]
    assert loaded <= TRANSFORM_LIBRARIES | {"ITKMesh"}  # elastix moves meshes as well


def test_where_itk_is_built_differently_it_is_loaded_as_ever():
    """Without the table of what needs what, nothing is left out, and nothing fails."""
    code = """
from itk.support import base
class Plain(dict): pass
base.itk_base_global_module_data = Plain({key: value for key, value in base.itk_base_global_module_data.items()})
for value in base.itk_base_global_module_data.values():
    value.__dict__["needs"] = value.__dict__.pop("_depends")
    type(value).get_module_dependencies = lambda self: self.needs
from MedDeepLib.data.formats.lean_itk import load_itk
assert load_itk().ImageIOFactory is not None
"""
    assert "ITKTransform" in loaded_after(code)["libraries"]
