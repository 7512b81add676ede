"""The warm worker: runs one job after the other and keeps the last model loaded in between.

``python -m MedDeepLib.worker --serve`` reads requests from its standard input, one JSON object a line::

    {"request": 1, "folder": "/path/of/a/job"}   run this job
    {"retire": true}                             exit when the requests before this one are done

Each job's events, result and log go to its folder, as always. When the worker has released the folder, it answers on
its standard output with one line, an event of the kind "state" with ``request`` and ``exit_code``, with ``message`` if
the folder could not be written, and with ``device`` if it has kept a model.

It exits, and so frees all memory, after some time without a request, when its input is closed, when the
process that started it has ended, when another job wants the GPU that holds its model, and after any error that may
have left the process in a bad state. It holds no device between two jobs.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import json
import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from MedDeepLib.devices import holders, resolve, waiting
from MedDeepLib.errors import EXIT_DONE, EXIT_FAILED, EXIT_STOPPED, UserError
from MedDeepLib.jobs.events import EventWriter
from MedDeepLib.jobs.folder import JobFolder, State
from MedDeepLib.worker.last_model import LastModel, free_device_memory
from MedDeepLib.worker.process import JobEnd, StopRequest, run_job

_LOOK_SECONDS = 1.0


class Server:
    """Serves the requests that arrive through a pipe, in order."""

    def __init__(self, idle_seconds: float):
        """Takes over standard input and output.

        Args:
            idle_seconds: exit after this long without a request.
        """
        self._idle_seconds = idle_seconds
        self._input, self._output = _take_streams()
        self._requests: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._stop: StopRequest | None = None
        self._leaving = False
        self._models = LastModel()

    def request(self) -> None:
        """Stop the current job and exit; may be called by a signal handler and from another thread."""
        self._leaving = True
        if self._stop is not None:
            self._stop.request()
        self._requests.put(None)

    def serve(self) -> int:
        """Serve requests until it is time to exit; returns the exit code."""
        faulthandler.enable()
        threading.Thread(target=self._listen, daemon=True).start()
        while (request := self._next()) is not None:
            end, message = self._do(JobFolder(request["folder"]))
            heard = self._answer(request.get("request"), end.exit_code, message)
            if not (heard and end.sound):
                return end.exit_code or EXIT_FAILED
            free_device_memory()
        return EXIT_DONE

    def _listen(self) -> None:
        rest = b""
        with contextlib.suppress(OSError):
            while data := os.read(self._input, 65536):
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    self._take(line)
        self.request()

    def _take(self, line: bytes) -> None:
        try:
            request = json.loads(line.decode("utf-8"))
            self._requests.put(None if request.get("retire") else {"folder": str(request["folder"]), **request})
        except (ValueError, KeyError, AttributeError):
            logging.error("This is not a request: %r", line)

    def _next(self) -> dict[str, Any] | None:
        """The next request, None when it is time to exit."""
        idle_until = time.monotonic() + self._idle_seconds
        collected = False
        while not self._leaving and (left := idle_until - time.monotonic()) > 0:
            try:
                return self._requests.get(timeout=min(left, _LOOK_SECONDS))
            except queue.Empty:
                if not collected:
                    # With everything that torch and MONAI load, this takes a third of a second: not between two jobs.
                    gc.collect()
                    free_device_memory()
                    collected = True
                if gpu_is_wanted(self._models.device):
                    break
        return None

    def _do(self, folder: JobFolder) -> tuple[JobEnd, str]:
        """Run a job; how it ended, and the reason if its folder could not be written."""
        self._stop = StopRequest(folder)
        if self._leaving:
            self._stop.request()
        try:
            with _output_to(folder.log_file), contextlib.closing(EventWriter(folder.events_file)) as report:
                try:
                    return run_job(folder, report, self._stop, models=self._models), ""
                finally:
                    # The process stays alive; the job must not look as if it did.
                    folder.forget_worker()
        except OSError as error:
            reason = error.strerror or str(error)
            return JobEnd(EXIT_FAILED, sound=True), f"The job folder {folder.path} cannot be written: {reason}."
        finally:
            self._stop = None

    def _answer(self, request: Any, exit_code: int, message: str) -> bool:
        state = {EXIT_DONE: State.DONE, EXIT_STOPPED: State.STOPPED}.get(exit_code, State.FAILED)
        answer = {"event": "state", "state": state, "request": request, "exit_code": exit_code}
        answer["device"] = self._models.device
        if message:
            answer["message"] = message
        try:
            os.write(self._output, json.dumps(answer).encode("utf-8") + b"\n")
        except OSError:
            return False  # nobody reads the answer, but the end of the process will be noticed
        return True


def gpu_is_wanted(device_id: str) -> bool:
    """Whether a job holds or waits for the GPU ``device_id``, on which an idle worker keeps its model.

    Always false for the CPU, which is shared, and for an empty ``device_id`` (no model is loaded).
    """
    if device_id in ("", "cpu"):
        return False
    try:
        device = resolve(device_id)
        return bool(holders(device) or waiting(device))
    except UserError:
        return False


def _take_streams() -> tuple[int, int]:
    """Standard input and output as private descriptors that no library and no child process can touch.

    From now on, anything printed goes to standard error. On Windows, nothing else may read the input: loading a library
    blocks while another thread reads it.
    """
    sys.stdout.flush()
    streams = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return streams


@contextlib.contextmanager
def _output_to(file: Path) -> Iterator[None]:
    """Append everything printed inside the block, also by C libraries, to ``file``."""
    with file.open("ab") as log:
        kept = os.dup(1), os.dup(2)
        for number in (1, 2):
            os.dup2(log.fileno(), number)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        for number, copy in zip((1, 2), kept, strict=True):
            os.dup2(copy, number)
            os.close(copy)
