"""The fixture `host`: an exception in a slot fails the test that caused it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TESTING = Path(__file__).parents[2]
REPOSITORY = TESTING.parent
TESTS = """
def test_slot_fails(host):
    import qt
    button = qt.QPushButton()
    button.connect("clicked()", lambda: 1 / 0)
    button.click()

def test_observer_fails(host):
    import slicer
    slicer.mrmlScene.AddObserver(slicer.mrmlScene.NodeAddedEvent, lambda caller, event: 1 / 0)
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode")
    slicer.mrmlScene.RemoveObservers(slicer.mrmlScene.NodeAddedEvent)

def test_all_is_well_afterwards(host):
    import slicer
    assert slicer.util.mainWindow() is not None
"""


def test_exceptions_in_slots_fail_the_test(tmp_path):
    (tmp_path / "conftest.py").write_text(
        (TESTING / "Python" / "conftest.py").read_text(encoding="utf-8"), encoding="utf-8"
    )
    (tmp_path / "test_slot.py").write_text(TESTS, encoding="utf-8")
    paths = os.pathsep.join(str(path) for path in (TESTING, TESTING / "Python", REPOSITORY / "MedDeepExtension"))
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        # With CI set, pytest writes every message a second time in its summary.
        env={**{name: value for name, value in os.environ.items() if name != "CI"}, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "3 passed, 2 errors" in run.stdout, run.stdout + run.stderr
    assert run.stdout.count("ZeroDivisionError") == 2
