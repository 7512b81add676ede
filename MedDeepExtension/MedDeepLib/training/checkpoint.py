"""Checkpoints: written atomically, read without executing anything, with one older copy to fall back on."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import Any

import torch

from MedDeepLib.data.formats.tensor_file import DamagedFileError, load_tensors
from MedDeepLib.errors import CannotWrite, UserError

FORMAT = 2


class CheckpointStore:
    """``checkpoint.pt``, the one before it, and the best and the final weights of every stage, in a job folder."""

    def __init__(self, folder: Path, identity: dict[str, Any]):
        self._last = folder / "checkpoint.pt"
        self._previous = folder / "checkpoint.previous.pt"
        self._identity = identity

    def save(self, content: dict[str, Any]) -> None:
        """Replace the last checkpoint, keeping the one before. Raises CannotWrite when it cannot be written."""
        part = self._write_part(self._last, content)
        if self._last.exists():
            os.replace(self._last, self._previous)
        os.replace(part, self._last)

    def save_best(self, stage_index: int, content: dict[str, Any]) -> None:
        """Replace the best weights of a stage. Raises CannotWrite when they cannot be written."""
        self._replace(self._best(stage_index), content)

    def save_stage(self, stage_index: int, content: dict[str, Any]) -> None:
        """Keep what a finished stage has made. Raises CannotWrite when it cannot be written."""
        self._replace(self._stage(stage_index), content)

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
                f"The checkpoint {self._last} cannot be read, it was damaged: delete checkpoint.pt and "
                "checkpoint.previous.pt to train from the beginning."
            )
        return None

    def load_best(self, stage_index: int) -> dict[str, Any]:
        """The best weights of a stage that has validated. Raises UserError when they cannot be read."""
        return self._needed(self._best(stage_index), "The best weights")

    def load_stage(self, stage_index: int) -> dict[str, Any]:
        """What a finished stage has made. Raises UserError when it cannot be read."""
        return self._needed(self._stage(stage_index), "The weights of a finished stage")

    def _needed(self, file: Path, what: str) -> dict[str, Any]:
        content = _read(file)
        if content is None:
            raise UserError(
                f"{what} {file} are missing or damaged: delete {self._last.name} and {self._previous.name} to train "
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
            reason = "the disk is full" if full else str(error.strerror or error)
            remedy = "make room" if full else "allow writing there"
            raise CannotWrite(
                f"The checkpoint could not be written to {target.parent} ({reason}): the last good checkpoint is kept; "
                f"{remedy} and resume."
            ) from error
        return part

    def _check_identity(self, content: dict[str, Any]) -> None:
        if content["identity"] != self._identity:
            raise UserError(
                f"The checkpoint in {self._last.parent} was made by other settings (method "
                f"{content['identity'].get('method')}): resume it with these, or start in another folder."
            )


def _read(file: Path) -> dict[str, Any] | None:
    try:
        content = load_tensors(file)
    except (FileNotFoundError, DamagedFileError):
        return None
    return content if isinstance(content, dict) and content.get("format") == FORMAT else None
