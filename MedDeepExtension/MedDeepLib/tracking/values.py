"""A job's row in a table of runs: its parameters and its final metrics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from MedDeepLib.evaluation.report import metrics_of
from MedDeepLib.jobs.folder import JobFolder, read_json
from MedDeepLib.jobs.job import Job


def metrics_in(result: dict[str, Any]) -> dict[str, float]:
    """The final metrics in a job's result by name: "unet/validation Dice" of a training, "liver/dice" of a report."""
    metrics = {
        f"{stage}/{name}": value
        for stage, values in result.get("figures", {}).items()
        for name, value in values.items()
    }
    for line in result.get("summary", []):
        metrics |= {f"{next(iter(line.values()))}/{name}": line[name] for name in metrics_of(line)}
    return {name: float(value) for name, value in metrics.items() if isinstance(value, int | float)}


def parameters_of(job: Job, folder: JobFolder) -> dict[str, Any]:
    """A job's settings in a table of runs, including those derived from the data once they are decided."""
    parameters = read_json(folder.parameters_file).get("used") or job.parameters
    general = {
        "task": job.task,
        "action": job.action,
        "method": job.method or Path(job.model).name,
        "dataset": Path(job.dataset).name,
        "seed": job.seed,
    }
    device = read_json(folder.resources_file).get("device", job.device)
    return {
        **general,
        "device": device,
        **{name: json.dumps(value) if isinstance(value, list) else value for name, value in parameters.items()},
    }
