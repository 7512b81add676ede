"""Where runs are kept: one folder on the user's disk with a folder for every training and evaluation.

The folder is, in this order: the environment variable ``MEDDEEP_RUNS``, the application's setting
``MedDeepExtension/RunsFolder``, or ``MedDeepExtension`` in the user's documents.
"""

from __future__ import annotations

import shutil
import time
import uuid
from datetime import datetime
from pathlib import Path

from MedDeepLib.bundles.model import Model, models_below, open_model
from MedDeepLib.errors import UserError
from MedDeepLib.jobs import JobFolder
from MedDeepLib.jobs import runs as jobs_runs
from MedDeepLib.jobs.folder import jobs_in

SETTING = "MedDeepExtension/RunsFolder"
_KEEP_FAILED_SECONDS = 7 * 24 * 3600


def runs_folder() -> Path:
    """The folder with all runs; it need not exist yet."""
    return jobs_runs.runs_folder(_setting)


def models_folder() -> Path:
    """The folder with all imported models; it need not exist yet."""
    return jobs_runs.models_folder(runs_folder())


def set_runs_folder(folder: str | Path) -> None:
    """Keep runs in another folder from now on; existing runs stay where they are."""
    import slicer

    slicer.app.settings().setValue(SETTING, str(folder))


def new_folder(name: str) -> Path:
    """A path for a new run that begins with today's date and does not exist yet; nothing is made."""
    base = runs_folder() / f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{name}"
    candidates = [base, *(base.with_name(f"{base.name}_{number}") for number in range(2, 100))]
    return next(path for path in candidates if not path.exists())


def temporary_folder(name: str) -> Path:
    """A path for a job whose result goes into the scene. Old folders of failed jobs are deleted."""
    root = runs_folder() / jobs_runs.TEMPORARY
    for folder in root.glob("*/"):
        if time.time() - folder.stat().st_mtime > _KEEP_FAILED_SECONDS and not JobFolder(folder).worker_alive():
            shutil.rmtree(folder, ignore_errors=True)
    return root / f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{name}_{uuid.uuid4().hex[:6]}"


def models_in_runs(task: str) -> list[tuple[Path, Model]]:
    """The runs that have trained a model for ``task``, each with its model, the newest first."""
    found = []
    for job_folder in jobs_in(runs_folder()):
        if not job_folder.model_folder.is_dir():
            continue
        try:
            found.append((job_folder.path, open_model(job_folder.path, task)))
        except UserError:
            continue  # for another task, or damaged
    return found


def imported_models(task: str) -> list[Model]:
    """The models for ``task`` that were imported, by name."""
    return models_below(models_folder(), task)


def latest_interrupted_training(task: str) -> JobFolder | None:
    """The newest training or cross-validation for ``task`` if it did not finish and can be resumed."""
    for job_folder in jobs_in(runs_folder()):
        try:
            job = job_folder.job()
        except UserError:
            continue
        if job.task == task and job.action in ("train", "crossvalidate"):
            return job_folder if job_folder.can_resume() else None
    return None


def _setting() -> str:
    import slicer

    # Without a graphical interface there may be no settings at all.
    settings = getattr(slicer.app, "settings", None)
    return str(settings().value(SETTING) or "") if settings else ""
