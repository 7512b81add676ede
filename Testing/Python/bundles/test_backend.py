"""Bundles from elsewhere with OpenVINO: the same structures, and their folders stay as they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from MedDeepLib.bundles.model import open_model
from MedDeepLib.core import Context
from MedDeepLib.data.sources.image import read_image
from MedDeepLib.inference.backends import openvino_runtime as runtime
from zoo_bundles import write_cases


@pytest.mark.skipif(not runtime.installed_version(), reason="openvino is not installed")
def test_the_same_structures_and_no_new_files(spleen_bundle, tmp_path, monkeypatch):
    monkeypatch.setenv("MEDDEEP_STATE", str(tmp_path / "state"))
    data, found = write_cases(tmp_path / "data"), {}
    files = sorted(path.relative_to(spleen_bundle) for path in spleen_bundle.rglob("*"))
    image = read_image(next(data.glob("*_0.nii.gz")))
    for backend in ("torch", "openvino"):
        said = []
        context = Context(torch.device("cpu"), report=lambda event, said=said, **fields: said.append(event))
        model = open_model(spleen_bundle, "segment")
        method = model.make_method()
        predictor = method.predictor(model, context, method.ApplyParameters(backend=backend))
        found[backend] = predictor.predict([image], context).labels
        assert predictor.computed_with().startswith("torch" if backend == "torch" else "OpenVINO")
        assert "warning" not in said
    assert found["torch"].any() and np.mean(found["torch"] == found["openvino"]) > 0.999
    assert sorted(path.relative_to(spleen_bundle) for path in spleen_bundle.rglob("*")) == files
    assert list((tmp_path / "state" / "openvino").iterdir())
