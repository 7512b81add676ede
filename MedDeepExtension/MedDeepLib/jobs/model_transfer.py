"""Imports, exports and trusts models in a separate process, for programs that must not block."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from MedDeepLib.jobs.launcher import end_tree

_CLEAN_UP_SECONDS = 2.0


class ModelTransfer:
    """One running transfer; ask :meth:`is_running` from a timer.

    Attributes:
        path: the final location of the model; None before the end and after a failure.
        error: why it failed, in a sentence; empty if it has not failed.
    """

    def __init__(self, models_folder: Path, *arguments: str | Path):
        """``arguments`` are those of ``models.py``: ``"import", source`` or ``"export", model, target`` or others."""
        self.path: Path | None = None
        self.error = ""
        self._done, self._total = 0, 0
        library = str(Path(__file__).resolve().parents[2])
        inherited = [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []
        environment = dict(os.environ, PYTHONIOENCODING="utf-8", PYTHONPATH=os.pathsep.join([library, *inherited]))
        command = [
            sys.executable,
            "-u",
            "-m",
            "MedDeepLib.cli.models_command",
            "--json",
            "--models",
            str(models_folder),
        ]
        detached: dict[str, Any] = {"start_new_session": True}
        if os.name == "nt":
            detached = {"creationflags": subprocess.CREATE_NO_WINDOW}
        handle, name = tempfile.mkstemp(prefix="meddeep-", suffix=".log")
        self._output, self._position = Path(name), 0
        try:
            self._process = subprocess.Popen(
                [*command, *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=handle,
                stderr=subprocess.STDOUT,
                env=environment,
                **detached,
            )
        finally:
            os.close(handle)

    def is_running(self) -> bool:
        """Check the process and read its new output."""
        running = self._process.poll() is None
        self._read()
        if not running:
            self._output.unlink(missing_ok=True)
        if not running and self.path is None and not self.error:
            self.error = f"The transfer ended unexpectedly (exit code {self._process.returncode}): try again."
        return running

    def share(self) -> float:
        """Progress, from 0 to 1."""
        return self._done / self._total if self._total else 0.0

    def cancel(self) -> None:
        """End it now; it removes its partial copy, unless the system or a slow disk leaves it no time."""
        self._process.terminate()
        try:
            self._process.wait(timeout=_CLEAN_UP_SECONDS)
        except subprocess.TimeoutExpired:
            end_tree(self._process.pid)
            self._process.wait(timeout=10)
        self._output.unlink(missing_ok=True)

    def _read(self) -> None:
        if not self._output.exists():
            return
        with self._output.open("rb") as output:
            output.seek(self._position)
            content = output.read()
        end = content.rfind(b"\n") + 1
        self._position += end
        for line in content[:end].splitlines():
            try:
                said = dict(json.loads(line))
            except (TypeError, ValueError):
                continue  # a library's warning
            self._done, self._total = said.get("done", self._done), said.get("total", self._total)
            self.error = said.get("error", self.error)
            self.path = Path(said["path"]) if "path" in said else self.path
