"""A profile of a job: what torch computes in its first seconds of work, and how long each operation takes."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from MedDeepLib.core import Context
from MedDeepLib.jobs.folder import JobFolder

SECONDS = 20.0
"""How long operations are recorded: a trace of more cannot be opened any more."""


@contextlib.contextmanager
def profiled(wanted: bool, at_once: bool, folder: JobFolder, context: Context) -> Iterator[Context]:
    """Record operations inside the block if ``wanted``; the trace is ``trace.json.gz`` in the job folder.

    Args:
        at_once: record from the beginning, not from the first steps of a training.

    Yields the context to work with.
    """
    if not wanted:
        yield context
        return
    profile = _Profile(folder, context)
    if at_once:
        profile.begin()
    try:
        yield replace(context, report=profile.report, stop_requested=profile.stop_requested)
    finally:
        profile.end()


class _Profile:
    """Listens to the job's events and questions, to know when it begins and ends."""

    def __init__(self, folder: JobFolder, context: Context):
        self._folder, self._context = folder, context
        self._recorder: Any = None
        self._began = 0.0
        self._over = False
        self._thread = threading.get_ident()  # torch wants both ends in one thread

    def report(self, event: str, **fields: Any) -> None:
        self._context.report(event, **fields)
        if event == "progress" and "stage" in fields:
            self.begin()

    def stop_requested(self) -> bool:
        if self._recorder is not None and time.monotonic() - self._began > SECONDS:
            self.end()
        return self._context.stop_requested()

    def begin(self) -> None:
        if self._recorder is not None or self._over or threading.get_ident() != self._thread:
            return
        from torch.profiler import ProfilerActivity, profile

        activities = [ProfilerActivity.CPU]
        if self._context.device.type == "cuda":
            activities.append(ProfilerActivity.CUDA)
        self._recorder, self._began = profile(activities=activities), time.monotonic()
        self._recorder.start()

    def end(self) -> None:
        if self._recorder is None or threading.get_ident() != self._thread:
            return
        recorder, self._recorder, self._over = self._recorder, None, True
        seconds = time.monotonic() - self._began
        recorder.stop()
        file = self._folder.path / "trace.json.gz"
        try:
            recorder.export_chrome_trace(str(file))
        except OSError as error:
            self._context.report("warning", message=f"The profile {file} cannot be written ({error}).")
            return
        table = recorder.key_averages().table(sort_by="self_cpu_time_total", row_limit=15)
        print(table, flush=True)  # in the job's log
        self._context.report(
            "message",
            message=f"The profile of {seconds:.0f} s is {file}: open it at ui.perfetto.dev or chrome://tracing; "
            "the operations that took longest are listed in log.txt.",
        )
