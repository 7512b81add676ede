"""Trains one method in one folder, as a job or for one fold of a cross-validation."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from MedDeepLib.bundles.saving import save_model
from MedDeepLib.core import Context, Method, from_mapping, get, to_mapping
from MedDeepLib.errors import UserError
from MedDeepLib.jobs.folder import JobFolder, write_json
from MedDeepLib.jobs.job import Job
from MedDeepLib.jobs.manifest import begin_manifest

if TYPE_CHECKING:
    from MedDeepLib.training.engine import Trained


def train_model(job: Job, folder: JobFolder, context: Context) -> dict[str, Any]:
    """Train the job's method on ``context.dataset`` and save the model in ``folder``; returns each stage's metrics.

    Resumes from the checkpoint in ``context.folder``, which is that of ``folder``, if there is one.
    """
    from MedDeepLib.training import ranks
    from MedDeepLib.training.engine import train

    # Of several processes, the leader plans and writes; the others receive the parameters.
    method = _for_all(job, lambda: configured_method(job, folder, context))
    identity = {"method": job.method, "parameters": to_mapping(method.parameters)}
    manifest = begin_manifest(job, folder, method, context) if ranks.leads() else None
    prepared = method.prepare(context)
    stages: Any = method.stages(prepared, context)  # train() refuses anything that is not a stage
    trained = train(stages, context, identity)
    if manifest is None:
        return trained.metrics
    _warn_of_failure(trained, context)
    manifest.complete(trained.weights())
    context.report("phase", phase="Saving the model")
    save_model(folder.model_folder, method, prepared, context, trained)
    return trained.metrics


def _for_all(job: Job, configure: Callable[[], Method]) -> Method:
    from MedDeepLib.training import ranks

    if ranks.count() == 1:
        return configure()
    parameters = ranks.from_leader(lambda: to_mapping(configure().parameters))
    method = get(job.task, job.method)
    return method(from_mapping(method.Parameters, parameters))


def _warn_of_failure(trained: Trained, context: Context) -> None:
    """Warn when a network has learned next to nothing; it is saved nonetheless."""
    for stage, metric in trained.key_metrics.items():
        if metric.learned_nothing:
            context.report(
                "warning",
                message=f"The best {metric.name} of '{stage}' is {metric.value:.2f}: the network has learned next to "
                "nothing. Train more steps, raise the learning rate, or check that inputs and targets belong together.",
            )


def configured_method(job: Job, folder: JobFolder, context: Context) -> Method:
    """The job's method with every parameter decided for ``context``; the decisions and their reasons are reported.

    A resumed run keeps the decisions it started with.
    """
    method_class = get(job.task, job.method)
    method = method_class(from_mapping(method_class.Parameters, job.parameters))
    method.check(context.dataset)
    requested = to_mapping(method.parameters)
    if folder.parameters_file.exists():
        content = json.loads(folder.parameters_file.read_text(encoding="utf-8"))
        if content["requested"] != requested:
            raise UserError(
                f"The settings in {folder.job_file} have changed since this training began: restore them, or train "
                "with the new ones in another folder."
            )
        return type(method)(from_mapping(method.Parameters, content["used"]))
    configured = method.configured(context)
    used, explanation = to_mapping(configured.parameters), configured.explanation
    chosen = [f"{name} {_in_words(value)}" for name, value in used.items() if value != requested[name]]
    if explanation.text:
        context.report("message", message=explanation.text)
    elif chosen:
        context.report("message", message=f"Chosen for these images and this device: {'; '.join(chosen)}.")
    for warning in explanation.warnings:
        context.report("warning", message=warning)
    write_json(folder.parameters_file, {"requested": requested, "used": used, "found": explanation.facts})
    return configured


def _in_words(value: Any) -> str:
    return " x ".join(f"{part:g}" for part in value) if isinstance(value, list) else str(value)
