"""Plans a training: decides the parameters without training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from MedDeepLib.core import Context, to_mapping
from MedDeepLib.devices import torch_device
from MedDeepLib.devices.threads import available_cores, share
from MedDeepLib.errors import Stopped, UserError
from MedDeepLib.jobs.folder import JobFolder
from MedDeepLib.jobs.job import Job
from MedDeepLib.worker.dataset import read_dataset
from MedDeepLib.worker.training import configured_method


def make_plan(
    job: Job, folder: JobFolder, report: Callable[..., None], stop_requested: Callable[[], bool]
) -> dict[str, Any]:
    """The result: the parameters that would be used, and the plan in words.

    Does not wait for a busy device: a plan should be available at once.
    """
    import torch

    device, sentence = torch_device(job.device)
    report("message", message=sentence)
    torch.set_num_threads(job.threads or share(available_cores(), ()))
    dataset = read_dataset(job, report)
    if not dataset.training:
        raise UserError(f"The dataset {job.dataset} has no training cases.")
    context = Context(device, job.seed, folder.path, dataset, report, stop_requested)
    method = configured_method(job, folder, context)
    if stop_requested():
        raise Stopped
    report("phase", phase="Measuring")
    duration = method.trial(context)
    if duration:
        report("message", message=duration)
    said = [method.explanation.text, *method.explanation.warnings, duration]
    return {"parameters": to_mapping(method.parameters), "plan": "\n".join(filter(None, said))}
