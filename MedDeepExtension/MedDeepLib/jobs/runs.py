"""Where the folders of jobs are kept, for programs without the application."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

ENVIRONMENT_VARIABLE = "MEDDEEP_RUNS"
MODELS_VARIABLE = "MEDDEEP_MODELS"
TEMPORARY = "temporary"  # below the runs folder: jobs whose result goes into a scene


def runs_folder(setting: Callable[[], str] = str) -> Path:
    """The folder with all runs; it need not exist yet.

    In this order: the environment variable, what ``setting`` returns unless it is empty (the application's setting),
    the user's documents.
    """
    chosen = os.environ.get(ENVIRONMENT_VARIABLE) or setting()
    if chosen:
        return Path(chosen).expanduser()
    documents = Path.home() / "Documents"
    return (documents if documents.is_dir() else Path.home()) / "MedDeepExtension"


def models_folder(runs: Path) -> Path:
    """The folder with imported models: beside the runs folder, unless the environment variable sets another."""
    chosen = os.environ.get(MODELS_VARIABLE)
    return Path(chosen).expanduser() if chosen else runs.with_name(f"{runs.name}-models")
