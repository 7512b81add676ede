"""Folders shared by the processes of a test run: made once, by whichever process needs them first, and read-only."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock
from MedDeepLib.bundles.layout import CONVERTED


class SharedFolders:
    """Folders that all pytest processes of a run read, such as that of a trained toy network.

    Args:
        root: the same folder for each of the processes.
    """

    def __init__(self, root: Path):
        self._root = root
        self._used: set[str] = set()

    def __call__(self, name: str, make: Callable[[Path], Path]) -> Path:
        """The path that ``make`` returns, inside the empty folder passed to it. One process makes it, others wait."""
        folder, record = self._root / name, self._record(name)
        self._root.mkdir(parents=True, exist_ok=True)
        with FileLock(self._root / f"{name}.lock"):
            if not record.exists():
                shutil.rmtree(folder, ignore_errors=True)  # left by a process that was interrupted
                folder.mkdir()
                made = make(folder).relative_to(folder)
                text = json.dumps({"made": str(made), "files": _state_of(folder)})
                record.with_suffix(".part").write_text(text, encoding="utf-8")
                os.replace(record.with_suffix(".part"), record)
        self._used.add(name)
        return folder / json.loads(record.read_text(encoding="utf-8"))["made"]

    def changed(self) -> list[str]:
        """The files that were added, removed or written since, in the folders that this process has used."""
        found = []
        for name in sorted(self._used):
            before = json.loads(self._record(name).read_text(encoding="utf-8"))["files"]
            after = _state_of(self._root / name)
            names = sorted(before.keys() | after.keys())
            found += [f"{name}/{file}" for file in names if before.get(file) != after.get(file)]
        return found

    def _record(self, name: str) -> Path:
        return self._root / f"{name}.json"


def _state_of(folder: Path) -> dict[str, list[int]]:
    # What a model was converted to is no part of it: any process may add that to any model.
    files = [file for file in folder.rglob("*") if file.is_file() and CONVERTED not in file.parts]
    return {file.relative_to(folder).as_posix(): [file.stat().st_size, file.stat().st_mtime_ns] for file in files}
