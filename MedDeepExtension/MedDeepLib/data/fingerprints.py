"""Fingerprints of data files: they show whether a file has changed, without identifying a patient."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

from MedDeepLib.data.formats.dicom import SEPARATOR, choose_series

_HEADER_BYTES = 65536
# Headers of NRRD and MetaImage that name the files which hold the voxels.
_DATA_FILE = re.compile(rb"^(?:data ?file|ElementDataFile)\s*[:=]\s*(.+?)\s*$", re.IGNORECASE | re.MULTILINE)
_NUMBER = re.compile(r"%\d*d")
_known: dict[tuple, str] = {}


def fingerprint(path: Path) -> str:
    """SHA-256 of a data file; for data in several files, of their SHA-256 in order.

    Several files are those of a DICOM folder, or of one of its series (``folder::SeriesInstanceUID``), or a header with
    its separate data. An unchanged file is read only once. Raises OSError when a file cannot be read.
    """
    files = _files_of(path)
    states = tuple((str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files)
    if states not in _known:
        digests = [file_hash(file) for file in files]
        whole = digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()
        _known[states] = whole
    return _known[states]


def value_fingerprint(value: Any) -> Any:
    """A value that a list holds itself: text and numbers as they are, of boxes their SHA-256."""
    if not isinstance(value, tuple):
        return value
    listed = [{name: getattr(one, name) for name in one.__dataclass_fields__} for one in value]
    text = json.dumps(listed, default=lambda array: array.tolist(), sort_keys=True)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _files_of(path: Path) -> list[Path]:
    if SEPARATOR in str(path):
        return list(choose_series(path).files)
    if not path.is_dir():
        return [path, *_separate_data(path)]
    found = []
    for folder, _, names in os.walk(path):
        found += [Path(folder) / name for name in names if not name.startswith(".")]
    return sorted(found)


def _separate_data(path: Path) -> list[Path]:
    if path.suffix.lower() not in (".nhdr", ".mhd"):
        return []
    with path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
    match = _DATA_FILE.search(header)
    if match is None:
        return []
    name = match.group(1).decode("utf-8", "replace")
    if name.upper().startswith("LIST"):
        names = header[match.end() :].decode("utf-8", "replace").split("\n")
    elif _NUMBER.search(name):  # a pattern, then first number, last number, step
        pattern = _NUMBER.sub("*", name.split()[0])
        return sorted(path.parent.glob(pattern))
    else:
        names = [name]
    candidates = [path.parent / name.strip() for name in names if name.strip() and name.upper() != "LOCAL"]
    return [file for file in candidates if file.is_file()]


def file_hash(file: Path) -> str:
    """The SHA-256 of a file's contents."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
