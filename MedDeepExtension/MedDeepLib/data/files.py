"""Writes files so that a reader never sees a partial file."""

from __future__ import annotations

import contextlib
import os
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

from MedDeepLib.errors import UserError

PICTURE_ENDINGS = (".png", ".jpg", ".jpeg")
IMAGE_ENDINGS = (".seg.nrrd", ".nii.gz", ".nrrd", ".nhdr", ".nii", ".mha", ".mhd", *PICTURE_ENDINGS)


def images_among(files: Iterable[Path]) -> list[Path]:
    """The images among files; pictures only if there is nothing else, since beside volumes they are their previews."""
    images = [file for file in files if file.name.lower().endswith(IMAGE_ENDINGS) and not file.name.startswith(".")]
    volumes = [file for file in images if not file.name.lower().endswith(PICTURE_ENDINGS)]
    return volumes or images


def stem(path: str | Path) -> str:
    """A file's name without its image ending: ``head.seg.nrrd`` and ``head.nii.gz`` give ``head``."""
    name = Path(path).name
    ending = next((ending for ending in IMAGE_ENDINGS if name.lower().endswith(ending)), "")
    return name[: len(name) - len(ending)]


def check_writable(path: str | Path) -> None:
    """Make sure, before a long computation, that ``path`` can be written; nothing is left behind.

    Missing parent folders are fine if they can be made.

    Raises:
        UserError: ``path`` is a folder, or its folder cannot be written to.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise UserError(f"{path} is a folder; give the name of a file to write.")
        folder = path.parent
        while not folder.exists():
            folder = folder.parent
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(_cannot_write(path, error)) from error


@contextlib.contextmanager
def atomic_path(path: str | Path, ending: str | None = None) -> Iterator[Path]:
    """A temporary path beside ``path``; it replaces ``path`` when the block succeeds.

    After an exception ``path`` is as it was before and the temporary file is gone.

    Args:
        ending: ending of the temporary name, for writers that choose the format by it (default: that of
        ``path``).

    Raises:
        UserError: the folder cannot be made or written to, or the disk is full; names ``path``.
    """
    path = Path(path)
    check_writable(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A short name of its own: the final name may be as long as the file system allows.
        temporary = path.parent / f".part-{uuid.uuid4().hex[:12]}{ending or path.suffix}"
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(_cannot_write(path, error)) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _cannot_write(path: Path, error: OSError) -> str:
    reason = error.strerror or str(error)
    return f"{path} cannot be written ({reason}); free space, check permissions or choose another folder."
