"""The work of a dask worker: one case after the other, with the model loaded once."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from MedDeepLib.cohort.record import OWN_FOLDER, STOP_FILE, Record, address
from MedDeepLib.core import ApplyItem, Context, registry
from MedDeepLib.data.fingerprints import fingerprint
from MedDeepLib.data.formats.dicom import SEPARATOR
from MedDeepLib.data.geometry import spacing_of
from MedDeepLib.data.slots import VALUES, Source
from MedDeepLib.data.sources.image import read_image_info
from MedDeepLib.devices import Lease, usable_devices
from MedDeepLib.devices.memory import is_out_of_memory
from MedDeepLib.errors import JobError, Stopped, UserError
from MedDeepLib.jobs.items import from_json
from MedDeepLib.jobs.job import Job
from MedDeepLib.worker.evaluation import what_computed
from MedDeepLib.worker.last_model import LastModel

_POLL_SECONDS = 0.5
_IDLE_SECONDS = 60.0  # seconds without a case before the device and its memory are released


def do_case(request: dict[str, Any]) -> dict[str, Any]:
    """Apply the model to one case, unless it is done already; called by dask.

    Args:
        request: ``task``, ``model`` (folder), ``parameters``, ``recipe`` (see :func:`record.address`), ``device`` (a
            request, or by the worker's name), ``threads`` (0: those of the worker), ``title``, ``session`` (the run of
            the cohort), ``item`` (see :mod:`MedDeepLib.jobs.items`).

    Returns:
        A ``state`` (done, kept, failed or stopped), a ``reason`` if it failed, and the facts about the result.
    """
    began = time.perf_counter()
    with _seat.lock:
        try:
            outcome: dict[str, Any] = _do(request)
        except Stopped:
            outcome = {"state": "stopped"}
        except Exception as error:
            if not isinstance(error, UserError):
                logging.getLogger("distributed.worker").error("%s", traceback.format_exc())
            outcome = {"state": "failed", "reason": _in_a_sentence(error)}
        finally:
            _seat.release_when_idle()
    busy = time.perf_counter() - began - outcome.pop("loading", 0.0)
    return {"worker": _worker_name()} | outcome | {"busy_seconds": busy}


class _Seat:
    """The state kept between cases: the device, and the model on it."""

    def __init__(self):
        self.lock = threading.Lock()
        self.models = LastModel()
        self._lease: Lease | None = None
        self._timer: threading.Timer | None = None

    def device(self, request: dict[str, Any], stop: _Stop) -> tuple[str, int]:
        """The device and the number of threads to use.

        On this computer the driver holds the devices; a worker on another computer has to lease one.
        """
        if isinstance(request["device"], dict):
            return request["device"][_worker_name()], request["threads"]
        if self._lease is None:
            devices, _ = usable_devices(request["device"])
            self._lease = Lease(devices, request["title"], threads=request["threads"] or _worker_threads())
        while not self._lease.take():
            if stop():
                raise Stopped
            time.sleep(_POLL_SECONDS)
        assert self._lease.device is not None  # it has been taken
        return self._lease.device.id, self._lease.threads

    def release_when_idle(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = threading.Timer(_IDLE_SECONDS, self.release)
        self._timer.daemon = True
        self._timer.start()

    def release(self) -> None:
        """Release the device and all memory, unless a case has arrived meanwhile."""
        if not self.lock.acquire(blocking=False):
            return
        try:
            self.models.forget()
            if self._lease is not None:
                self._lease.release()
                self._lease = None
        finally:
            self.lock.release()


class _Stop:
    """Whether the cohort has been stopped; reads the disk at most twice a second."""

    def __init__(self, output: Path):
        self._file = output.parent / OWN_FOLDER / STOP_FILE
        self._next, self._stopped = 0.0, False

    def __call__(self) -> bool:
        now = time.monotonic()
        if now >= self._next:
            self._next, self._stopped = now + _POLL_SECONDS, os.path.exists(self._file)
        return self._stopped


def _do(request: dict[str, Any]) -> dict[str, Any]:
    item = from_json(request["item"], registry.task(request["task"]), "This case")
    stop = _Stop(Path(item.output))
    if stop():
        raise Stopped
    record = Record(*item.files_written)
    wanted = address(request["recipe"], {name: _fingerprints(source) for name, source in item.inputs.items()})
    before = record.result(wanted)
    if before is not None:
        # Done by a worker that died before reporting it; or in an earlier run, whose warnings are not repeated.
        ours = record.result_of(request["session"]) is not None
        return before | ({"state": "done"} if ours else {"state": "kept", "warnings": []})
    began = time.perf_counter()
    device, threads = _seat.device(request, stop)
    warnings: list[str] = []
    loaded = False

    def report(event: str, **fields: Any) -> None:
        nonlocal loaded
        loaded = loaded or fields.get("phase") == "Loading the model"
        if event == "warning" and fields["message"] not in warnings:
            warnings.append(fields["message"])

    predictor = _predictor(request, item, _context(device, threads, report, stop))
    loading = time.perf_counter() - began
    inputs = predictor.read(item.inputs)
    started = time.perf_counter()
    prediction = predictor.predict(inputs, _context(device, threads, report, stop), tuple(item.outputs))
    result = {
        "seconds": round(time.perf_counter() - started, 3),
        "grid": _grid(item),
        "device": device,
        **what_computed(predictor),
        "worker": _worker_name(),
        "summary": prediction.summary(),
        "unit": prediction.unit,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "warnings": warnings,
        "words": prediction.in_words(),
    }
    del inputs
    with record.replaced(wanted, request["session"], result) as files:
        prediction.save(dict(zip(item.outputs, files, strict=True)))
    return result | {"state": "done", "loaded": loaded, "loading": loading}


def _predictor(request: dict[str, Any], item: ApplyItem, context: Context) -> Any:
    job = Job(request["task"], "apply", parameters=request["parameters"], model=request["model"], items=(item,))
    return _seat.models.load(job, context)[0]


def _context(device: str, threads: int, report: Any, stop: _Stop) -> Context:
    import torch

    torch.set_num_threads(max(1, threads))  # its settings are per thread
    return Context(torch.device(device), report=report, stop_requested=stop)


def _fingerprints(source: Source) -> Any:
    """An input's part of the address of a result: a hash of each of its files, or its value."""
    return source.value if source.kind in VALUES else [_fingerprint(str(file), source.kind) for file in source.files]


def _fingerprint(name: str, kind: str) -> str:
    file, _, series = name.partition(SEPARATOR)
    try:
        return fingerprint(Path(file)) + series
    except OSError as error:
        if kind == "image":
            read_image_info(name)  # raises a plain sentence about what is wrong
        raise UserError(f"{name} cannot be read ({error.strerror or error}): check the file.") from None


def _grid(item: ApplyItem) -> str:
    """The shape and voxel size of the first image: "512 x 512 x 80 voxels of 0.7 x 0.7 x 2.5 mm"; empty without one."""
    images = [source.files[0] for source in item.inputs.values() if source.kind == "image" and source.files]
    if not images:
        return ""
    info = read_image_info(images[0])
    sizes = " x ".join(f"{length:.4g}" for length in spacing_of(info.affine))
    return f"{' x '.join(map(str, info.shape))} voxels of {sizes} mm"


def _in_a_sentence(error: Exception) -> str:
    if is_out_of_memory(error) and not isinstance(error, JobError):
        return "There was not enough memory for this case: use fewer workers, or a computer with more memory."
    if isinstance(error, UserError):
        return str(error)
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    return f"It failed unexpectedly ({reason}): the log of the worker has the details."


def _worker_name() -> str:
    from distributed import get_worker

    with contextlib.suppress(ValueError):
        return str(get_worker().name)
    return ""


def _worker_threads() -> int:
    from distributed import get_worker

    return get_worker().state.nthreads


_seat = _Seat()
