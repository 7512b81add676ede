"""Warm workers: processes kept for the next job, so that it starts at once instead of importing and loading.

    workers = WarmWorkers()
    job = workers.submit(folder)     # a RunningJob like any other; never blocks
    ...
    workers.retire()                 # give the memory back

Nothing here runs in the background: polling a job also reads its worker's answers.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from MedDeepLib.errors import EXIT_DONE, EXIT_FAILED
from MedDeepLib.jobs.events import EventReader
from MedDeepLib.jobs.folder import JobFolder
from MedDeepLib.jobs.launcher import RunningJob, kill_tree, launch, start_worker

IDLE_SECONDS = 600.0
ENVIRONMENT_VARIABLE = "MEDDEEP_WARM_SECONDS"
_WAIT_POLL_SECONDS = 0.02


class WarmWorkers:
    """The warm workers of this application, one for each device at most."""

    def __init__(self, idle_seconds: float | None = None, background: bool = True):
        """
        Args:
            idle_seconds: after which an idle worker exits; 0: no worker stays after its job. None: the environment
                variable MEDDEEP_WARM_SECONDS, or ten minutes.
            background: run them at a lower priority, so that interactive applications stay responsive.
        """
        self._idle_seconds = idle_seconds
        self._background = background
        self._workers: list[_Worker] = []
        self._leaving: list[_Worker] = []
        atexit.register(self.close)

    def submit(self, folder: JobFolder) -> RunningJob:
        """Start the job in ``folder``: at once if a worker for its device is warm and free.

        While the worker of that device is busy, the job gets its own process, which waits for the
        device if necessary.

        Raises UserError when the job is not valid, is done, or another worker is running it.
        """
        job = folder.job()
        worker = self._free_worker(job.device)
        if self._idle() <= 0 or (worker is None and self._is_taken(job.device)):
            return launch(folder, self._background)
        folder.prepare_restart()
        reader = EventReader(folder.events_file)
        reader.read()  # skip the events of an earlier worker
        return WarmJob(folder, reader, worker or self._start(), self._start, job.device)

    def retire(self) -> None:
        """Retire all workers and free their memory: idle ones now, busy ones after their job."""
        workers, self._workers = self._workers, []
        self._leaving += workers
        for worker in workers:
            worker.dismiss()
        self._forget_ended()

    def close(self) -> None:
        """End all workers now, busy or not, and wait until they are gone."""
        self.retire()
        for worker in self._leaving:
            kill_tree(worker.process)
        self._forget_ended()

    def _idle(self) -> float:
        if self._idle_seconds is not None:
            return self._idle_seconds
        try:
            return float(os.environ[ENVIRONMENT_VARIABLE])
        except (KeyError, ValueError):
            return IDLE_SECONDS

    def _free_worker(self, device: str) -> _Worker | None:
        self._forget_ended()
        free = [worker for worker in self._workers if not worker.is_busy()]
        same = [worker for worker in free if worker.serves(device)]
        # Any worker can use any device, but would unload the model that it keeps on its own device.
        return (same or (free if device == "auto" else []) or [None])[0]

    def _is_taken(self, device: str) -> bool:
        return any(device == "auto" or worker.serves(device) for worker in self._workers)

    def _start(self) -> _Worker:
        worker = _Worker(self._idle(), self._background)
        self._workers.append(worker)
        return worker

    def _forget_ended(self) -> None:
        for workers in (self._workers, self._leaving):
            for worker in [worker for worker in workers if not worker.is_alive() and not worker.is_busy()]:
                worker.remove_files()
                workers.remove(worker)


class WarmJob(RunningJob):
    """A job run by a warm worker; used like any other running job."""

    def __init__(
        self, folder: JobFolder, reader: EventReader, worker: _Worker, replacement: Callable[[], _Worker], device: str
    ):
        """
        Args:
            worker: free, and alive a moment ago.
            replacement: starts another worker, in case this one has just exited.
            device: requested by the job.
        """
        super().__init__(folder, worker.process, reader)
        self._replacement: Callable[[], _Worker] | None = replacement
        self._device = device
        self._exit_code: int | None = None
        self._killed = False
        self._hand_to(worker)

    def poll(self) -> list[dict[str, Any]]:
        self._settle()
        return super().poll()

    def is_running(self) -> bool:
        self._settle()
        return self._exit_code is None

    @property
    def exit_code(self) -> int | None:
        """The exit code, as of a process that runs only this job; None while it runs."""
        self._settle()
        return self._exit_code

    def kill(self) -> None:
        """End the worker with everything it has started, if it is still running this job."""
        if self.is_running():
            self._killed = True
            super().kill()

    def _wait_for_process(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self.is_running() and time.monotonic() < deadline:
            time.sleep(_WAIT_POLL_SECONDS)

    def _hand_to(self, worker: _Worker) -> None:
        self._worker, self._process = worker, worker.process
        self._number = worker.take(self, self._device)

    def _settle(self) -> None:
        """Check whether the job has ended, and how."""
        if self._exit_code is not None:
            return
        alive = self._worker.is_alive()  # checked first: its last answer is read below
        answer = self._worker.answer(self._number)
        if answer is not None:
            self._exit_code = int(answer["exit_code"])
            if "message" in answer:
                self._tell_failure(answer["message"])
        elif not alive:
            self._settle_without_answer(self._process.returncode)

    def _settle_without_answer(self, exit_code: int) -> None:
        begun = self.folder.worker_file.exists()
        left = self._worker.experienced or exit_code == EXIT_DONE
        if self.folder.result_file.exists():
            self._exit_code = EXIT_DONE
        elif self._killed:
            self._exit_code = exit_code
        elif left and not begun and self._replacement is not None:
            # It exited while idle, before it could see this job.
            replacement, self._replacement = self._replacement, None
            self._hand_to(replacement())
        else:
            self._exit_code = EXIT_FAILED
            self._tell_failure(end_in_words(exit_code))


class _Worker:
    """One process that serves jobs, and the connection to it.

    Attributes:
        process: the process.
        experienced: whether it has finished a job before the current one.
    """

    def __init__(self, idle_seconds: float, background: bool):
        # Answers go to a file: reading a pipe without blocking needs a thread on some systems.
        self._folder = Path(tempfile.mkdtemp(prefix="meddeep-worker-"))
        answers = self._folder / "answers.jsonl"
        arguments = ["--serve", "--idle", str(idle_seconds)] + (["--background"] if background else [])
        with answers.open("ab") as output, (self._folder / "log.txt").open("ab") as log:
            self.process = start_worker(arguments, self._folder, subprocess.PIPE, output, log)
        self._requests: Any = self.process.stdin
        self._reader = EventReader(answers)
        self._answers: dict[int, dict[str, Any]] = {}
        self._number = 0
        self._job: WarmJob | None = None
        self._devices: set[str] = set()

    @property
    def experienced(self) -> bool:
        return self._number > 1

    def is_alive(self) -> bool:
        return self.process.poll() is None

    def is_busy(self) -> bool:
        return self._job is not None and self._job.is_running()

    def serves(self, device: str) -> bool:
        """Whether it is the worker of this device: the requested one, or the one ``auto`` picked."""
        return device in self._devices

    def take(self, job: WarmJob, device: str) -> int:
        """Send it a job; returns the number of the request."""
        self._job = job
        self._devices = {device}
        self._number += 1
        self._send({"request": self._number, "folder": str(job.folder.path)})
        return self._number

    def answer(self, number: int) -> dict[str, Any] | None:
        """Its answer to the request with this number, None until the job has ended."""
        for event in self._reader.read():
            self._answers[event["request"]] = event
            self._devices.add(event["device"])
        return self._answers.get(number)

    def dismiss(self) -> None:
        """Let it exit, at once when it is idle."""
        if self.is_busy():
            self._send({"retire": True})
        elif self.is_alive():
            self.process.kill()  # it has nothing to save

    def remove_files(self) -> None:
        with contextlib.suppress(OSError):
            self._requests.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _send(self, request: dict[str, Any]) -> None:
        # A request that cannot be sent is noticed like an unanswered one: by the end of the process.
        with contextlib.suppress(OSError):
            self._requests.write(json.dumps(request).encode("utf-8") + b"\n")
            self._requests.flush()


def end_in_words(exit_code: int) -> str:
    """Why a process ended unexpectedly, as far as its exit code shows."""
    if os.name != "nt" and exit_code < 0:
        name = signal.Signals(-exit_code).name if -exit_code in signal.valid_signals() else str(-exit_code)
        if name == "SIGKILL":
            return (
                "The worker process was killed, most likely because the computer ran out of memory: close other "
                "programs and try again."
            )
        return f"The worker process crashed ({name}): try again; log.txt has the details."
    return f"The worker process ended unexpectedly (exit code {exit_code}): try again; log.txt has the details."
