"""Identifies the program: a hash of all code that a result may depend on."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

import MedDeepLib
from MedDeepLib.core.registry import OWN_METHODS, package_folder

_COMPUTING = ("bundles", "cohort", "core", "data", "inference", "training")
_PACKAGES = ("torch", "monai", "numpy")


def program_hash(task: str) -> str:
    """Independent of the folder and the line endings of the sources."""
    library = Path(MedDeepLib.__file__).parent
    own = [Path(part).expanduser() for part in os.environ.get(OWN_METHODS, "").split(os.pathsep) if part]
    digest = hashlib.sha256()
    for folder in (*(library / name for name in _COMPUTING), package_folder(task), *own):
        for file in sorted(folder.rglob("*.py"), key=lambda file: file.relative_to(folder).as_posix()):
            digest.update(f"{folder.name}/{file.relative_to(folder).as_posix()}\n".encode())
            digest.update(file.read_bytes().replace(b"\r\n", b"\n"))
    return digest.hexdigest()


def facts(task: str, model: str, output: str) -> dict[str, Any]:
    """Facts about a worker for the driver; called on the worker.

    Args:
        model: its folder; empty for a method that needs no training.
    """
    return {
        "program": program_hash(task),
        "version": MedDeepLib.__version__,
        "host": platform.node(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "sees_model": not model or os.path.isdir(model),
        "sees_output": os.access(output, os.W_OK),
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
