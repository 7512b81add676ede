"""Our models under MONAI's own command line, in a process without Slicer: exactly the panel's voxels."""

from __future__ import annotations

import json
import shutil

import nibabel
import numpy as np
import pytest
import torch
import toy_cases
from MedDeepLib.bundles.layout import INFERENCE, METADATA, WEIGHTS
from MedDeepLib.bundles.model import open_model
from MedDeepLib.bundles.transfer import export_bundle
from MedDeepLib.core import Context
from MedDeepLib.data.sources.image import read_image, write_image
from monai.bundle import ConfigParser, ConfigWorkflow
from zoo_bundles import oblique_affine, run_monai

AFFINES = {
    "straight": toy_cases.toy_affine(),
    "oblique": oblique_affine((2.0, 2.0, 2.5)),
    "lefthanded": oblique_affine((2.2, 1.9, 2.5), left_handed=True),
}


@pytest.fixture
def cases(tmp_path):
    for number, (name, affine) in enumerate(AFFINES.items()):
        write_image(tmp_path / "data" / f"{name}.nii.gz", toy_cases.toy_image(20 + number)[0], affine)
    return tmp_path / "data"


def test_monais_command_line_gives_the_panels_voxels(toy_run, cases, tmp_path):
    folder = export_bundle(toy_run, tmp_path / "exported")
    run_monai(folder, "--dataset_dir", str(cases), "--output_dir", str(tmp_path / "out"))
    model = open_model(toy_run, "segment")
    method = model.make_method()
    context = Context(torch.device("cpu"))
    predictor = method.predictor(model, context, method.ApplyParameters())
    for name in AFFINES:
        expected = predictor.predict([read_image(cases / f"{name}.nii.gz")], context).labels
        written = nibabel.load(tmp_path / "out" / f"{name}_seg.nii.gz")
        assert np.array_equal(np.asarray(written.dataobj), expected), name
        assert np.allclose(written.affine, nibabel.load(cases / f"{name}.nii.gz").affine, atol=1e-4)
        assert {1, 2} <= set(np.unique(expected)), "there is something to compare"


def test_older_weights_are_loaded_as_well(toy_run, cases, tmp_path):
    """Weights stored under the names of their networks: MONAI's loader is told which to load."""
    old = shutil.copytree(toy_run / "model", tmp_path / "old")
    torch.save({"network": torch.load(old / WEIGHTS, weights_only=True)}, old / WEIGHTS)
    config = ConfigParser.load_config_file(str(old / INFERENCE)) | {"bundle_root": str(old)}
    parser = ConfigParser(config | {"datalist": [], "device": torch.device("cpu")})
    before = parser.get_parsed_content("network").state_dict()
    loader = parser.get_parsed_content("handlers::0")
    engine = type("Engine", (), {"state": type("State", (), {"max_epochs": None, "epoch": 0})})
    first = {name: value.clone() for name, value in before.items()}
    loader(engine)
    assert any(not torch.equal(first[name], value) for name, value in before.items())


def test_monai_finds_the_parts_of_a_workflow(toy_run):
    folder = toy_run / "model"
    workflow = ConfigWorkflow(
        config_file=str(folder / INFERENCE),
        meta_file=str(folder / METADATA),
        logging_file=False,
        workflow_type="infer",
        bundle_root=str(folder),
    )
    workflow.initialize()
    assert workflow.check_properties() == []


def test_several_channels_are_listed(tmp_path):
    """A list of cases in MONAI's manner, since a folder cannot say which files belong together."""
    from SegmentModuleLib.worker.inference_config import inference_config

    metadata = {"method": "unet", "parameters": {}, "channels": ["T1", "T2"], "classes": [{"value": 300}]}
    config = inference_config(metadata)
    assert "load_decathlon_datalist" in config["datalist"] and config["output_dtype"] == "uint16"
    listed = {"testing": [{"image": ["a.nii.gz", "b.nii.gz"]}]}
    (tmp_path / "datalist.json").write_text(json.dumps(listed), encoding="utf-8")
    parser = ConfigParser(config | {"data_list_file_path": str(tmp_path / "datalist.json"), "dataset_dir": "/data"})
    (case,) = parser.get_parsed_content("datalist")
    assert [str(name) for name in case["image"]] == ["/data/a.nii.gz", "/data/b.nii.gz"]
