"""Finds the methods of each task.

The methods of a task live in its module, in the package ``<Task>ModuleLib.methods``, one file each. Dropping a file
there is all it takes: the registry imports every file of that package and collects the Method classes.

Methods of one's own need not lie in the extension: the registry also imports every file of the folders that the
environment variable ``MEDDEEP_METHODS`` names.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import pkgutil
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

from MedDeepLib.core.method import Method
from MedDeepLib.core.task import Task
from MedDeepLib.errors import UserError

OWN_METHODS = "MEDDEEP_METHODS"

_TASK_PACKAGES = {
    "segment": "SegmentModuleLib",
    "register": "RegisterModuleLib",
    "detect": "DetectModuleLib",
    "classify": "ClassifyModuleLib",
}


def tasks() -> list[str]:
    """The tasks whose module is installed, in a fixed order."""
    return [task for task in _TASK_PACKAGES if _task_package_found(task)]


def task(name: str) -> Task:
    """What the module of a task declares. Raises UserError when the task is not known or its module not installed."""
    if name not in _TASK_PACKAGES or not _task_package_found(name):
        raise UserError(f"There is no task '{name}': the tasks are {', '.join(tasks())}.")
    return importlib.import_module(_TASK_PACKAGES[name] + ".task").TASK


def methods(task: str) -> dict[str, type[Method]]:
    """The methods of a task by name, in alphabetical order.

    Raises UserError when the task is not known or its module is not installed.
    """
    if task not in _TASK_PACKAGES or not _task_package_found(task):
        raise UserError(f"There is no task '{task}': the tasks are {', '.join(tasks())}.")
    return _collect(_TASK_PACKAGES[task] + ".methods", task, os.environ.get(OWN_METHODS, ""))


def get(task: str, name: str) -> type[Method]:
    """The method called ``name``; raises UserError that lists the names when there is none."""
    found = methods(task)
    if name not in found:
        raise UserError(f"There is no method '{name}' for the task '{task}': choose one of {', '.join(found)}.")
    return found[name]


def imported_method(task: str) -> type[Method]:
    """How bundles from elsewhere are applied; it is none of the methods, since it cannot be trained.

    Raises UserError when the module of the task has no such thing.
    """
    methods(task)
    try:
        return importlib.import_module(_TASK_PACKAGES[task] + ".imported").Imported
    except ModuleNotFoundError:
        raise UserError(
            f"Bundles from elsewhere cannot be applied for the task '{task}' yet: train a model of its own."
        ) from None


def package_folder(task: str) -> Path:
    """The folder of the package that holds the methods of a task. Raises UserError as :func:`methods` does."""
    methods(task)
    return Path(importlib.import_module(_TASK_PACKAGES[task]).__file__).parent


@cache
def _collect(package_name: str, task: str, own_folders: str) -> dict[str, type[Method]]:
    package = importlib.import_module(package_name)
    names = [f"{package_name}.{info.name}" for info in pkgutil.iter_modules(package.__path__)]
    modules = [importlib.import_module(name) for name in names]
    modules += [_loaded(file) for folder in _paths(own_folders) for file in sorted(folder.glob("*.py"))]
    found: dict[str, type[Method]] = {}
    for module in modules:
        for _, member in inspect.getmembers(module, inspect.isclass):
            own = issubclass(member, Method) and member.__module__ == module.__name__
            if own and not inspect.isabstract(member) and member.task == task:
                found[member.name] = member
    return dict(sorted(found.items()))


def _paths(text: str) -> list[Path]:
    return [Path(part).expanduser() for part in text.split(os.pathsep) if part]


def _loaded(file: Path) -> ModuleType:
    """A file with methods of one's own, imported once. Raises UserError when it cannot be imported."""
    name = f"meddeep_own_methods_{file.stem}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, file)
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            del sys.modules[name]
            raise UserError(
                f"The methods in {file} cannot be imported ({type(error).__name__}: {error}): correct the file, or "
                f"take its folder out of {OWN_METHODS}."
            ) from error
    return sys.modules[name]


def _task_package_found(task: str) -> bool:
    name = _TASK_PACKAGES[task]
    if importlib.util.find_spec(name):
        return True
    # In a source tree each module has a folder of its own beside MedDeepExtension/; in an installed extension all
    # packages share one folder and the line above has found it.
    folder = Path(__file__).resolve().parents[3] / name.removesuffix("Lib")
    if (folder / name / "__init__.py").is_file():
        sys.path.append(str(folder))
        importlib.invalidate_caches()
        return True
    return False
