"""--profile: a trace of the first seconds of work in the job folder, and the time of each phase in the result."""

from __future__ import annotations

import gzip
import json

import pytest
from MedDeepLib.jobs import Job
from MedDeepLib.worker import profiling
from toy_cases import TRAINING, image_item, run_job


def trace_in(folder) -> set[str]:
    """The names of the operations in a trace."""
    with gzip.open(folder / "trace.json.gz") as file:
        return {event.get("name", "") for event in json.load(file)["traceEvents"]}


def test_of_an_application(toy_run, toy_dataset, tmp_path):
    item = image_item(tmp_path / "out.seg.nrrd", toy_dataset.parent / "image5.nii.gz")
    parameters = {"backend": "torch"}
    job = Job("segment", "apply", "", parameters, model=str(toy_run), items=(item,), device="cpu", profile=True)
    code, events = run_job(tmp_path / "job", job)
    assert code == 0 and any("trace.json.gz" in event.get("message", "") for event in events)
    assert any("conv" in name for name in trace_in(tmp_path / "job"))
    phases = json.loads((tmp_path / "job" / "result.json").read_text())["usage"]["phases"]
    assert {"start", "load", "read", "prepare", "network", "post-process", "write"} <= set(phases)
    assert all(seconds >= 0 for seconds in phases.values())


@pytest.mark.parametrize("seconds", [0.0, 1000.0])
def test_of_a_training_it_changes_no_weights(seconds, toy_dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(profiling, "SECONDS", seconds)
    weights = []
    for profile in (False, True):
        folder = tmp_path / str(profile)
        parameters = TRAINING | {"steps": 4, "validate_every": 4}
        job = Job("segment", "train", "unet", parameters, str(toy_dataset), device="cpu", profile=profile)
        code, _ = run_job(folder, job)
        assert code == 0 and (folder / "trace.json.gz").exists() == profile
        weights.append(json.loads((folder / "manifest.json").read_text())["weights"])
    assert weights[0] == weights[1]
