"""The dataset of a job, read according to the slots of its task."""

from __future__ import annotations

from collections.abc import Callable

from MedDeepLib.core.registry import task
from MedDeepLib.data.dataset import Dataset, load_dataset
from MedDeepLib.jobs.job import Job


def read_dataset(job: Job, report: Callable[..., None]) -> Dataset:
    """Read the dataset of a job, and report what was ignored. Raises UserError as ``load_dataset`` does."""
    report("phase", phase="Reading the dataset")
    dataset = load_dataset(job.dataset, task(job.task))
    for note in dataset.notes:
        report("warning", message=note)
    return dataset
