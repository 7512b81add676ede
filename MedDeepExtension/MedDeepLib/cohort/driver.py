"""Distributes the cases of a cohort to dask workers, a few at a time, and records their results.

A worker reports a case only when its results are on disk. So the driver may be stopped, or die, at any time: restarted,
it finds the finished cases and continues. It never holds more than a few cases and a line for each of the others.
"""

from __future__ import annotations

import contextlib
import queue
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from MedDeepLib.bundles.foreign.trust import content_hash
from MedDeepLib.bundles.model import Model, open_model
from MedDeepLib.cohort.case_list import CohortCase, read_cases
from MedDeepLib.cohort.cluster import Crew, cluster
from MedDeepLib.cohort.program import program_hash
from MedDeepLib.cohort.record import LOCK_FILE, OWN_FOLDER, STOP_FILE, Record
from MedDeepLib.cohort.table import SUMMARY, Table, in_words
from MedDeepLib.cohort.work import do_case
from MedDeepLib.core import from_mapping, registry, settings_that_matter, to_mapping
from MedDeepLib.core.endings import endings
from MedDeepLib.devices.locks import try_lock
from MedDeepLib.errors import EXIT_BAD_INPUT, Stopped, UserError
from MedDeepLib.jobs.folder import JobFolder
from MedDeepLib.jobs.items import to_json
from MedDeepLib.jobs.job import Job

_POLL_SECONDS = 0.1
_IN_HAND = 2  # cases for each worker: the current one and the next, so that it never waits
_MOST_ATTEMPTS = 2  # attempts beside other cases, then as many alone
_ANSWER_SECONDS = 10
_MOST_FAILURES_TOLD = 20
_OLD_PART_SECONDS = 3600.0


def apply_to_cohort(
    job: Job, folder: JobFolder, report: Callable[..., None], stop_requested: Callable[[], bool]
) -> dict[str, Any]:
    """Compute all cases that are not done yet, and write the summary.

    Raises:
        UserError: there is no case, the results cannot be written, or no worker can take cases.
        JobError: the connection to the scheduler was lost.
        Stopped: the user asked to stop.
    """
    model = open_model(job.model, job.task)
    output = Path(job.output)
    task = registry.task(job.task)
    usual = {slot: endings(model.method_class(), slot.name)[0] for slot in task.outputs}
    inputs = model.inputs if task.any_form else task.applied
    cases = read_cases(job.inputs, inputs, model.channels, output, usual)
    with _own_folder(output) as own:
        table = Table(output / SUMMARY, cases)
        waiting = [case for case in cases if not case.problem]
        for case in cases:
            if case.problem:
                report("warning", message=f"{case.name} was skipped: {case.problem}")
        deal = None
        try:
            if waiting:
                report("phase", phase="Checking the model")
                request = _request(job, model)
                question = (job.task, str(model.folder) if model.trained else "", str(output))
                expected = request["recipe"]["program"]
                with cluster(job, folder, question, expected, len(waiting), report, stop_requested) as crew:
                    deal = _Deal(crew, request, waiting, table, report)
                    report("phase", phase=f"Applying the model to {len(waiting)} cases")
                    deal.run(stop_requested, own / STOP_FILE)
        finally:
            table.write()
            report("message", message=f"{in_words(table.counts())} {table.path} has a line for each.")
    report("result", output=str(table.path), summary={})
    failures = table.failures(_MOST_FAILURES_TOLD)
    return {
        "report": str(table.path),
        "counts": table.counts(),
        "failures": failures,
        "loads": deal.loads if deal else 0,
        "exit_code": EXIT_BAD_INPUT if failures else 0,
    }


def _request(job: Job, model: Model) -> dict[str, Any]:
    """The part of the request that all cases share. Raises UserError when the settings do not fit the model."""
    settings = from_mapping(model.make_method().ApplyParameters, job.parameters)
    recipe = {
        "task": job.task,
        "model": content_hash(model.folder) if model.trained else model.reference,
        "program": program_hash(job.task),
        "settings": settings_that_matter(settings),
    }
    return {
        "task": job.task,
        "model": model.reference,
        "parameters": to_mapping(settings),
        "recipe": recipe,
        "title": job.title,
        "session": uuid.uuid4().hex,
    }


@contextlib.contextmanager
def _own_folder(output: Path) -> Iterator[Path]:
    """The folder for the records, locked inside the block. Raises UserError when it cannot be locked or written."""
    own = output / OWN_FOLDER
    try:
        own.mkdir(parents=True, exist_ok=True)
        (own / STOP_FILE).unlink(missing_ok=True)
        _clear(own / "parts")
    except OSError as error:
        raise UserError(
            f"The output folder {output} cannot be written ({error.strerror or error}): free space, check permissions "
            "or choose another folder."
        ) from error
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError, NotImplementedError):  # some network drives do not support locks
            lock = try_lock(own / LOCK_FILE)
            if lock is None:
                raise UserError(f"Another cohort is being computed into {output}: wait, or name another output folder.")
            held.callback(lock.release)
        yield own


def _clear(parts: Path) -> None:
    """Remove leftovers of killed workers; another worker may still be writing."""
    for part in parts.glob("*"):
        with contextlib.suppress(OSError):
            if time.time() - part.stat().st_mtime > _OLD_PART_SECONDS:
                part.unlink()


@dataclass
class _Attempt:
    case: CohortCase
    workers: frozenset[str]
    number: int
    alone: bool


class _Deal:
    """Cases on their way to the workers and back.

    Attributes:
        loads: how often workers have loaded the model.
    """

    def __init__(self, crew: Crew, request: dict[str, Any], cases: list[CohortCase], table: Table, report: Callable):
        self.loads = 0
        self._crew, self._request, self._table, self._report = crew, request, table, report
        self._request |= {"device": crew.device, "threads": crew.threads}
        self._waiting = deque((case, 1) for case in cases)
        self._suspects: deque[tuple[CohortCase, int]] = deque()
        self._in_hand: dict[Any, _Attempt] = {}
        self._back: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._total, self._finished, self._computed = len(cases), 0, 0
        self._busy_seconds = 0.0

    def run(self, stop_requested: Callable[[], bool], stop_file: Path) -> None:
        """Run until all cases are back. Raises the errors of :func:`apply_to_cohort`."""
        try:
            while self._waiting or self._in_hand or self._suspects:
                if stop_requested():
                    raise Stopped
                self._crew.look()
                self._take_from_the_lost()
                self._deal_out()
                self._take_back()
        except BaseException:
            # Workers on other computers cannot be ended from here: they check for this file.
            with contextlib.suppress(OSError):
                stop_file.touch()
            if self._crew.client.status == "running":
                self._crew.client.cancel(list(self._in_hand), force=True)
            raise

    def _deal_out(self) -> None:
        workers = frozenset(self._crew.ready)
        while self._waiting and len(self._in_hand) < _IN_HAND * len(workers):
            case, number = self._waiting.popleft()
            self._submit(_Attempt(case, workers, number, alone=False))
        if self._suspects and not self._waiting and not self._in_hand and workers:
            case, number = self._suspects.popleft()
            self._submit(_Attempt(case, workers, number, alone=True))

    def _submit(self, attempt: _Attempt) -> None:
        case = attempt.case
        request = self._request | {"item": to_json(case.item)}
        future = self._crew.client.submit(
            do_case, request, workers=list(attempt.workers), pure=False, key=f"{case.name}-{time.monotonic_ns()}"
        )
        self._in_hand[future] = attempt
        future.add_done_callback(self._back.put)

    def _take_from_the_lost(self) -> None:
        """Reassign cases whose workers have all left."""
        ready = self._crew.ready.keys()
        for future, attempt in list(self._in_hand.items()):
            if not (attempt.workers & ready):
                del self._in_hand[future]
                future.cancel(force=True)
                self._again(attempt)

    def _again(self, attempt: _Attempt) -> None:
        """Retry a case whose worker died. Another case may have been the cause, so the last attempts run alone."""
        if attempt.number < _MOST_ATTEMPTS:
            (self._suspects if attempt.alone else self._waiting).appendleft((attempt.case, attempt.number + 1))
        elif not attempt.alone:
            self._suspects.append((attempt.case, 1))
        else:
            self._failed(
                attempt.case,
                "The worker died each time it computed this case, even alone: most likely there is not enough memory; "
                "use a computer with more of it, or a coarser image.",
            )

    def _take_back(self) -> None:
        with contextlib.suppress(queue.Empty):
            future = self._back.get(timeout=_POLL_SECONDS)
            while True:
                self._take(future)
                future = self._back.get_nowait()

    def _take(self, future: Any) -> None:
        attempt = self._in_hand.pop(future, None)
        if attempt is None:
            return  # it was taken from a worker that was lost
        if future.status == "error":
            self._broke(attempt, future.exception(timeout=_ANSWER_SECONDS))
        elif future.status == "finished":
            try:
                outcome = future.result(timeout=_ANSWER_SECONDS)
            except Exception:  # its worker died with the answer, but the results are on disk
                future.cancel(force=True)
                outcome = Record(*attempt.case.item.files_written).result_of(self._request["session"])
                if outcome is None:
                    self._again(attempt)
                    return
                outcome |= {"state": "done", "busy_seconds": outcome["seconds"]}
            self._came_back(attempt, outcome)
        else:
            self._again(attempt)
        future.release()

    def _came_back(self, attempt: _Attempt, outcome: dict[str, Any]) -> None:
        if outcome["state"] == "stopped":
            self._again(attempt)
            return
        if outcome["state"] == "failed":
            self._failed(attempt.case, outcome["reason"], outcome["busy_seconds"])
            return
        self._table.set(attempt.case, outcome)
        self.loads += bool(outcome.get("loaded"))
        if outcome["state"] == "done":
            self._report("result", output=attempt.case.output, summary=outcome["summary"])
            for warning in outcome["warnings"]:
                self._report("warning", message=f"{attempt.case.name}: {warning}")
            self._report(
                "metrics", stage="cohort", step=self._finished + 1, values={"seconds per case": outcome["seconds"]}
            )
            self._computed += 1
            self._busy_seconds += outcome["busy_seconds"]
        self._count()

    def _broke(self, attempt: _Attempt, error: BaseException) -> None:
        from distributed.scheduler import KilledWorker

        if isinstance(error, KilledWorker):
            self._again(attempt)
            return
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        self._failed(attempt.case, f"It could not be sent to a worker ({reason[:300]}).")

    def _failed(self, case: CohortCase, reason: str, busy_seconds: float = 0.0) -> None:
        self._table.set(case, {"state": "failed", "reason": reason})
        self._report("warning", message=f"{case.name} failed: {reason}")
        self._busy_seconds += busy_seconds
        self._computed += busy_seconds > 0
        self._count()

    def _count(self) -> None:
        self._finished += 1
        remaining = None
        if self._computed:
            left = self._total - self._finished
            remaining = round(left * self._busy_seconds / self._computed / max(1, len(self._crew.ready)), 1)
        self._report("progress", step=self._finished, total=self._total, remaining=remaining)
