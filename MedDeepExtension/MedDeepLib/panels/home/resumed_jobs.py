"""The jobs that were resumed from the home panel: watched until their end, ended with the panel."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

import qt
from slicer.i18n import tr as _

from MedDeepLib.errors import UserError
from MedDeepLib.jobs import State
from MedDeepLib.panels.job_monitor import POLL_MILLISECONDS
from MedDeepLib.scene.scene_jobs import SceneJob

_GRACE_SECONDS = 20.0


class ResumedJobs:
    """Follows any number of jobs; :func:`~MedDeepLib.panels.job_monitor.shut_down_all` ends them, too."""

    def __init__(self, on_finished: Callable[[SceneJob, State], None]):
        """``on_finished`` is called with a job and its final state."""
        self._on_finished = on_finished
        self._jobs: dict[Path, SceneJob] = {}
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MILLISECONDS)
        self._timer.connect("timeout()", self._look)

    def watch(self, job: SceneJob) -> None:
        """Follow a job that has just been started."""
        self._jobs[job.folder.path] = job
        self._timer.start()

    def job(self, path: Path) -> SceneJob | None:
        """The followed job in this folder, None if there is none."""
        return self._jobs.get(path)

    def is_busy(self) -> bool:
        return bool(self._jobs)

    def stop(self) -> None:
        """Ask all jobs to save and exit; they are followed until they have."""
        for job in self._jobs.values():
            job.stop(_GRACE_SECONDS)

    def shut_down(self, deadline: float) -> None:
        """End all jobs permanently, like :meth:`JobMonitor.shut_down <MedDeepLib.panels.job_monitor.JobMonitor>`."""
        self._timer.stop()
        jobs, self._jobs = list(self._jobs.values()), {}
        for job in jobs:
            job.stop()
        while any(job.is_running() for job in jobs) and time.monotonic() < deadline:
            time.sleep(0.02)
        for job in jobs:
            if job.is_running():
                job.kill()
            job.clean_up()

    def _look(self) -> None:
        for path, job in list(self._jobs.items()):
            running = job.is_running()  # checked before reading, so that no event can be missed
            job.poll()
            if not running:
                del self._jobs[path]
                self._on_finished(job, _finish(job))
        if not self._jobs:
            self._timer.stop()


def _finish(job: SceneJob) -> State:
    """Load the result of a job; if that fails, the job has failed."""
    try:
        return job.finish()
    except UserError as error:
        job.failure = str(error)
    except Exception as error:
        logging.exception("The result of a job could not be loaded")
        job.failure = _("The result could not be loaded ({error}).").format(error=error)
    return State.FAILED
