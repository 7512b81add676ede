"""The jobs of a runs folder; cheap to refresh.

Unchanged files are not read again, and the work can be done in steps: a panel with hundreds of jobs refreshes a
few of them at a time.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from MedDeepLib.jobs.folder import JobFolder, folders_in
from MedDeepLib.jobs.runs import TEMPORARY
from MedDeepLib.jobs.summary import Overview, overview


@dataclass(frozen=True)
class _Known:
    stamp: tuple
    overview: Overview


class JobList:
    """All jobs below a runs folder, including those whose results went into a scene.

    Attributes:
        overviews: of the jobs, the newest first, as they were at the end of the last :meth:`refresh`.
    """

    def __init__(self):
        self.overviews: list[Overview] = []
        self._known: dict[Path, _Known] = {}

    def refresh(self, runs: Path) -> Generator[None]:
        """Refresh all jobs; yields after each, so that the caller can do other work."""
        known: dict[Path, _Known] = {}
        for path in [*folders_in(runs), *folders_in(runs / TEMPORARY)]:
            found = self._look(path)
            if found is not None:
                known[path] = found
            yield
        self._known = known
        self.overviews = sorted((entry.overview for entry in known.values()), key=lambda entry: -entry.begun)

    def _look(self, path: Path) -> _Known | None:
        known = self._known.get(path)
        folder = JobFolder(path) if known is None else known.overview.folder
        stamp = _stamp(folder)
        if stamp[0] is None:
            return None  # not a job folder
        if known is None or known.stamp != stamp:
            return _Known(stamp, overview(folder))
        # No file shows whether a worker is alive, but an ended job does not run again without a changed file.
        died = known.overview.alive and not folder.worker_alive()
        return _Known(stamp, overview(folder)) if died else known


def _stamp(folder: JobFolder) -> tuple:
    """A stamp that changes with everything an overview is made from, except whether the worker is alive."""
    files = (folder.job_file, folder.events_file, folder.worker_file, folder.stop_file, folder.result_file)
    return tuple(_state_of(file) for file in files)


def _state_of(file: Path) -> tuple[int, int] | None:
    try:
        state = os.stat(file)
    except OSError:
        return None
    return state.st_mtime_ns, state.st_size
