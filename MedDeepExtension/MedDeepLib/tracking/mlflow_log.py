"""Tracks a job on an MLflow server or in a local store; the job never waits for it.

The target is set by MLflow's own environment variables: MLFLOW_TRACKING_URI (``sqlite:///runs.db``, a server's
address) and, optionally, MLFLOW_EXPERIMENT_NAME. A resumed training continues its MLflow run. A thread
does all communication, so a slow or missing server does not delay the job; points that could not be sent are sent
later.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from MedDeepLib import __version__
from MedDeepLib.jobs.folder import JobFolder, read_json, write_json
from MedDeepLib.jobs.job import Job

TRACKING_URI = "MLFLOW_TRACKING_URI"
RUN_FILE = "mlflow.json"
_EXPERIMENT = "MedDeepExtension"
_STATUS = {"done": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
_BATCH_SECONDS = 2.0
_BATCH_POINTS = 900  # MLflow accepts a thousand at a time
_BATCH_PARAMETERS = 100
_RETRY_SECONDS = 30.0
_LAST_SECONDS = 15.0
_MOST_POINTS = 200_000
# By default, MLflow retries for minutes and sends telemetry.
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
_SILENCE = {"MLFLOW_DISABLE_TELEMETRY": "true"}


class MlflowLog:
    """One job as a run of MLflow."""

    def __init__(self, job: Job, folder: JobFolder, warn: Callable[[str], None]):
        """``warn`` is called once, with a sentence, when the server cannot be reached; maybe from another thread."""
        self._job, self._folder, self._warn = job, folder, warn
        self._uri = os.environ[TRACKING_URI]
        self._points: deque[tuple[str, float, int, int]] = deque(maxlen=_MOST_POINTS)
        self._parameters: dict[str, Any] = {}
        self._ending = ""
        self._woken = threading.Event()
        self._unreachable = False
        self._client: Any = None
        self._run = ""
        self._thread = threading.Thread(target=self._talk, name="mlflow", daemon=True)
        self._thread.start()

    def metrics(self, stage: str, step: int, values: dict[str, float]) -> None:
        now = int(time.time() * 1000)
        self._points.extend((_key(f"{stage}/{name}"), value, step, now) for name, value in values.items())

    def finish(self, parameters: dict[str, Any], metrics: dict[str, float]) -> None:
        now = int(time.time() * 1000)
        self._parameters = parameters
        self._points.extend((_key(f"final/{name}"), value, 0, now) for name, value in metrics.items())

    def close(self, ending: str) -> None:
        self._ending = ending
        self._woken.set()
        self._thread.join(0.0 if self._unreachable else _LAST_SECONDS)
        if self._thread.is_alive() and not self._unreachable:
            self._say_once("it did not respond in time")

    def _talk(self) -> None:
        while True:
            ending = self._ending  # read first: everything reported before it is sent below
            try:
                self._send()
                if ending:
                    self._client.set_terminated(self._run, _STATUS[ending])
            except Exception as error:
                logging.warning("MLflow: %s: %s", type(error).__name__, error)
                self._say_once(_reason(error))
                if ending or isinstance(error, ImportError):
                    return
            if ending:
                return
            self._woken.wait(_RETRY_SECONDS if self._unreachable else _BATCH_SECONDS)

    def _send(self) -> None:
        """Send everything not sent yet; what fails is kept for the next time."""
        if not self._client:
            self._begin()
        from mlflow.entities import Metric, Param

        from MedDeepLib.tracking.values import parameters_of

        if not self._parameters and (self._points or self._ending):
            self._parameters = parameters_of(self._job, self._folder)
        parameters = [Param(_key(name), str(value)[:500]) for name, value in self._parameters.items()]
        for first in range(0, len(parameters), _BATCH_PARAMETERS):
            self._client.log_batch(self._run, params=parameters[first : first + _BATCH_PARAMETERS])
        while self._points:
            batch = [self._points[n] for n in range(min(_BATCH_POINTS, len(self._points)))]
            metrics = [Metric(key, value, time_of, step) for key, value, step, time_of in batch]
            self._client.log_batch(self._run, metrics=metrics)
            for _ in batch:
                self._points.popleft()
        self._unreachable = False

    def _begin(self) -> None:
        for name, value in (_PATIENCE | _SILENCE).items():
            os.environ.setdefault(name, value)
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient

        client, file = MlflowClient(self._uri, registry_uri=self._uri), self._folder.path / RUN_FILE
        earlier = read_json(file)
        if earlier.get("uri") == self._uri:
            try:
                client.update_run(earlier["run"], status="RUNNING")
                self._client, self._run = client, earlier["run"]
                return
            except MlflowException:
                pass  # the run was deleted there: start another one
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or _EXPERIMENT
        experiment = client.get_experiment_by_name(name)
        number = client.create_experiment(name) if experiment is None else experiment.experiment_id
        tags = {"meddeep.version": __version__, "meddeep.task": self._job.task, "meddeep.action": self._job.action}
        run = client.create_run(number, run_name=self._folder.path.name, tags=tags)
        self._run = run.info.run_id
        write_json(file, {"uri": self._uri, "run": self._run})
        self._client = client

    def _say_once(self, reason: str) -> None:
        told, self._unreachable = self._unreachable, True
        if not told:
            self._warn(
                f"MLflow at {self._uri} cannot be reached ({reason}): check the "
                f"address in {TRACKING_URI}. The job continues, and its curves are in the job folder."
            )


def _reason(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"the Python package '{error.name}' is missing, install mlflow"
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) < 160 else f"{words[:160]}..."


def _key(name: str) -> str:
    return re.sub(r"[^\w\-. :/]", "_", name)
