"""Jobs: a folder describes the work, a worker process runs it, events report its progress.

See :mod:`MedDeepLib.jobs.job` (what to do), :mod:`~MedDeepLib.jobs.events` (what is happening),
:mod:`~MedDeepLib.jobs.folder` (where the files are), :mod:`~MedDeepLib.jobs.launcher` (start, watch, stop),
:mod:`~MedDeepLib.jobs.warm` (workers kept for the next job), :mod:`~MedDeepLib.jobs.workers` (the interface for
applications), and :mod:`~MedDeepLib.jobs.listing` (all jobs at a glance). The worker itself is
:mod:`MedDeepLib.worker`.
"""

from MedDeepLib.jobs.folder import JobFolder, State
from MedDeepLib.jobs.job import Job
from MedDeepLib.jobs.launcher import RunningJob, launch
from MedDeepLib.jobs.warm import WarmWorkers
from MedDeepLib.jobs.workers import Launcher, Worker, application_launcher

__all__ = [
    "Job",
    "JobFolder",
    "Launcher",
    "RunningJob",
    "State",
    "WarmWorkers",
    "Worker",
    "application_launcher",
    "launch",
]
