"""Jobs: a folder says what to do, a worker process does it, events tell how it goes.

See :mod:`MedDeepLib.jobs.job` (what to do), :mod:`~MedDeepLib.jobs.events` (what is happening),
:mod:`~MedDeepLib.jobs.folder` (where everything lies), :mod:`~MedDeepLib.jobs.launcher` (start, watch, stop) and
:mod:`~MedDeepLib.jobs.worker` (the process).
"""

from MedDeepLib.jobs.folder import JobFolder, State
from MedDeepLib.jobs.job import Job
from MedDeepLib.jobs.launcher import RunningJob, launch

__all__ = ["Job", "JobFolder", "RunningJob", "State", "launch"]
