"""Evaluates a model on the test cases, as a job or for one fold of a cross-validation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from MedDeepLib.bundles.model import Model
from MedDeepLib.bundles.saving import patient_code
from MedDeepLib.core import Context, Predictor, registry
from MedDeepLib.core.task import Evaluation
from MedDeepLib.data.slots import Case
from MedDeepLib.errors import Stopped, UserError
from MedDeepLib.evaluation.overlap import cases_without_structures
from MedDeepLib.jobs.job import Job
from MedDeepLib.worker.last_model import Load


def evaluation_of(task: str) -> Evaluation:
    """The evaluation of a task's models. Raises UserError when the task has none."""
    evaluation = registry.task(task).evaluation
    if evaluation is None:
        raise UserError(f"Models for the task '{task}' cannot be evaluated: apply them instead.")
    return evaluation


def score_cases(load: Load, job: Job, context: Context) -> list[dict[str, Any]]:
    """A row of metrics for every usable test case of ``context.dataset`` and every structure.

    Raises:
        UserError: the model was trained on one of the patients, or a case does not fit it.
        Stopped: the user asked to stop.
    """
    with context.phases("load"):
        predictor, model = load(job, context)
    evaluation = evaluation_of(job.task)
    cases = evaluation.cases(context.dataset)
    if model.trained:
        _check_patients(model, cases)
    rows: list[dict[str, Any]] = []
    for number, case in enumerate(cases, start=1):
        context.report("phase", phase=f"Evaluating {case.name} ({number} of {len(cases)})")
        with context.phases("read"):
            inputs = predictor.read(case.inputs)
        with context.phases("other"):
            prediction = predictor.predict(inputs, context)
        identity = {"case": case.name, "patient": case.patient, "site": case.site}
        with context.phases("metrics"):
            rows += [identity | row for row in evaluation.rows(prediction, case, context.dataset)]
        context.report("progress", step=number, total=len(cases), remaining=None)
        if context.stop_requested():
            raise Stopped
    healthy = cases_without_structures(rows)
    if healthy:
        have = "has" if len(healthy) == 1 else "have"
        context.report(
            "message",
            message=f"{len(healthy)} of {len(cases)} cases {have} no structure at all: Dice is 0 where one was found "
            "there, and undefined where none was.",
        )
    if rows and not any(row.get(name) is not None for row in rows for name in evaluation.metrics):
        count = "is one test case" if len(cases) == 1 else f"are {len(cases)} test cases"
        context.report(
            "warning",
            message=f"There {count}, too few for metrics that say something of the model: the report has the answers "
            "alone.",
        )
    return rows


def what_computed(predictor: Predictor) -> dict[str, str]:
    """What has computed the networks, as an entry of a job's result; none where the predictor does not say."""
    words = predictor.computed_with()
    return {"computed_with": words} if words else {}


def _check_patients(model: Model, cases: Sequence[Case]) -> None:
    data = model.metadata["training_data"]
    known = set(data["patients"])
    patients = {patient for case in cases for patient in case.patients}
    both = sorted(patient for patient in patients if patient_code(patient, data.get("salt", "")) in known)
    if both:
        raise UserError(
            f"The patient '{both[0]}' is in the test list and was trained on: take such patients out of the test "
            "list, or the metrics would be too optimistic."
        )
