"""Reads weight files that may be damaged or malicious."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any


class DamagedFileError(Exception):
    """The file was not written by torch.save, or is damaged."""


def load_tensors(path: Path) -> Any:
    """Load what ``torch.save`` wrote to ``path``, on the CPU; nothing in the file is executed.

    Raises:
        FileNotFoundError: there is no such file.
        DamagedFileError: it is truncated, altered, of another type, or contains more than tensors and plain values.
    """
    import torch

    try:
        with zipfile.ZipFile(path) as archive:
            altered = archive.testzip()  # torch does not verify the checksums itself
        if altered is None:
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # a damaged file can make its readers raise anything
        raise DamagedFileError(str(path)) from error
    raise DamagedFileError(f"{path}: {altered}")
