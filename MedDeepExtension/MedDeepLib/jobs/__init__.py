"""Jobs: a folder says what to do, a worker process does it, events tell how it goes.

See :mod:`MedDeepLib.jobs.job` (what to do), :mod:`~MedDeepLib.jobs.events` (what is happening),
:mod:`~MedDeepLib.jobs.folder` (where everything lies), :mod:`~MedDeepLib.jobs.launcher` (start, watch, stop),
:mod:`~MedDeepLib.jobs.warm` (workers that stay for the next job), :mod:`~MedDeepLib.jobs.workers` (what applications
know of all this), and :mod:`~MedDeepLib.jobs.listing` (all jobs at a glance). The worker itself is
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
