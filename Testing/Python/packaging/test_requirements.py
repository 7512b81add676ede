"""Resources/requirements.txt names exactly the packages that the extension's own code imports."""

from __future__ import annotations

import ast
import functools
import importlib.metadata
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

REPOSITORY = Path(__file__).resolve().parents[3]
REQUIREMENTS = REPOSITORY / "MedDeepExtension" / "Resources" / "requirements.txt"
OPTIONAL_REQUIREMENTS = REQUIREMENTS.with_name("requirements-optional.txt")
DEVELOPMENT_REQUIREMENTS = REPOSITORY / "Testing" / "requirements.txt"

OWN_PACKAGES = {"ClassifyModuleLib", "DetectModuleLib", "MedDeepLib", "RegisterModuleLib", "SegmentModuleLib"}
PART_OF_SLICER = {"ctk", "numpy", "packaging", "qt", "slicer", "vtk"}
# torch is installed by the PyTorch extension, whose module is PyTorchUtils; see the head of requirements.txt.
FROM_PYTORCH_EXTENSION = {"PyTorchUtils", "torch"}
# Distributions that our code never names, but which a library imports when we use this part of it.
IMPORTED_FOR_US = {"tensorboard": "torch.utils.tensorboard", "cryptography": "distributed.security"}


def requirement_lines(path: Path) -> list[str]:
    """Lines that Slicer's load_requirements would take: no comments, no options of pip."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith(("#", "-"))]


@pytest.fixture(scope="module")
def requirements() -> dict[str, Requirement]:
    """Those that everyone gets, and those that only some need."""
    lines = requirement_lines(REQUIREMENTS), requirement_lines(OPTIONAL_REQUIREMENTS)
    assert all(lines) and not set(lines[0]) & set(lines[1])
    parsed = [Requirement(line) for line in [*lines[0], *lines[1]]]
    return {canonicalize_name(requirement.name): requirement for requirement in parsed}


def source_files() -> list[Path]:
    modules = ("ClassifyModule", "DetectModule", "MedDeepExtension", "RegisterModule", "SegmentModule")
    folders = [REPOSITORY / name for name in modules]
    return [path for folder in folders for path in folder.rglob("*.py")]


def imported_modules(path: Path) -> set[str]:
    """Full names of everything a file imports, at its top or inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


@pytest.fixture(scope="module")
def imports() -> dict[str, list[str]]:
    """What the sources import from other packages: full module name -> files."""
    found: dict[str, list[str]] = {}
    for path in source_files():
        for name in imported_modules(path):
            found.setdefault(name, []).append(path.relative_to(REPOSITORY).as_posix())
    return found


@functools.cache
def installed_distributions() -> Mapping[str, list[str]]:
    """Importable package -> distributions; kept, because reading them all takes half a second."""
    return importlib.metadata.packages_distributions()


def distributions_of(package: str) -> set[str]:
    """Distributions that install a package, and the one of its name, which may be a mere collection of them."""
    names = installed_distributions().get(package, [])
    return {canonicalize_name(name) for name in [package, *names]}


def test_only_lower_bounds(requirements):
    """Slicer's Python is shared: a pin of ours would conflict with another extension's."""
    for requirement in requirements.values():
        assert [specifier.operator for specifier in requirement.specifier] == [">="], str(requirement)
        assert not requirement.extras and not requirement.url


def test_torch_is_left_to_its_extension(requirements):
    assert not {"torch", "torchvision"} & set(requirements)


def test_every_import_is_required(requirements, imports):
    known = {*sys.stdlib_module_names, *OWN_PACKAGES, *PART_OF_SLICER, *FROM_PYTORCH_EXTENSION}
    missing = {}
    for name, files in imports.items():
        package = name.partition(".")[0]
        if package not in known and not distributions_of(package) & set(requirements):
            missing[package] = files
    assert not missing, f"imported, but not in {REQUIREMENTS.name}: {missing}"


def test_every_requirement_is_imported(requirements, imports):
    used = {name for module in imports for name in distributions_of(module.partition(".")[0])}
    used |= {name for name, reason in IMPORTED_FOR_US.items() if reason in imports}
    assert not set(requirements) - used, "required, but imported nowhere"


def test_tests_run_with_versions_that_users_may_get(requirements):
    pinned = {}
    for line in requirement_lines(DEVELOPMENT_REQUIREMENTS):
        requirement = Requirement(line)
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", f"{line}: Testing/requirements.txt pins everything"
        pinned[canonicalize_name(requirement.name)] = Version(specifier.version)
    for name, requirement in requirements.items():
        assert name in pinned and pinned[name] in requirement.specifier, str(requirement)
