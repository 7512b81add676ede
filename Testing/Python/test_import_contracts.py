"""The import contracts in pyproject.toml must catch the imports that they forbid.

``make lint`` runs them on the real tree. Here a forbidden import is put into a copy, and the contract against it has to
be reported as broken: a misspelt package name in a contract would otherwise go unnoticed forever.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

FORBIDDEN_IMPORTS = [
    ("MedDeepLib/data", "from MedDeepLib import scene", "Arrows between the library's packages point down"),
    ("MedDeepLib/devices", "from MedDeepLib import data", "Arrows between the library's packages point down"),
    ("MedDeepLib/unplaced", "x = 1", "Arrows between the library's packages point down"),
    ("MedDeepLib/training", "import slicer", "Only scene imports Slicer and VTK"),
    ("MedDeepLib/panels", "import vtk", "Panels leave VTK to scene"),
    ("MedDeepLib/scene", "import qt", "Only panels import Qt"),
    ("MedDeepLib/panels", "import torch", "Panels and scene never import torch"),
    ("MedDeepLib/jobs", "import SegmentModuleLib", "The library knows none of the modules built on it"),
    ("SegmentModuleLib", "import RegisterModuleLib", "Sister modules do not know each other"),
    ("RegisterModuleLib", "import SegmentModuleLib", "Registration does not know its sister modules"),
    ("DetectModuleLib", "import SegmentModuleLib", "Detection does not know its sister modules"),
    ("ClassifyModuleLib", "import SegmentModuleLib", "Classification does not know its sister modules"),
]


@pytest.fixture
def tree(tmp_path) -> Path:
    """Copy of the packages, side by side, with the contracts."""
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPOSITORY / "MedDeepExtension" / "MedDeepLib", tmp_path / "MedDeepLib", ignore=ignore)
    for module in ("ClassifyModule", "DetectModule", "RegisterModule", "SegmentModule"):
        library = f"{module}Lib"
        shutil.copytree(REPOSITORY / module / library, tmp_path / library, ignore=ignore)
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    return tmp_path


def broken_contracts(tree: Path) -> set[str]:
    """Names of the contracts which import-linter finds broken in `tree`."""
    command = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    result = subprocess.run(
        [sys.executable, "-c", command, "--no-cache", "--no-logo"],
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree), "PYTHONIOENCODING": "utf-8"},
        timeout=120,
    )
    assert "Contracts:" in result.stdout, result.stdout + result.stderr
    lines = result.stdout.splitlines()
    return {line.removesuffix(" BROKEN").strip() for line in lines if line.endswith(" BROKEN")}


def test_the_tree_keeps_all_contracts(tree):
    assert not broken_contracts(tree)


@pytest.mark.parametrize(
    "package",
    [
        "MedDeepLib/data/formats",
        *(f"{name}ModuleLib/worker" for name in ("Segment", "Register", "Detect", "Classify")),
    ],
)
@pytest.mark.parametrize("guard", ["def late():", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:"])
def test_a_circle_is_found(tree, package, guard):
    name = package.replace("/", ".")
    (tree / package / "first.py").write_text(f"import {name}.second\n", encoding="utf-8")
    (tree / package / "second.py").write_text(f"{guard}\n    import {name}.first\n", encoding="utf-8")
    assert broken_contracts(tree) == {"No circles"}


@pytest.mark.parametrize(("package", "statement", "contract"), FORBIDDEN_IMPORTS)
def test_a_forbidden_import_is_found(tree, package, statement, contract):
    folder = tree / package
    folder.mkdir(exist_ok=True)
    (folder / "__init__.py").touch()
    (folder / "offender.py").write_text(f"def late():\n    {statement}\n", encoding="utf-8")
    assert contract in broken_contracts(tree)
