"""What a worker does for each action: train, apply, evaluate. The same for every task."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from MedDeepLib.bundles.model import Model, patient_code, save_model
from MedDeepLib.data.dataset import Case, load_dataset
from MedDeepLib.data.images import check_writable, read_image
from MedDeepLib.devices import Device
from MedDeepLib.errors import EXIT_BAD_INPUT, Stopped, UserError
from MedDeepLib.evaluation.report import write_report
from MedDeepLib.jobs.device_queue import leased_device
from MedDeepLib.jobs.folder import JobFolder, write_json
from MedDeepLib.jobs.job import Job
from MedDeepLib.jobs.last_model import LastModel
from MedDeepLib.methods import Context, Method, Predictor, from_mapping, get, to_mapping
from MedDeepLib.training.accounting import Accounting

_NOTHING_LEARNED = 0.05

Load = Callable[[Job, Context], tuple[Predictor, Model]]


def perform(
    folder: JobFolder,
    report: Callable[..., None],
    stop_requested: Callable[[], bool],
    models: LastModel | None = None,
) -> dict[str, Any]:
    """Do the job in ``folder`` and return what goes into its result.

    ``models`` loads the model to apply or evaluate, unless it has kept it from the job before.

    Raises:
        UserError: the request or its data are at fault.
        JobError: something went wrong on the way.
        Stopped: the user asked to stop; what is worth keeping is on disk.
    """
    job = folder.job()
    with leased_device(job, folder, report, stop_requested) as (device, threads):
        context = _context(job, folder, device, threads, report, stop_requested)
        accounting = Accounting(context.device)
        load = (models or LastModel()).load
        work = {"train": _train, "apply": partial(_apply, load), "evaluate": partial(_evaluate, load)}[job.action]
        result = work(job, folder, context)
        usage = accounting.usage()
    report("memory", **{key: value for key, value in usage.items() if key.endswith("bytes")})
    return {"task": job.task, "action": job.action, **result, "usage": usage}


def _context(job: Job, folder: JobFolder, device: Device, threads: int, report, stop_requested) -> Context:
    import torch

    torch.set_num_threads(threads)
    return Context(torch.device(device.id), job.seed, folder.path, None, report, stop_requested)


def _train(job: Job, folder: JobFolder, context: Context) -> dict[str, Any]:
    from MedDeepLib.training.engine import train

    method_class = get(job.task, job.method)
    method = method_class(from_mapping(method_class.Parameters, job.parameters))
    context.report("phase", phase="Reading the dataset")
    context = replace(context, dataset=load_dataset(job.dataset))
    if not context.dataset.training:
        raise UserError(f"The dataset {job.dataset} has no training cases.")
    method = _configured(method, folder, context)
    identity = {"method": job.method, "parameters": to_mapping(method.parameters)}
    outcome = train(method.stages(context), context, identity)
    _warn_of_failure(outcome.figures, context)
    context.report("phase", phase="Saving the model")
    save_model(folder.model_folder, method, context, outcome)
    return {"model": folder.model_folder.name, "figures": outcome.figures}


def _warn_of_failure(figures: dict[str, dict[str, float]], context: Context) -> None:
    """Say when a network has learned next to nothing; it is saved all the same."""
    for stage, values in figures.items():
        for name, value in values.items():
            if name.startswith("validation") and value <= _NOTHING_LEARNED:
                context.report(
                    "warning",
                    message=f"The best {name} of '{stage}' is {value:.2f}: the network has learned next to nothing. "
                    "Train more steps, raise the learning rate, or check that labels and images belong together.",
                )


def _configured(method: Method, folder: JobFolder, context: Context) -> Method:
    """The method with every parameter decided; a resumed run keeps what was decided when it began."""
    requested = to_mapping(method.parameters)
    if folder.parameters_file.exists():
        content = json.loads(folder.parameters_file.read_text(encoding="utf-8"))
        if content["requested"] != requested:
            raise UserError(
                f"The settings in {folder.job_file} have changed since this training began: put them back, or train "
                "with the new ones in another folder."
            )
        return type(method)(from_mapping(method.Parameters, content["used"]))
    configured = method.configured(context)
    used = to_mapping(configured.parameters)
    chosen = [f"{name} {_in_words(value)}" for name, value in used.items() if value != requested[name]]
    if chosen:
        context.report("message", message=f"Chosen for these images and this device: {'; '.join(chosen)}.")
    write_json(folder.parameters_file, {"requested": requested, "used": used})
    return configured


def _in_words(value: Any) -> str:
    return " x ".join(f"{part:g}" for part in value) if isinstance(value, list) else str(value)


def _apply(load: Load, job: Job, folder: JobFolder, context: Context) -> dict[str, Any]:
    predictor, model = load(job, context)
    endings = model.make_method().output_endings
    for item in job.items:
        if not item.output.lower().endswith(endings):
            raise UserError(f"The output {item.output} must end in one of {', '.join(endings)}.")
        check_writable(Path(item.output))
    outputs, failures = [], []
    for number, item in enumerate(job.items, start=1):
        name = Path(item.images[0]).name
        try:
            outputs.append(_apply_one(item, number, len(job.items), predictor, context))
        except UserError as error:
            # One bad case must not cost the others; a single case is the job itself.
            if len(job.items) == 1:
                raise
            failures.append({"input": name, "message": str(error)})
            context.report("warning", message=f"{name} was left out: {error}")
    if failures and not outputs:
        raise UserError(f"None of the {len(job.items)} inputs could be used; the first: {failures[0]['message']}")
    return {"outputs": outputs, "failures": failures, "exit_code": EXIT_BAD_INPUT if failures else 0}


def _apply_one(item, number: int, count: int, predictor: Predictor, context: Context) -> dict[str, Any]:
    of_many = f" ({number} of {count})" if count > 1 else ""
    context.report("phase", phase=f"Reading {Path(item.images[0]).name}{of_many}")
    images = [read_image(path) for path in item.images]
    context.report("phase", phase=f"Applying the model{of_many}")
    started = time.perf_counter()
    prediction = predictor.predict(images, context)
    seconds = time.perf_counter() - started
    context.report("phase", phase=f"Writing {Path(item.output).name}{of_many}")
    prediction.write(Path(item.output))
    outcome = {"output": item.output, "seconds": seconds, "summary": prediction.summary()}
    context.report("result", **outcome)
    return outcome


def _evaluate(load: Load, job: Job, folder: JobFolder, context: Context) -> dict[str, Any]:
    dataset = load_dataset(job.dataset)
    cases = [case for case in dataset.test if case.label]
    if not cases:
        raise UserError(f'The dataset {job.dataset} has no test cases with labels: add a "test" list.')
    report_file = Path(job.report) if job.report else folder.path / "metrics.csv"
    check_writable(report_file)
    predictor, model = load(job, replace(context, dataset=dataset))
    _check_patients(model, cases)
    method = model.make_method()
    context = replace(context, dataset=dataset)
    rows: list[dict[str, Any]] = []
    for number, case in enumerate(cases, start=1):
        context.report("phase", phase=f"Evaluating {case.name} ({number} of {len(cases)})")
        prediction = predictor.predict([read_image(path) for path in case.images], context)
        identity = {"case": case.name, "patient": case.patient, "site": case.site}
        rows += [identity | row for row in method.score(prediction, case)]
        context.report("progress", step=number, total=len(cases), remaining=None)
        if context.stop_requested():
            raise Stopped
    summary = write_report(report_file, rows, context.seed)
    context.report("result", output=str(report_file), summary=summary)
    return {"report": str(report_file), "summary": summary}


def _check_patients(model: Model, cases: list[Case]) -> None:
    data = model.metadata["training_data"]
    known = set(data["patients"])
    both = sorted(case.patient for case in cases if patient_code(case.patient, data.get("salt", "")) in known)
    if both:
        raise UserError(
            f"The patient '{both[0]}' is in the test list and was trained on: take such patients out of the test "
            "list, or the figures would be too good."
        )
