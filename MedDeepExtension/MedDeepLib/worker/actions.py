"""Runs the actions of a worker: train, plan, apply, cohort, evaluate, crossvalidate; the same for every task."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from MedDeepLib.core import ApplyItem, Context, Predictor
from MedDeepLib.core.endings import endings
from MedDeepLib.data.sources.image import check_writable
from MedDeepLib.errors import EXIT_BAD_INPUT, UserError
from MedDeepLib.evaluation.report import headline, write_report
from MedDeepLib.jobs.folder import JobFolder
from MedDeepLib.jobs.job import Job
from MedDeepLib.tracking.tracking import Tracking
from MedDeepLib.training.accounting import Accounting
from MedDeepLib.worker.cross_validation import cross_validate
from MedDeepLib.worker.dataset import read_dataset
from MedDeepLib.worker.device_queue import leased_devices
from MedDeepLib.worker.evaluation import evaluation_of, score_cases, what_computed
from MedDeepLib.worker.last_model import LastModel, Load
from MedDeepLib.worker.planning import make_plan
from MedDeepLib.worker.profiling import profiled
from MedDeepLib.worker.repeatable import repeatable_operations
from MedDeepLib.worker.together import train_together
from MedDeepLib.worker.training import train_model


def perform(
    folder: JobFolder,
    report: Callable[..., None],
    stop_requested: Callable[[], bool],
    models: LastModel | None = None,
    more_actions: Mapping[str, Callable[..., dict[str, Any]]] = MappingProxyType({}),
) -> dict[str, Any]:
    """Run the job in ``folder`` and return its result.

    Args:
        models: loads the model to apply or evaluate, unless it is still loaded from the previous job.
        more_actions: actions of packages above this one, by name; they lease devices themselves.

    Raises:
        UserError: the request or its data are at fault.
        JobError: the job failed while it ran.
        Stopped: the user asked to stop; whatever can be resumed is on disk.
    """
    job = folder.job()
    if job.action == "plan":
        return {"task": job.task, "action": job.action, **make_plan(job, folder, report, stop_requested)}
    if job.action in more_actions:
        action = more_actions[job.action]
        with Tracking(job, folder, report) as tracking:
            return {"task": job.task, "action": job.action, **action(job, folder, tracking, stop_requested)}
    leased = leased_devices(job, folder, report, stop_requested)
    with leased as (devices, threads), repeatable_operations(job.deterministic, report):
        if len(devices) > 1:
            return train_together(folder, [device.id for device in devices], threads, stop_requested)
        with Tracking(job, folder, report) as tracking:
            context = _context(job, folder, devices[0].id, threads, tracking, stop_requested)
            accounting = Accounting(context.device)
            applies = job.action in ("apply", "evaluate")
            if applies:
                context.phases.add("start", max(0.0, time.time() - folder.job_file.stat().st_mtime))
            load = (models or LastModel()).load
            work = {
                "train": _train,
                "apply": partial(_apply, load),
                "evaluate": partial(_evaluate, load),
                "crossvalidate": cross_validate,
            }
            with profiled(job.profile, applies, folder, context) as context:
                result = work[job.action](job, folder, context)
            usage = accounting.usage()
            if phases := context.phases.seconds():
                usage["phases"] = phases
            tracking.finish(result)
    report("memory", **{key: value for key, value in usage.items() if key.endswith("bytes")})
    return {"task": job.task, "action": job.action, **result, "usage": usage}


def train_here(
    folder: JobFolder, device: str, threads: int, report: Callable[..., None], stop_requested: Callable[[], bool]
) -> dict[str, Any]:
    """Train in this process, on devices leased before, alone or as one of several processes; returns the result."""
    from MedDeepLib.training import ranks

    job = folder.job()
    with repeatable_operations(job.deterministic, report), Tracking(job, folder, report, ranks.leads()) as tracking:
        context = _context(job, folder, device, threads, tracking, stop_requested)
        accounting = Accounting(context.device)
        result = _train(job, folder, context)
        tracking.finish(result)
        return {"task": job.task, "action": job.action, **result, "usage": accounting.usage()}


def _context(job: Job, folder: JobFolder, device: str, threads: int, report, stop_requested) -> Context:
    import torch

    torch.set_num_threads(threads)
    return Context(torch.device(device), job.seed, folder.path, report=report, stop_requested=stop_requested)


def _train(job: Job, folder: JobFolder, context: Context) -> dict[str, Any]:
    context = replace(context, dataset=read_dataset(job, context.report))
    if not context.dataset.training:
        raise UserError(f"The dataset {job.dataset} has no training cases.")
    metrics = train_model(job, folder, context)
    return {"model": folder.model_folder.name, "figures": metrics}


def _apply(load: Load, job: Job, folder: JobFolder, context: Context) -> dict[str, Any]:
    with context.phases("load"):
        predictor, model = load(job, context)
    method = model.method_class()
    for item in job.items:
        for name, file in item.outputs.items():
            allowed = endings(method, name)
            if not file.lower().endswith(allowed):
                raise UserError(f"The output {file} must end in one of {', '.join(allowed)}.")
            check_writable(Path(file))
    outputs, failures = [], []
    for number, item in enumerate(job.items, start=1):
        try:
            outputs.append(_apply_one(item, number, len(job.items), predictor, context))
        except UserError as error:
            # One bad case must not stop the others; with a single case, its failure is the job's.
            if len(job.items) == 1:
                raise
            failures.append({"input": item.name, "message": str(error)})
            context.report("warning", message=f"{item.name} was skipped: {error}")
    if failures and not outputs:
        raise UserError(f"None of the {len(job.items)} inputs could be used; the first: {failures[0]['message']}")
    code = EXIT_BAD_INPUT if failures else 0
    return {"outputs": outputs, "failures": failures, **what_computed(predictor), "exit_code": code}


def _apply_one(item: ApplyItem, number: int, count: int, predictor: Predictor, context: Context) -> dict[str, Any]:
    of_many = f" ({number} of {count})" if count > 1 else ""
    context.report("phase", phase=f"Reading {item.name}{of_many}")
    with context.phases("read"):
        inputs = predictor.read(item.inputs)
    context.report("phase", phase=f"Applying the model{of_many}")
    started = time.perf_counter()
    with context.phases("other"):
        prediction = predictor.predict(inputs, context, tuple(item.outputs))
    seconds = time.perf_counter() - started
    context.report("phase", phase=f"Writing {Path(item.output).name}{of_many}")
    with context.phases("write"):
        files = prediction.save(item.paths)
        outcome = {"output": item.output, "seconds": seconds, "summary": prediction.summary()}
    words = prediction.in_words()
    if words:
        outcome["words"] = words
    if len(files) > 1:
        outcome["files"] = [str(file) for file in files]
    context.report("result", **outcome)
    return outcome


def _evaluate(load: Load, job: Job, folder: JobFolder, context: Context) -> dict[str, Any]:
    context = replace(context, dataset=read_dataset(job, context.report))
    report_file = Path(job.report) if job.report else folder.path / "metrics.csv"
    evaluation = evaluation_of(job.task)
    if not evaluation.cases(context.dataset):
        raise UserError(f'The dataset {job.dataset} has no test {evaluation.judged}: add a "test" list.')
    check_writable(report_file)
    rows = score_cases(load, job, context)
    tables = write_report(report_file, rows, context.seed, evaluation)
    context.report("result", output=str(report_file), summary=tables["summary"])
    words = headline(tables["summary"][-1], evaluation.metrics)
    return {"report": str(report_file), "headline": words, **tables, **what_computed(load(job, context)[0])}
