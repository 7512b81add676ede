"""Applies a model to nodes of the scene, for all tasks."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from MedDeepLib.core import ApplyItem
from MedDeepLib.jobs import Job, JobFolder, Launcher, State, Worker
from MedDeepLib.scene import runs
from MedDeepLib.scene.scene_jobs import SceneJob


class ApplicationJob(SceneJob):
    """Applies a model to nodes, which the worker reads from files; the job folder is deleted at the end."""

    def __init__(self, running: Worker, inputs: Mapping[Path, Any]):
        """
        Args:
            running: the worker.
            inputs: the nodes by the files that the worker reads.
        """
        super().__init__(running)
        self._names = {file: node.GetName() for file, node in inputs.items()}

    def translate(self, event: dict[str, Any]) -> dict[str, Any]:
        """Replace the worker's file names by node names, which users know."""
        for key in ("phase", "message"):
            for file, name in self._names.items() if key in event else ():
                for text in (str(file), file.name):
                    event = {**event, key: event[key].replace(text, f"'{name}'")}
        return event

    def clean_up(self) -> None:
        # The images in it are copies. The folder of a failed job is kept for its log.
        failed = self.state is State.FAILED
        shutil.rmtree(self.folder.path / "input" if failed else self.folder.path, ignore_errors=True)


@contextlib.contextmanager
def application_folder(task: str) -> Iterator[Path]:
    """A new job folder for applying a model to nodes; removed if the job cannot be started."""
    folder = runs.temporary_folder(f"{task}_apply")
    try:
        yield folder
    except Exception:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def start_application(
    launcher: Launcher,
    folder: Path,
    task: str,
    model: str | Path,
    item: ApplyItem,
    device: str,
    options: Mapping[str, Any] | None,
) -> Worker:
    """Apply a model to one item in the background, in a new folder. Raises UserError when the item is not valid."""
    job = Job(task, "apply", "", dict(options or {}), model=str(model), items=(item,), device=device)
    return launcher.submit(JobFolder.create(folder, job))
