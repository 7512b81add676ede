"""From a command to the job of a cohort: its job folder and its model."""

from __future__ import annotations

import hashlib
import re
import shutil
from dataclasses import replace
from pathlib import Path

from MedDeepLib.bundles.foreign.trust import content_hash
from MedDeepLib.bundles.transfer import ARCHIVES
from MedDeepLib.cohort.record import OWN_FOLDER
from MedDeepLib.cohort.table import SUMMARY
from MedDeepLib.data.files import check_writable
from MedDeepLib.errors import UserError
from MedDeepLib.jobs.folder import JobFolder
from MedDeepLib.jobs.job import Job
from MedDeepLib.jobs.runs import runs_folder


def cohort_folder(job: Job, reference: str) -> JobFolder:
    """The job folder of a cohort, in the runs folder, where it is listed and can be stopped and resumed.

    The same results folder always has the same job folder, so that a stopped cohort is resumed in it.

    Args:
        reference: the model as the user named it. A temporarily unpacked one is kept beside the
            results.

    Raises UserError when the cohort is already running, or the results cannot be written.
    """
    job.validate()
    output = Path(job.output)
    check_writable(output / SUMMARY)
    if Path(reference).suffix in ARCHIVES and Path(reference).is_file():
        job = replace(job, model=str(_kept_model(Path(job.model), output)))
    name = (
        f"cohort-{re.sub(r'[^A-Za-z0-9_-]', '_', output.name)}-{hashlib.sha256(str(output).encode()).hexdigest()[:8]}"
    )
    folder = JobFolder(runs_folder() / name)
    if folder.active_pid() is not None:
        raise UserError(f"The cohort in {output} is already running: wait, or stop it (jobs.py stop {name}).")
    if folder.job_file.exists():
        if not folder.result_file.exists() and _same(folder, job):
            return folder
        folder.discard()
    try:
        return JobFolder.create(folder.path, job)
    except UserError:
        # On a cluster, the account may have no runs folder; the results folder always exists.
        beside = JobFolder(output / OWN_FOLDER / "job")
        beside.discard()
        return JobFolder.create(beside.path, job)


def _same(folder: JobFolder, job: Job) -> bool:
    try:
        return folder.job() == job
    except UserError:
        return False


def _kept_model(model: Path, output: Path) -> Path:
    kept = output / OWN_FOLDER / "models" / content_hash(model)[:16]
    if not kept.exists():
        part = kept.with_name(f"{kept.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        try:
            shutil.copytree(model, part)
            part.rename(kept)
        except OSError as error:
            raise UserError(f"The model could not be copied to {kept} ({error}): free some space.") from None
    return kept
