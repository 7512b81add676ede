"""Finds the tasks and their methods.

A task is a package whose name ends in ``ModuleLib`` and which has a ``task.py`` with ``TASK = Task(...)``. The registry
looks beside this library, where an installed extension has all packages; in the sister folders ``*Module`` of a source
tree; and in the folders that the environment variable ``MEDDEEP_TASKS`` names.

The methods of a task lie in its package's ``methods``, one file each: the registry imports every file and collects the
Method classes. Your own methods need not lie in the extension: the registry also imports every file of the folders
that the environment variable ``MEDDEEP_METHODS`` names.

Nothing here imports torch: panels list tasks and methods in a process that does not have it.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import itertools
import os
import pkgutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

from MedDeepLib.core.method import Method
from MedDeepLib.core.task import Task
from MedDeepLib.errors import UserError

OWN_METHODS = "MEDDEEP_METHODS"
OWN_TASKS = "MEDDEEP_TASKS"

_PACKAGES = "*ModuleLib"
_SISTERS = "*Module"


@dataclass(frozen=True)
class _Found:
    task: Task
    package: str
    folder: Path


def tasks() -> list[str]:
    """The names of the tasks whose modules are installed, in alphabetical order."""
    return list(_tasks(os.environ.get(OWN_TASKS, "")))


def task(name: str) -> Task:
    """The declaration of the task called ``name``. Raises UserError that lists the tasks when there is none."""
    return _found(name).task


def methods(task: str) -> dict[str, type[Method]]:
    """The methods of a task by name, in alphabetical order.

    Raises UserError when there is no such task, or a file of methods cannot be imported.
    """
    return _methods(_found(task).package, task, os.environ.get(OWN_METHODS, ""))


def get(task: str, name: str) -> type[Method]:
    """The method called ``name``; raises UserError that lists the names when there is none."""
    found = methods(task)
    if name not in found:
        raise UserError(f"There is no method '{name}' for the task '{task}': choose one of {', '.join(found)}.")
    return found[name]


def imported_method(task: str) -> type[Method]:
    """How bundles from elsewhere are applied: the class ``Imported`` in ``imported.py`` of the task's package.

    It is not among the methods, since it cannot be trained. Raises UserError when the task has no such class.
    """
    name = f"{_found(task).package}.imported"
    if importlib.util.find_spec(name) is None:
        raise UserError(
            f"Bundles from elsewhere cannot be applied for the task '{task}' yet: train a model of its own."
        )
    return importlib.import_module(name).Imported


def package_folder(task: str) -> Path:
    """The folder of the task's package, which holds all code that only this task needs."""
    return _found(task).folder


def _found(name: str) -> _Found:
    found = _tasks(os.environ.get(OWN_TASKS, ""))
    if name not in found:
        raise UserError(f"There is no task '{name}': the tasks are {', '.join(found)}.")
    return found[name]


@cache
def _tasks(own_folders: str) -> dict[str, _Found]:
    found: dict[str, _Found] = {}
    for folder in _package_folders(own_folders):
        task = _declared(folder)
        if task.name in found:
            raise UserError(
                f"The task '{task.name}' is declared twice, in {found[task.name].folder} and in {folder}: rename one."
            )
        found[task.name] = _Found(task, folder.name, folder)
    return dict(sorted(found.items()))


def _package_folders(own_folders: str) -> Iterator[Path]:
    """The folders of all packages that declare a task, each package once: the first one found counts."""
    library = Path(__file__).resolve().parents[2]
    places = [library, *sorted(library.parent.glob(_SISTERS)), *_paths(own_folders)]
    seen = set()
    for place in places:
        for file in sorted(place.glob(f"{_PACKAGES}/task.py")):
            if file.parent.name not in seen:
                seen.add(file.parent.name)
                yield file.parent


def _declared(folder: Path) -> Task:
    """The ``TASK`` of a package, which is importable from now on."""
    if str(folder.parent) not in map(str, sys.path) and importlib.util.find_spec(folder.name) is None:
        sys.path.append(str(folder.parent))
        importlib.invalidate_caches()
    try:
        declared = importlib.import_module(f"{folder.name}.task").TASK
    except Exception as error:
        raise UserError(
            f"The task in {folder / 'task.py'} cannot be imported ({type(error).__name__}: {error}): correct the file, "
            f"or take its folder out of {OWN_TASKS}."
        ) from error
    return declared


@cache
def _methods(package_name: str, task: str, own_folders: str) -> dict[str, type[Method]]:
    package = importlib.import_module(f"{package_name}.methods")
    names = [f"{package.__name__}.{info.name}" for info in pkgutil.iter_modules(package.__path__)]
    modules = [importlib.import_module(name) for name in names]
    modules += [_loaded(file) for folder in _paths(own_folders) for file in sorted(folder.glob("*.py"))]
    found: dict[str, type[Method]] = {}
    for module in modules:
        for _, member in inspect.getmembers(module, inspect.isclass):
            if not issubclass(member, Method) or member.__module__ != module.__name__:
                continue
            if not inspect.isabstract(member) and member.task == task:
                found[member.name] = member
    return dict(sorted(found.items()))


def _paths(text: str) -> list[Path]:
    return [Path(part).expanduser() for part in text.split(os.pathsep) if part]


def _loaded(file: Path) -> ModuleType:
    """A file with your own methods, imported once. Raises UserError when it cannot be imported."""
    base = f"meddeep_own_methods_{file.stem}"
    names = (base if number == 1 else f"{base}_{number}" for number in itertools.count(1))
    # Two folders may hold files of one name.
    name = next(n for n in names if n not in sys.modules or sys.modules[n].__file__ == str(file))
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None and spec.loader is not None  # the file ends in .py
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
