"""Cross-validation: trains a network for every fold and evaluates it on the held-out cases, in one job.

Every fold is an ordinary run in its own folder. A fold that is done keeps its metrics there and is not computed
again, so that a resumed job continues with the next fold and ends with the same metrics.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from MedDeepLib.core import Context, registry
from MedDeepLib.data.dataset import Dataset
from MedDeepLib.data.splits import Fold, patient_folds, site_folds
from MedDeepLib.errors import Stopped, UserError
from MedDeepLib.evaluation.report import headline, overall, write_report
from MedDeepLib.jobs.folder import JobFolder, write_json
from MedDeepLib.jobs.job import BY_SITE, Job
from MedDeepLib.worker.dataset import read_dataset
from MedDeepLib.worker.evaluation import evaluation_of, score_cases, what_computed
from MedDeepLib.worker.last_model import LastModel, free_device_memory
from MedDeepLib.worker.training import train_model

_TRAINING_SHARE = 0.95  # share of a fold's time; evaluation is quick

Rows = list[dict[str, Any]]


def cross_validate(job: Job, folder: JobFolder, context: Context) -> dict[str, Any]:
    """Run all folds that are not done yet, and report on the held-out cases of all folds together.

    Raises UserError when the dataset cannot be split into folds, or has changed since the job began.
    """
    from MedDeepLib.training.checkpoint import remove_checkpoints

    dataset = read_dataset(job, context.report)
    targets = registry.task(job.task).targets
    by_site = job.folds == BY_SITE
    folds = site_folds(dataset, targets) if by_site else patient_folds(dataset, int(job.folds), job.seed, targets)
    _check_the_same(job, dataset, folds, folder)
    rows: Rows = []
    for number, fold in enumerate(folds, start=1):
        title = f"Fold {number} of {len(folds)}" + (f", {fold.name} held out" if by_site else "")
        report = _FoldReport(context.report, fold.name, title, number, len(folds))
        own = folder.fold(number)
        if not own.result_file.exists():
            _do_fold(job, own, replace(context, folder=own.path, dataset=fold.dataset, report=report))
        remove_checkpoints(own.path)
        rows += [{"fold": fold.name} | row for row in own.result()["rows"]]
    report_file = folder.path / "metrics.csv"
    context.report("phase", phase="Writing the report")
    evaluation = evaluation_of(job.task)
    tables = write_report(report_file, rows, job.seed, evaluation)
    context.report("result", output=str(report_file), summary=tables["summary"])
    words = headline(tables["summary"][-1], evaluation.metrics)
    return {"report": str(report_file), "headline": words, **tables}


def _do_fold(job: Job, folder: JobFolder, context: Context) -> None:
    """Train and evaluate one fold; its metrics are then in the fold's result."""
    if context.stop_requested():
        raise Stopped
    folder.path.mkdir(exist_ok=True)
    if not folder.model_folder.exists():  # appears only when complete
        train_model(job, folder, context)
    load, trained = LastModel().load, replace(job, model=str(folder.model_folder), parameters={})
    rows = score_cases(load, trained, context)
    evaluation = evaluation_of(job.task)
    context.report("message", message=f"{headline(overall(rows, job.seed, evaluation), evaluation.metrics)} held out.")
    computed = what_computed(load(trained, context)[0])
    folder.write_result({"model": folder.model_folder.name, "rows": rows, **computed})
    gc.collect()
    free_device_memory()


def _check_the_same(job: Job, dataset: Dataset, folds: list[Fold], folder: JobFolder) -> None:
    """Record or check the patients of every fold: a resumed job with other folds would test on training cases."""
    content = {
        "settings": {"method": job.method, "parameters": job.parameters, "folds": job.folds, "seed": job.seed},
        "dataset": {
            "channels": list(dataset.channels),
            "labels": {str(segment.value): segment.name for segment in dataset.segments},
            "folds": [
                {"name": fold.name, "cases": [{"case": c.name, "patient": c.patient} for c in fold.dataset.test]}
                for fold in folds
            ],
        },
    }
    if not folder.folds_file.exists():
        write_json(folder.folds_file, content)
        return
    begun = json.loads(folder.folds_file.read_text(encoding="utf-8"))
    for part, where in (("settings", folder.job_file), ("dataset", job.dataset)):
        if begun[part] != content[part]:
            raise UserError(
                f"The {part} of this cross-validation changed after it began ({where}): restore it, or "
                "start a new cross-validation in another folder."
            )


class _FoldReport:
    """Adds to every event the fold it comes from, and to progress events the progress of the whole job."""

    def __init__(self, report: Callable[..., None], name: str, title: str, number: int, count: int):
        self._report, self._name, self._title = report, name, title
        self._number, self._count = number, count
        self._share = 0.0
        self._seconds: float | None = None

    def __call__(self, event: str, **fields: Any) -> None:
        for key in ("phase", "message"):
            if key in fields:
                fields[key] = f"{self._title}: {fields[key]}"
        if event == "progress":
            fields |= self._progress(**fields)
        if "stage" in fields:
            fields["stage"] = f"{self._name}, {fields['stage']}"
        self._report(event, **fields)

    def _progress(self, step: int, total: int, remaining: float | None, stage: str = "") -> dict[str, Any]:
        """The fields added to progress events; the time left assumes that all folds take as long as this one."""
        if stage:  # the step count restarts with each stage, overall progress does not
            self._share = max(self._share, _TRAINING_SHARE * step / total)
        if stage and remaining is not None and step < total:
            self._seconds = remaining / (total - step) * total
        if self._seconds is not None:
            remaining = round((remaining or 0.0) + (self._count - self._number) * self._seconds, 1)
        overall = (self._number - 1 + self._share) / self._count
        return {"remaining": remaining, "fold": self._number, "folds": self._count, "overall": round(overall, 4)}
