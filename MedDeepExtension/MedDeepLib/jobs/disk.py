"""Deletes and measures job folders in steps, since a run can hold gigabytes and a panel must not block."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Generator, Iterator
from pathlib import Path

from MedDeepLib.errors import UserError
from MedDeepLib.jobs.folder import JobFolder

_ASIDE = ".deleted-"
_OF_A_JOB = ("job.json", "worker.json", "resources.json", "events.jsonl", "log.txt", "stop")
_OF_TRAINING = ("parameters.json", "manifest.json", "repeats.json", "cache", "*.pt", "folds.json", "fold_*")
_OF_TRACKING = ("tensorboard", "mlflow.json")
_OF_RESULTS = ("result.json", "metrics*.csv", "input", "output.*", "*.part")
_PATTERNS = (*_OF_A_JOB, *_OF_TRAINING, *_OF_TRACKING, *_OF_RESULTS)
_NAMED_AT_MOST = 3


def losses(folder: JobFolder) -> list[str]:
    """What deleting a job destroys, in words; the last entry may be files that are not the job's own.

    The user may have kept other files in the folder.
    """
    lost = []
    if folder.model_folder.is_dir():
        lost.append("the trained model")
    if any(folder.path.glob("fold_*/model")):
        lost.append("the models of its folds")
    if folder.has_checkpoint() and not folder.result_file.exists():
        lost.append("the checkpoint to resume from")
    if any(folder.path.glob("metrics*.csv")):
        lost.append("its metrics")
    strange = [path.name for path in _strangers(folder)]
    if strange:
        names = ", ".join(strange[:_NAMED_AT_MOST]) + (", ..." if len(strange) > _NAMED_AT_MOST else "")
        files = "1 file or folder that is" if len(strange) == 1 else f"{len(strange)} files and folders that are"
        lost.append(f"{files} not the job's own ({names})")
    return lost


def delete_job(folder: JobFolder) -> Generator[None]:
    """Delete a job's folder with everything in it. The first step hides it, the others free the space.

    Raises UserError when the job is running or starting, or its folder cannot be deleted; nothing is lost then.
    """
    if folder.active_pid() is not None:
        raise UserError(f"The job in {folder.path} is running: stop it before deleting it.")
    if folder.is_starting():
        raise UserError(f"The job in {folder.path} is starting: wait a moment, or stop it.")
    yield from delete(folder.path)


def delete_model(folder: JobFolder) -> Generator[None]:
    """Delete the trained model of a job and keep the job; otherwise as :func:`delete_job`."""
    if folder.active_pid() is not None:
        raise UserError(f"The job in {folder.path} is running: stop it before deleting its model.")
    yield from delete(folder.model_folder)


def delete(path: Path) -> Generator[None]:
    """Rename a folder to a hidden name, then remove its contents file by file.

    Raises UserError when it cannot be renamed, for instance because another program uses a file in it.
    """
    aside = path.with_name(f"{_ASIDE}{uuid.uuid4().hex}")
    try:
        os.replace(path, aside)
    except OSError as error:
        raise UserError(f"{path} cannot be deleted ({error.strerror or error}): a program uses it, close it.") from None
    yield
    # Also removes leftovers of a program that was killed while deleting.
    for leftover in path.parent.glob(f"{_ASIDE}*"):
        yield from _remove(leftover)


def size_of(folder: Path) -> Iterator[int]:
    """The bytes in a folder; yields a running sum after each of its subfolders."""
    total, folders = 0, [str(folder)]
    while folders:
        with contextlib.suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    total += entry.stat(follow_symlinks=False).st_size
        yield total


def _strangers(folder: JobFolder) -> list[Path]:
    """Entries in a job folder that are not the job's own files."""
    patterns = (*_PATTERNS, folder.model_folder.name, f"{_ASIDE}*")
    known = {path for pattern in patterns for path in folder.path.glob(pattern)}
    return sorted(path for path in folder.path.glob("*") if path not in known)


def _remove(path: Path) -> Generator[None]:
    """Remove a folder from its leaves up; what cannot be removed stays. A link is removed, not what it points to."""
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            for child in list(path.iterdir()):
                yield from _remove(child)
            path.rmdir()
        else:
            path.unlink()
    yield
