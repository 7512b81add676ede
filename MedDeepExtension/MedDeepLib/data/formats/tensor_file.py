"""Reading files of weights that may be damaged, or made by somebody with bad intentions."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any


class DamagedFileError(Exception):
    """The file is not what torch.save has written."""


def load_tensors(path: Path) -> Any:
    """What ``torch.save`` wrote to ``path``, on the CPU; nothing in the file is executed.

    Raises:
        FileNotFoundError: there is no such file.
        DamagedFileError: it is cut short, altered, of another kind, or holds more than tensors and plain values.
    """
    import torch

    try:
        with zipfile.ZipFile(path) as archive:
            altered = archive.testzip()  # torch does not look at the checksums itself
        if altered is None:
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # what a damaged file makes its readers raise is anybody's guess
        raise DamagedFileError(str(path)) from error
    raise DamagedFileError(f"{path}: {altered}")
