"""The home panel: devices, jobs and models of this computer.

:class:`Home` is the only public class. It is made of four sections: ``devices``, ``jobs`` (with ``job_rows`` in its
table, ``job_details`` below it, ``curves`` on demand, ``resumed_jobs`` for those that were resumed here), ``models``
and ``runs_folder``. They share ``words``.
"""

from MedDeepLib.panels.home.panel import Home

__all__ = ["Home"]
