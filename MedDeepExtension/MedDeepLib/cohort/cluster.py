"""The workers of a cohort: processes of this computer, or the workers of a running dask scheduler."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

from MedDeepLib.cohort import probe as probe_module
from MedDeepLib.devices import Device, Lease, usable_devices
from MedDeepLib.errors import JobError, Stopped, UserError
from MedDeepLib.jobs.folder import JobFolder, State
from MedDeepLib.jobs.job import Job
from MedDeepLib.worker.device_queue import leased_devices

_LOOK_SECONDS = 1.0
_CONNECT_SECONDS = 10
_CLOSE_SECONDS = 10.0
_BYTES_FOR_A_PROCESS = 3e9  # torch, a network and an image of 512 x 512 x 600 voxels
# No dashboard port, and no memory limit from dask: it would stop a worker that holds a large image.
_SETTINGS = {
    "distributed.scheduler.allowed-failures": 0,  # retries are decided here
    # By default dask lets the allocator return every large block at once, which doubles the time of a network.
    "distributed.nanny.pre-spawn-environ": {"OMP_NUM_THREADS": 1, "MKL_NUM_THREADS": 1, "OPENBLAS_NUM_THREADS": 1},
    # Sampling every thread a hundred times a second is for developers only.
    "distributed.worker.profile.enabled": False,
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
}
_NEEDED = (
    "Cohorts need the Python packages dask, distributed and cryptography, and '{name}' is missing: install them with "
    "pip (in Slicer: slicer.util.pip_install('dask distributed cryptography'))."
)


class Crew:
    """The workers of a cluster that can take cases.

    Attributes:
        client: of dask.
        device: for computing a case: a request, or the device of each worker by its name.
        threads: number to use; 0: as many as the worker has.
        ready: addresses of the workers that have this version of the program and see the files.
    """

    def __init__(self, client: Any, device: Any, threads: int, question: tuple, expected: str, report: Callable):
        """
        Args:
            question: for :func:`probe`: task, folder of the model, folder of the results.
            expected: hash of the program that a worker must run.
        """
        self.client, self.device, self.threads = client, device, threads
        self.ready: dict[str, dict[str, Any]] = {}
        self._refused: dict[str, str] = {}
        self._question, self._expected, self._report = question, expected, report
        self._next_look = 0.0

    def look(self) -> None:
        """Check, at most once a second, which workers have joined or left.

        Raises:
            JobError: the connection to the scheduler was lost.
            UserError: there are workers, but none of them can take cases.
        """
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + _LOOK_SECONDS
        if self.client.status != "running":
            raise self.gone()
        try:
            present = self.client.nthreads()
        except (OSError, TimeoutError) as error:
            raise self.gone() from error
        self.ready = {address: facts for address, facts in self.ready.items() if address in present}
        self._refused = {address: reason for address, reason in self._refused.items() if address in present}
        new = [address for address in present if address not in self.ready and address not in self._refused]
        if new:
            self._ask(new)
        if self._refused and not self.ready:
            raise UserError(f"None of the workers can take cases; the first: {next(iter(self._refused.values()))}")

    def gone(self) -> JobError:
        return JobError(
            "The scheduler is gone: start it again and repeat the command. Finished cases are kept."
        )

    def _ask(self, addresses: list[str]) -> None:
        import cloudpickle

        # Sent by value: a worker with another version may lack the module, and must still be able to report that.
        cloudpickle.register_pickle_by_value(probe_module)
        try:
            answers = self.client.run(probe_module.probe, *self._question, workers=addresses, on_error="return")
        finally:
            cloudpickle.unregister_pickle_by_value(probe_module)
        for address, answer in answers.items():
            if isinstance(answer, BaseException):
                continue  # it has left; if not, it is asked again
            problem = _problem(answer, self._expected, self._question)
            if problem:
                self._refused[address] = f"{_who(address, answer)}: {problem}."
                self._report("warning", message=f"A worker gets no cases. {self._refused[address]}")
                continue
            others = {facts["packages"]["torch"] for facts in self.ready.values()}
            if others and answer["packages"]["torch"] not in others:
                self._report(
                    "warning",
                    message=f"{_who(address, answer)}: it has torch {answer['packages']['torch']}, others have "
                    f"{', '.join(sorted(others))}; results may differ in the last digits.",
                )
            self.ready[address] = answer


def _who(address: str, answer: dict[str, Any]) -> str:
    host = answer.get("host")
    return f"The worker {address}" + (f" on {host}" if host else "")


def _problem(answer: dict[str, Any], expected: str, question: tuple) -> str:
    """Why a worker cannot take cases; empty when it can."""
    _, model, output = question
    if "problem" in answer:
        return f"{answer['problem']}; install the same version there and restart it"
    if answer["program"] != expected:
        return (
            f"it has another version of MedDeepExtension (program {answer['program'][:8]}, here {expected[:8]}), whose "
            "results may differ; install the same version there and restart it"
        )
    for seen, path in ((answer["sees_model"], model), (answer["sees_output"], output)):
        if not seen:
            return f"it cannot use the folder {path}; put it on a drive that all computers mount under the same path"
    return ""


@contextlib.contextmanager
def cluster(
    job: Job,
    folder: JobFolder,
    question: tuple,
    expected: str,
    cases: int,
    report: Callable[..., None],
    stop_requested: Callable[[], bool],
) -> Iterator[Crew]:
    """The crew that the job asks for, with at least one worker ready; local workers end with the block.

    Raises:
        UserError: the packages are missing, or no scheduler answers.
        Stopped: the user asked to stop while the job waited.
    """
    try:
        import cryptography  # noqa: F401
        import dask
        import distributed  # noqa: F401
    except ImportError as error:
        raise UserError(_NEEDED.format(name=error.name)) from None
    for name in ("distributed.scheduler", "distributed.nanny", "distributed.core", "distributed.worker", "tornado"):
        logging.getLogger(name).setLevel(logging.ERROR)
    make = _remote if job.scheduler else _local
    with dask.config.set(_SETTINGS), make(job, folder, cases, report, stop_requested) as (client, device, threads):
        crew = Crew(client, device, threads, question, expected, report)
        _wait_for_workers(crew, job, report, stop_requested)
        yield crew


@contextlib.contextmanager
def _remote(job: Job, folder: JobFolder, cases: int, report, stop_requested) -> Iterator[tuple[Any, str, int]]:
    from distributed import Client

    report("phase", phase=f"Connecting to the scheduler at {job.scheduler}")
    try:
        client = Client(job.scheduler, timeout=_CONNECT_SECONDS, set_as_default=False)
    except (OSError, TimeoutError, ValueError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"No scheduler responds at {job.scheduler} ({reason}): start one with 'dask scheduler', and give the "
            "address that it prints."
        ) from None
    try:
        yield client, job.device, job.threads
    finally:
        with contextlib.suppress(Exception):
            client.close(timeout=2)


@contextlib.contextmanager
def _local(job: Job, folder: JobFolder, cases: int, report, stop_requested) -> Iterator[tuple[Any, dict, int]]:
    """Processes of this computer, one for each free GPU, or as many as CPU and memory allow.

    The devices are leased here, so that other jobs see one owner.
    """
    from distributed import Client, LocalCluster

    with leased_devices(job, folder, report, stop_requested) as (devices, threads), contextlib.ExitStack() as others:
        device = devices[0]
        if device.shared:
            count = min(job.workers or _processes(threads, device), cases)
            devices, threads = [device] * count, max(1, threads // count)
        else:
            devices = [*devices, *_more_gpus(job, folder, devices, cases, others)]
        workers = f"{len(devices)} process{'es' if len(devices) > 1 else ''}"
        if len(devices) > 1:
            report("message", message=f"{workers} compute a case each, on {' and '.join(_names(devices))}.")
        report("phase", phase=f"Starting {workers}")
        local = LocalCluster(
            n_workers=len(devices),
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            security=True,  # keys of this cluster only: no other user of this computer can connect to it
            memory_limit=None,
            dashboard_address=None,  # pyright: ignore[reportArgumentType]  # none is wanted; dask has no types
            silence_logs=logging.ERROR,
        )
        try:
            with Client(local, set_as_default=False) as client:
                yield client, {str(number): device.id for number, device in enumerate(devices)}, threads
        finally:
            try:
                local.close(timeout=_CLOSE_SECONDS)
            except TimeoutError:  # finished cases are on disk; the processes end with this one
                logging.warning("The processes of the cohort did not end within %g s.", _CLOSE_SECONDS)


def _processes(threads: int, device: Device) -> int:
    """Several processes with few threads each compute more cases than one process with many."""
    room = int(device.free_bytes / _BYTES_FOR_A_PROCESS) if device.free_bytes else threads
    return max(1, min(threads, room))


def _more_gpus(
    job: Job, folder: JobFolder, held: list[Device], cases: int, stack: contextlib.ExitStack
) -> list[Device]:
    """Lease the other GPUs that are free now, if the job may use any, until the stack is closed."""
    most = min(job.workers or cases, cases) - len(held)
    found: list[Device] = []
    for device in usable_devices(job.device)[0]:
        if device.id in {gpu.id for gpu in held} or device.shared or len(found) >= most:
            continue
        lease = stack.enter_context(Lease([device], job.title, folder.path, job.threads))
        if lease.take():
            found.append(device)
        else:
            lease.release()
    return found


def _names(devices: list[Device]) -> list[str]:
    return list(dict.fromkeys(device.name for device in devices))


def _wait_for_workers(crew: Crew, job: Job, report, stop_requested) -> None:
    said = False
    while True:
        crew.look()
        if crew.ready:
            break
        if job.scheduler and not said:
            sentence = f"Waiting for a worker: start one with 'dask worker {job.scheduler}'"
            report("state", state=State.QUEUED, message=sentence)
            report("phase", phase=sentence)
            said = True
        if stop_requested():
            raise Stopped
        time.sleep(0.1)
    if said:
        report("state", state=State.RUNNING)
