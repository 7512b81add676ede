"""Opens a module's panel in a separate process, in which some packages may be missing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
# Opening takes 0.13 s of CPU time, starting Qt, VTK and the scene takes 1.2 s: about a tenth on any computer.
MAXIMUM_SHARE_OF_START = 0.25

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
started = time.process_time()
slicerhost.load_module(sys.argv[1])
opened = time.process_time() - started
packages = sorted({name.partition(".")[0] for name in sys.modules})
print(json.dumps({"start": started, "opening": opened, "packages": packages}))
"""


def open_in_new_process(module: Path, tmp_path: Path, *refused: str) -> dict:
    """Open the panel of ``module`` in a new process in which some packages cannot be imported; only Testing/ is on the
    path, as Slicer adds nothing but the module's own folder. Returns the CPU seconds that starting an application and
    opening the panel took, and all packages."""
    paths = [REPOSITORY / "Testing", REPOSITORY / "MedDeepExtension"]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "MEDDEEP_RUNS": str(tmp_path / "runs"),
        "QT_QPA_PLATFORM": "offscreen",
    }
    environment.pop("COVERAGE_PROCESS_START", None)
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # users' modules are compiled once, not at each start
    result = subprocess.run(
        [sys.executable, "-c", OPEN_AND_MEASURE, str(module), *refused],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=environment,
        timeout=120,
    )
    assert result.returncode == 0 and "Traceback" not in result.stderr, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def check_opening(module: Path, tmp_path: Path) -> None:
    """It is quick compared with the application's start, and loads none of the worker's packages. The least of five
    measurements counts, in CPU time: other programs make a process slower, never faster."""
    measurements = [open_in_new_process(module, tmp_path) for _ in range(5)]
    assert not {"torch", "monai", "ignite", "itk"} & set(measurements[0]["packages"])
    opening, start = (min(measurement[name] for measurement in measurements) for name in ("opening", "start"))
    assert opening < MAXIMUM_SHARE_OF_START * start, f"opening takes {opening:.3f} s, the application {start:.3f} s"


def packages_of_the_worker() -> list[str]:
    """The packages that Slicer has not installed before the first job, by their import names."""
    lines = (REPOSITORY / "MedDeepExtension/Resources/requirements.txt").read_text(encoding="utf-8").splitlines()
    names = [line.split(">")[0].strip() for line in lines if line and not line.startswith("#")]
    imported_as = {"pytorch-ignite": "ignite", "scikit-image": "skimage", "nvidia-ml-py": "pynvml"}
    refused = ["torch", *(imported_as.get(name, name) for name in names)]
    assert "psutil" in refused
    return refused
