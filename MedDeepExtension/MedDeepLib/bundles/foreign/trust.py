"""Remembers which bundles the user trusts to run their own code, by the content of all their files.

A bundle that has changed since is a different one, and the user is asked again.

The record is in the user's state folder, never in the bundle.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from MedDeepLib.bundles.archive import files_below
from MedDeepLib.data.files import atomic_path
from MedDeepLib.devices.locks import state_folder

_RECORD = "trusted_bundles.json"


def content_hash(folder: Path) -> str:
    """A hash of the names and contents of all files below ``folder``; reads all of them."""
    total = hashlib.sha256()
    for file in files_below(folder):
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").digest()
        total.update(file.relative_to(folder).as_posix().encode() + b"\0" + digest)
    return total.hexdigest()


def trust(folder: Path, name: str) -> None:
    """Remember that the user trusts the current content of ``folder``. Raises UserError when that cannot be written."""
    trusted = _read()
    trusted[content_hash(folder)] = {
        "name": name,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "state": _state(folder),
    }
    _write(trusted)


def is_trusted(folder: Path) -> bool:
    """Whether the user trusts exactly these files; reads all of them."""
    return bool(trusted := _read()) and content_hash(folder) in trusted


def seems_trusted(folder: Path) -> bool:
    """Like :func:`is_trusted`, but only looks at the files' sizes and times: quick enough for a panel."""
    state = _state(folder)
    return any(entry.get("state") == state for entry in _read().values())


def withdraw(folder: Path) -> None:
    """Forget that the bundle is trusted."""
    trusted = _read()
    if trusted.pop(content_hash(folder), None):
        _write(trusted)


def _state(folder: Path) -> list:
    states = [(file, file.stat()) for file in files_below(folder)]
    rows = [[file.relative_to(folder).as_posix(), s.st_size, s.st_mtime_ns, s.st_ino] for file, s in states]
    return [str(folder.resolve()), hashlib.sha256(json.dumps(rows).encode()).hexdigest()]


def _read() -> dict[str, dict[str, Any]]:
    try:
        content = json.loads((state_folder() / _RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # a damaged record: no bundle is trusted
    return (
        {key: entry for key, entry in content.items() if isinstance(entry, dict)} if isinstance(content, dict) else {}
    )


def _write(trusted: dict[str, dict[str, Any]]) -> None:
    with atomic_path(state_folder() / _RECORD) as temporary:
        temporary.write_text(json.dumps(trusted, indent=2) + "\n", encoding="utf-8")
