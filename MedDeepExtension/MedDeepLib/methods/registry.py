"""Finds the methods of each task.

The methods of a task live in its module, in the package ``<Task>ModuleLib.methods``, one file each. Dropping a file
there is all it takes: the registry imports every file of that package and collects the Method classes.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
import sys
from functools import cache
from pathlib import Path

from MedDeepLib.errors import UserError
from MedDeepLib.methods.method import Method

_TASK_PACKAGES = {
    "segment": "SegmentModuleLib",
    "register": "RegisterModuleLib",
    "detect": "DetectModuleLib",
    "classify": "ClassifyModuleLib",
}


def tasks() -> list[str]:
    """The tasks whose module is installed, in a fixed order."""
    return [task for task in _TASK_PACKAGES if _task_package_found(task)]


def methods(task: str) -> dict[str, type[Method]]:
    """The methods of a task by name, in alphabetical order.

    Raises UserError when the task is not known or its module is not installed.
    """
    if task not in _TASK_PACKAGES or not _task_package_found(task):
        raise UserError(f"There is no task '{task}': the tasks are {', '.join(tasks())}.")
    return _collect(_TASK_PACKAGES[task] + ".methods")


def get(task: str, name: str) -> type[Method]:
    """The method called ``name``; raises UserError that lists the names when there is none."""
    found = methods(task)
    if name not in found:
        raise UserError(f"There is no method '{name}' for the task '{task}': choose one of {', '.join(found)}.")
    return found[name]


@cache
def _collect(package_name: str) -> dict[str, type[Method]]:
    package = importlib.import_module(package_name)
    found: dict[str, type[Method]] = {}
    for info in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package_name}.{info.name}")
        for _, member in inspect.getmembers(module, inspect.isclass):
            if issubclass(member, Method) and member.__module__ == module.__name__ and not inspect.isabstract(member):
                found[member.name] = member
    return dict(sorted(found.items()))


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
