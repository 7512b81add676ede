"""Segmentation with OpenVINO: the same structures as with torch, and the result says what has computed them."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from MedDeepLib.bundles.foreign.trust import content_hash
from MedDeepLib.bundles.layout import CONVERTED
from MedDeepLib.bundles.model import open_model
from MedDeepLib.core import Context
from MedDeepLib.data.sources.image import read_image
from MedDeepLib.data.sources.labels import read_segmentation
from MedDeepLib.evaluation.overlap import mean_dice
from MedDeepLib.inference.backends import openvino_runtime as runtime
from MedDeepLib.jobs import Job
from toy_cases import image_item, run_job

needs_openvino = pytest.mark.skipif(not runtime.installed_version(), reason="openvino is not installed")


def prepared(model, **options):
    said = []
    context = Context(torch.device("cpu"), report=lambda event, **fields: said.append((event, fields)))
    method = model.make_method()
    return method.predictor(model, context, method.ApplyParameters(**options)), context, said


@needs_openvino
def test_a_job_says_what_has_computed_and_the_next_one_converts_nothing(toy_run, toy_dataset, tmp_path, monkeypatch):
    model = tmp_path / "model"
    shutil.copytree(toy_run / "model", model, ignore=shutil.ignore_patterns(CONVERTED))
    before, found = content_hash(model), {}
    for backend in ("torch", "openvino", "auto"):
        item = image_item(tmp_path / f"{backend}.seg.nrrd", toy_dataset.parent / "image5.nii.gz")
        job = Job("segment", "apply", parameters={"backend": backend}, model=str(model), items=(item,), device="cpu")
        code, events = run_job(tmp_path / backend, job)
        assert code == 0 and not [event for event in events if "OpenVINO" in event.get("message", "")]
        result = json.loads((tmp_path / backend / "result.json").read_text())
        assert result["computed_with"].startswith("torch" if backend == "torch" else "OpenVINO")
        found[backend] = read_segmentation(tmp_path / f"{backend}.seg.nrrd")[0]
        if backend == "openvino":
            monkeypatch.setattr(runtime, "converted", None)
    assert list((model / CONVERTED).iterdir()) and content_hash(model) == before
    np.testing.assert_array_equal(found["openvino"], found["auto"])
    assert mean_dice(found["torch"], found["auto"], range(1, 3)) > 0.999


@needs_openvino
def test_another_backend_needs_no_other_weights(toy_run, toy_dataset):
    predictor, context, _ = prepared(open_model(toy_run, "segment"), backend="torch")
    image = read_image(toy_dataset.parent / "image5.nii.gz")
    by_torch = predictor.predict([image], context)
    options = type(predictor._options)
    other = predictor.with_options(options(backend="openvino"))
    by_openvino = other.predict([image], context)
    assert predictor.computed_with().startswith("torch") and other.computed_with().startswith("OpenVINO")
    assert other.with_options(options(backend="openvino", overlap=0.5))._backend is other._backend
    assert mean_dice(by_torch.labels, by_openvino.labels, range(1, 3)) > 0.999


def test_without_the_package_a_job_that_asks_for_it_is_done_by_torch(toy_run, toy_dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(runtime, "installed_version", lambda: "")
    item = image_item(tmp_path / "out.seg.nrrd", toy_dataset.parent / "image5.nii.gz")
    options = {"backend": "openvino"}
    job = Job("segment", "apply", parameters=options, model=str(toy_run), items=(item,), device="cpu")
    code, events = run_job(tmp_path / "job", job)
    (warning,) = [event["message"] for event in events if event["event"] == "warning"]
    assert code == 0 and "openvino is not installed" in warning
    assert json.loads((tmp_path / "job" / "result.json").read_text())["computed_with"].startswith("torch")
