"""Checkpoints: written atomically, read without executing anything, with one older copy to fall back on.

What a run folder holds while it trains::

    checkpoint.pt, checkpoint.previous.pt   how far the training has come, and the weights of the stage it is in
    best.<stage>.pt                         the weights with the best key metric
    stage.<stage>.pt                        what a finished TrainStage or FitStage has made
    items.<stage>/<number>.pt               the items of a DataStage

Each file records the settings that it was made with (its identity); a run never resumes from a file with other
settings.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from MedDeepLib.data.formats.tensor_file import DamagedFileError, load_tensors
from MedDeepLib.errors import CannotWrite, UserError
from MedDeepLib.training.progress import Progress

FORMAT = 3
_READABLE = (2, FORMAT)  # 2: fields of the progress had other names, see Progress.from_dict
_ITEMS = "items."


class CheckpointStore:
    """The checkpoints in a run folder."""

    def __init__(self, folder: Path, identity: dict[str, Any]):
        """
        Args:
            identity: identifies the training: method, parameters, seed. A checkpoint with another identity is refused.
        """
        self._last = folder / "checkpoint.pt"
        self._previous = folder / "checkpoint.previous.pt"
        self._identity = identity

    def save(self, content: dict[str, Any]) -> None:
        """Replace the last checkpoint, keeping the one before. Raises CannotWrite when it cannot be written."""
        part = self._write_part(self._last, content)
        if self._last.exists():
            os.replace(self._last, self._previous)
        os.replace(part, self._last)

    def save_progress(self, stage: str, progress: Progress, finished: Sequence[Progress]) -> None:
        """Replace the last checkpoint by one that holds progress only. Raises CannotWrite."""
        self.save({"stage": stage, "finished": [each.as_dict() for each in finished], "progress": progress.as_dict()})

    def save_best(self, stage_index: int, content: dict[str, Any]) -> None:
        """Replace the best weights of a stage. Raises CannotWrite when they cannot be written."""
        self._replace(self._best(stage_index), content)

    def save_stage(self, stage_index: int, content: dict[str, Any]) -> None:
        """Save the result of a finished stage. Raises CannotWrite when it cannot be written."""
        self._replace(self._stage(stage_index), content)

    def items_folder(self, stage_index: int) -> Path:
        """The folder for the items of a DataStage, created if missing. Raises CannotWrite when that fails."""
        folder = self._last.with_name(f"{_ITEMS}{stage_index}")
        try:
            folder.mkdir(exist_ok=True)  # not its parents: a run folder that has been deleted stays deleted
        except OSError as error:
            raise CannotWrite(
                f"The folder {folder} could not be made ({error.strerror or error}): allow writing there and resume."
            ) from error
        return folder

    def save_item(self, file: Path, item: dict[str, torch.Tensor]) -> None:
        """Write an item of a DataStage. Raises CannotWrite when it cannot be written."""
        self._replace(file, {"item": item})

    def load(self) -> dict[str, Any] | None:
        """The newest checkpoint that can be read, None when there is none.

        Raises UserError when it belongs to another method or to other parameters, or when none can be read.
        """
        present = [file for file in (self._last, self._previous) if file.exists()]
        for file in present:
            content = _read(file)
            if content is not None:
                self._check_identity(content)
                return content
        if present:
            raise UserError(
                f"The checkpoint {self._last} is damaged and cannot be read: delete checkpoint.pt and "
                "checkpoint.previous.pt to train from the beginning."
            )
        return None

    def load_best(self, stage_index: int) -> dict[str, Any]:
        """The best weights of a stage that has validated. Raises UserError when they cannot be read."""
        return self._needed(self._best(stage_index), "The best weights,")

    def load_stage(self, stage_index: int) -> dict[str, Any]:
        """The result of a finished stage. Raises UserError when it cannot be read."""
        return self._needed(self._stage(stage_index), "The results of a finished stage,")

    def _needed(self, file: Path, what: str) -> dict[str, Any]:
        content = _read(file)
        if content is None:
            raise UserError(
                f"{what} {file}, are missing or damaged: delete {self._last.name} and {self._previous.name} to train "
                "from the beginning."
            )
        return content

    def _best(self, stage_index: int) -> Path:
        return self._last.with_name(f"best.{stage_index}.pt")

    def _stage(self, stage_index: int) -> Path:
        return self._last.with_name(f"stage.{stage_index}.pt")

    def _replace(self, target: Path, content: dict[str, Any]) -> None:
        os.replace(self._write_part(target, content), target)

    def _write_part(self, target: Path, content: dict[str, Any]) -> Path:
        part = target.with_name(target.name + ".part")
        try:
            with part.open("wb") as file:
                torch.save({"format": FORMAT, "identity": self._identity, **content}, file)
        except (OSError, RuntimeError) as error:
            # torch's zip writer hides what went wrong behind a RuntimeError: mostly a full disk.
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            full = isinstance(error, RuntimeError) or error.errno == errno.ENOSPC
            reason = "the disk is full" if full else str(getattr(error, "strerror", None) or error)
            remedy = "free some space" if full else "check the permissions"
            raise CannotWrite(
                f"The checkpoint could not be written to {target.parent} ({reason}): the last good checkpoint is kept; "
                f"{remedy} and resume."
            ) from error
        return part

    def _check_identity(self, content: dict[str, Any]) -> None:
        if content["identity"] != self._identity:
            raise UserError(
                f"The checkpoint in {self._last.parent} was made with other settings (method "
                f"{content['identity'].get('method')}): resume with those, or train in another folder."
            )


def remove_checkpoints(folder: Path) -> None:
    """Delete the files that only resuming needs; for large networks they take gigabytes."""
    for file in folder.glob("*.pt"):
        file.unlink()
    for items in folder.glob(f"{_ITEMS}*"):
        shutil.rmtree(items, ignore_errors=True)


def _read(file: Path) -> dict[str, Any] | None:
    try:
        content = load_tensors(file)
    except (FileNotFoundError, DamagedFileError):
        return None
    return content if isinstance(content, dict) and content.get("format") in _READABLE else None
