"""The extension as its users get it: configured, built and installed with CMake, then imported from there.

Slicer itself is replaced by the macros in Testing/slicerhost/cmake. A file that was forgotten in a
CMakeLists.txt is found here; in Slicer it would be found by the first user.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
HOST_CMAKE = REPOSITORY / "Testing" / "slicerhost" / "cmake"
IMPORT_SCRIPT = Path(__file__).with_name("import_installed.py")
MODULES_FOLDER = Path("lib", "Slicer-5.13", "qt-scripted-modules")


# --- the source tree --------------------------------------------------------------------------------------


def module_folders(source: Path) -> list[Path]:
    """Folders which the top CMakeLists.txt adds, in its order."""
    text = (source / "CMakeLists.txt").read_text(encoding="utf-8")
    return [source / name for name in re.findall(r"^add_subdirectory\((\w+)\)", text, flags=re.MULTILINE)]


def files_to_install(module_folder: Path) -> list[Path]:
    """Files of a module which its users need, relative to the module's folder."""
    return sorted(
        path.relative_to(module_folder)
        for path in module_folder.rglob("*")
        if path.is_file()
        and path.name != "CMakeLists.txt"
        and "__pycache__" not in path.parts
        and path.relative_to(module_folder).parts[0] != "Screenshots"  # for the catalogue and the README only
        and not path.name.startswith(".")
    )


def python_module_name(path: Path) -> str:
    """``MedDeepLib/jobs/__init__.py`` -> ``MedDeepLib.jobs``."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def importable_modules(source: Path) -> list[str]:
    """Names of all modules below `source`; scripts that are started by their path are not among them."""
    return [
        python_module_name(path)
        for folder in module_folders(source)
        for path in files_to_install(folder)
        if path.suffix == ".py" and path.parts[0] != "Scripts" and path.stem != "__main__"
    ]


def needs_application(name: str) -> bool:
    """Whether a module can only be imported inside the application: a panel, or a module's own file."""
    parts = name.split(".")
    return "panels" in parts or "panel" in parts or len(parts) == 1 and not name.endswith("Lib")


# --- building and checking --------------------------------------------------------------------------------


def cmake_program(name: str) -> str:
    """Path of cmake or cpack: the one from the development requirements, else the system's."""
    search_path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    program = shutil.which(name, path=search_path)
    assert program, f"{name} was not found: install Testing/requirements.txt"
    return program


def run(*command: str | Path, **options) -> subprocess.CompletedProcess:
    arguments = [str(part) for part in command]
    return subprocess.run(
        arguments, capture_output=True, text=True, encoding="utf-8", timeout=300, check=False, **options
    )


def configure(source: Path, build: Path) -> subprocess.CompletedProcess:
    return run(
        cmake_program("cmake"),
        *("-S", source, "-B", build),
        f"-DSlicer_DIR={HOST_CMAKE}",
        f"-DCMAKE_TOOLCHAIN_FILE={HOST_CMAKE / 'no-compiler.cmake'}",
        f"-DPython3_EXECUTABLE={sys.executable}",
    )


def configure_build_install(source: Path, folder: Path) -> Path:
    """Install the extension from `source` below `folder`; return the folder of its scripted modules."""
    build, prefix = folder / "build", folder / "install"
    cmake = cmake_program("cmake")
    for result in (
        configure(source, build),
        run(cmake, "--build", build),
        run(cmake, "--install", build, "--prefix", prefix),
    ):
        assert result.returncode == 0, f"{' '.join(result.args)}\n{result.stdout}{result.stderr}"
    return prefix / MODULES_FOLDER


def problems_of_install_tree(source: Path, installed: Path) -> list[str]:
    """How the install tree differs from the modules' files; each entry names a file and says what to do."""
    problems = []
    for folder in module_folders(source):
        for path in files_to_install(folder):
            name = path.as_posix()
            if not (installed / path).is_file():
                list_name = "SCRIPTS" if path.suffix == ".py" else "RESOURCES"
                problems.append(f"{name}: add it to the {list_name} in {folder.name}/CMakeLists.txt")
            elif (installed / path).read_bytes() != (folder / path).read_bytes():
                problems.append(f"{name}: the installed file is not {folder.name}'s; rename one of them")
    return problems


def copy_of_sources(destination: Path) -> Path:
    """Copy of the extension's sources for a test that damages them."""
    destination.mkdir()
    for name in ("CMakeLists.txt", "LICENSE.txt"):
        shutil.copy(REPOSITORY / name, destination)
    for folder in module_folders(REPOSITORY):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(folder, destination / folder.name, ignore=ignore)
    return destination


@pytest.fixture(scope="module")
def install_folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("extension")


@pytest.fixture(scope="module")
def installed(install_folder) -> Path:
    """Folder of the installed scripted modules."""
    return configure_build_install(REPOSITORY, install_folder)


def import_from(installed: Path, modules: list[str], *options: str | Path) -> subprocess.CompletedProcess:
    """Import `modules` in a new process, isolated from this one's environment, path and current folder."""
    assert modules
    command = [sys.executable, "-I", IMPORT_SCRIPT, installed, *options, "--modules", *modules]
    return run(*command, cwd=installed.parent)


# --- the tests --------------------------------------------------------------------------------------------


def test_every_source_file_is_installed(installed):
    problems = problems_of_install_tree(REPOSITORY, installed)
    assert not problems, "not installed as they should be:\n  " + "\n  ".join(problems)


def test_modules_do_not_share_a_path(installed):
    """All modules are installed into one folder: of two files with the same path, one would be lost."""
    owners: dict[Path, list[str]] = {}
    for folder in module_folders(REPOSITORY):
        for path in files_to_install(folder):
            owners.setdefault(path, []).append(folder.name)
    assert not {path: folders for path, folders in owners.items() if len(folders) > 1}


def test_library_imports_without_the_application(installed):
    """The worker's side, in bare Python; scene comes with it because slicer-core is bare Python too."""
    modules = [name for name in importable_modules(REPOSITORY) if not needs_application(name)]
    result = import_from(installed, modules)
    assert result.returncode == 0, result.stdout + result.stderr


def test_panels_and_modules_import_in_the_application(installed, tmp_path):
    """The application's side; the process that shows the panels must not load the networks."""
    modules = [name for name in importable_modules(REPOSITORY) if needs_application(name)]
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPOSITORY / "Testing" / "slicerhost", tmp_path / "slicerhost", ignore=ignore)
    result = import_from(installed, modules, "--host", tmp_path, "--forbid", "torch", "monai", "ignite")
    assert result.returncode == 0, result.stdout + result.stderr


def test_worker_starts_from_the_install_tree(installed):
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    result = run(
        sys.executable, "-m", "MedDeepLib.worker", "--help", cwd=installed.parent, env=environment
    )
    assert result.returncode == 0, result.stderr
    assert "usage" in result.stdout.lower()


def test_script_starts_from_the_install_tree(installed):
    result = run(sys.executable, "-I", installed / "Scripts" / "segment.py", "--help", cwd=installed.parent)
    assert result.returncode == 0, result.stderr
    assert all(verb in result.stdout for verb in ("train", "apply", "evaluate"))


def test_tests_are_registered(install_folder, installed):
    registered = (install_folder / "build" / "python_tests.txt").read_text(encoding="utf-8").splitlines()
    for folder in module_folders(REPOSITORY):
        if (folder / f"{folder.name}.py").is_file():
            assert f"py_{folder.name}" in registered
            assert f"py_nomainwindow_qSlicer{folder.name}ModuleGenericTest" in registered


def test_package_holds_the_install_tree(install_folder, installed):
    build = install_folder / "build"
    configuration = build / "CPackConfig.cmake"
    result = run(cmake_program("cpack"), "--config", configuration, "-B", install_folder, cwd=build)
    assert result.returncode == 0, result.stdout + result.stderr
    with tarfile.open(install_folder / "MedDeepExtension.tar.gz") as archive:
        packed = {Path(member.name) for member in archive if member.isfile()}
    prefix = install_folder / "install"
    assert packed == {path.relative_to(prefix) for path in prefix.rglob("*") if path.is_file()}


# --- the checks above must be able to fail ----------------------------------------------------------------


def test_forgotten_files_are_named(tmp_path):
    source = copy_of_sources(tmp_path / "source")
    list_file = source / "MedDeepExtension" / "CMakeLists.txt"
    lines = list_file.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if line.strip() != "Resources/requirements.txt"]
    assert len(kept) == len(lines) - 1
    list_file.write_text("".join(kept), encoding="utf-8")
    (source / "SegmentModule" / "Resources" / "new.txt").write_text("new", encoding="utf-8")

    installed = configure_build_install(source, tmp_path)
    (installed / "MedDeepLib" / "errors.py").unlink()

    problems = problems_of_install_tree(source, installed)

    assert problems == [
        "MedDeepLib/errors.py: add it to the SCRIPTS in MedDeepExtension/CMakeLists.txt",
        "Resources/requirements.txt: add it to the RESOURCES in MedDeepExtension/CMakeLists.txt",
        "Resources/new.txt: add it to the RESOURCES in SegmentModule/CMakeLists.txt",
    ]
    result = import_from(tmp_path / "install" / MODULES_FOLDER, ["MedDeepLib.errors"])
    assert result.returncode == 1
    assert "MedDeepLib.errors: ModuleNotFoundError" in result.stdout


def test_a_new_method_is_installed_without_editing_a_list(tmp_path):
    source = copy_of_sources(tmp_path / "source")
    method = Path("SegmentModuleLib", "methods", "newnet.py")
    (source / "SegmentModule" / method).write_text("", encoding="utf-8")

    installed = configure_build_install(source, tmp_path)

    assert (installed / method).is_file()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Resources/requirements.txt", "Resources/gone.txt", "nonexistent file 'Resources/gone.txt'"),
        ("Resources/requirements.txt", "Resources", "was given the folder 'Resources'"),
        ("WITH_GENERIC_TESTS", "WITH_GENERIC_TESTS NO_SUCH_OPTION", "unknown arguments: NO_SUCH_OPTION"),
    ],
)
def test_wrong_lists_stop_the_configuration(tmp_path, old, new, message):
    source = copy_of_sources(tmp_path / "source")
    list_file = source / "MedDeepExtension" / "CMakeLists.txt"
    text = list_file.read_text(encoding="utf-8")
    assert old in text
    list_file.write_text(text.replace(old, new), encoding="utf-8")

    result = configure(source, tmp_path / "build")

    assert result.returncode != 0
    assert message in " ".join(result.stderr.split())
