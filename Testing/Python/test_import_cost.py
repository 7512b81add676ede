"""The cost of importing the library in the application: no torch, no MONAI, no ITK, and little time.

Slicer imports these packages when it starts a module. torch alone would take seconds and hundreds of
megabytes there, although only the worker process computes. Whether an import is late enough is measured in
a fresh process; reading the sources cannot tell.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
LIBRARY = REPOSITORY / "MedDeepExtension"
MODULES = ("ClassifyModule", "DetectModule", "RegisterModule", "SegmentModule")
SOURCE_PATH = [LIBRARY, *(REPOSITORY / name for name in MODULES)]
HEAVY_PACKAGES = ("torch", "monai", "ignite", "itk", "tensorboard", "skimage", "matplotlib")
APPLICATION_PACKAGES = ("slicer", "vtk", "qt", "ctk", "PySide6")
# Packages that only the worker runs may import torch at the top of the file.
WORKER_MODULES = ("MedDeepLib.jobs.runner", "MedDeepLib.worker.process")

IMPORT_AND_MEASURE = """
import importlib, json, sys, time
start = time.process_time()
import numpy  # loaded in Slicer long before
numpy_loaded = time.process_time()
for name in sys.argv[1:]:
    importlib.import_module(name)
loaded = time.process_time()
packages = sorted({name.partition(".")[0] for name in sys.modules})
print(json.dumps({"numpy": numpy_loaded - start, "seconds": loaded - numpy_loaded, "packages": packages}))
"""


def import_in_new_process(*modules: str) -> dict:
    """Import `modules` in a new process; return the CPU seconds of numpy, theirs after it, and all packages loaded."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(str(folder) for folder in SOURCE_PATH)}
    environment.pop("COVERAGE_PROCESS_START", None)  # measuring coverage there would be measured as well
    result = subprocess.run(
        [sys.executable, "-c", IMPORT_AND_MEASURE, *modules],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=environment,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def submodules(package: str, source_folder: Path = LIBRARY) -> list[str]:
    """The package and everything below it, apart from what only the worker runs."""
    names = []
    for path in sorted(source_folder.joinpath(*package.split(".")).rglob("*.py")):
        parts = path.relative_to(source_folder).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if name not in WORKER_MODULES:
            names.append(name)
    assert names, f"{package} does not exist"
    return names


@pytest.mark.alone
@pytest.mark.parametrize("package", ["MedDeepLib.data", "MedDeepLib.devices", "MedDeepLib.jobs", "MedDeepLib.core"])
def test_package_is_cheap_to_import(package):
    """It takes less than numpy in the same processes. The least of five measurements of each counts: a busy machine
    makes a process slower, never faster."""
    measurements = [import_in_new_process(package) for _ in range(5)]
    seconds, numpy = (min(measurement[name] for measurement in measurements) for name in ("seconds", "numpy"))
    assert seconds < numpy, f"importing {package} takes {seconds:.3f} s, numpy {numpy:.3f} s"


@pytest.mark.parametrize("package", ["MedDeepLib.data", "MedDeepLib.devices", "MedDeepLib.jobs", "MedDeepLib.core"])
def test_package_stays_light(package):
    """Not even a module inside the package loads a heavy package, Slicer or Qt."""
    loaded = import_in_new_process(*submodules(package))["packages"]
    unwanted = set(loaded) & {*HEAVY_PACKAGES, *APPLICATION_PACKAGES}
    assert not unwanted, f"{package} imports {', '.join(sorted(unwanted))} at the top of a file"


def test_scene_does_not_load_torch():
    """Unlike the packages below it, scene may load Slicer, which brings its own packages."""
    loaded = import_in_new_process(*submodules("MedDeepLib.scene"))["packages"]
    assert not set(loaded) & {"torch", "monai", "ignite", "itk"}


@pytest.mark.parametrize("task", ["Segment", "Register"])
def test_a_worker_that_applies_a_model_starts_with_torch_alone(task):
    """Whatever else it needs it loads when it needs it, so that the first tile does not wait for it."""
    own = [f"{task}ModuleLib.task", f"{task}ModuleLib.worker.prediction"]
    shared = ["MedDeepLib.worker.__main__", "MedDeepLib.worker.actions", "MedDeepLib.bundles.model"]
    tiles = ["MedDeepLib.inference.native", "MedDeepLib.inference.sliding", "MedDeepLib.inference.sinks"]
    loaded = set(import_in_new_process(*shared, *tiles, *own)["packages"])
    assert "torch" in loaded
    unwanted = {*HEAVY_PACKAGES, "dask", "distributed", "mlflow", "pandas", "pydicom", "scipy"} - {"torch"}
    assert not loaded & unwanted


def test_a_heavy_import_would_be_noticed():
    """The measurement itself: a module that imports a heavy package at its top is seen."""
    assert "matplotlib" in import_in_new_process("matplotlib")["packages"]
