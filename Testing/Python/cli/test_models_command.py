"""The script models.py, and the separate process that panels use."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from MedDeepLib.cli import models_command
from MedDeepLib.jobs.model_transfer import ModelTransfer
from zoo_bundles import SPLEEN_METADATA, spleen_config, write_bundle


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDDEEP_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("MEDDEEP_RUNS", str(tmp_path / "runs"))


@pytest.fixture
def bundle(tmp_path) -> Path:
    return write_bundle(tmp_path / "spleen", spleen_config(), SPLEEN_METADATA, {})


@pytest.fixture
def bundle_with_code(tmp_path) -> Path:
    config = spleen_config(network_def={"_target_": "scripts.net.Net"})
    return write_bundle(tmp_path / "own_code", config, SPLEEN_METADATA, {})


@pytest.fixture
def models(capsys):
    def run(*arguments) -> tuple[int, str, str]:
        capsys.readouterr()
        return models_command.main([str(argument) for argument in arguments]), *capsys.readouterr()

    return run


def test_import_show_export_and_delete(models, bundle, tmp_path):
    assert models("list") == (0, f"No models in {tmp_path / 'runs-models'}.\n", "")
    code, out, _ = models("import", bundle)
    assert code == 0 and "Imported as" in out and "finds spleen" in out
    code, out, _ = models("list")
    assert "spleen" in out and "segment" in out and "not needed" in out
    assert "2 x 2 x 2 mm" in models("show", "spleen")[1]
    assert models("export", "spleen", tmp_path / "out.zip")[0] == 0 and (tmp_path / "out.zip").is_file()
    assert models("delete", "spleen", "--yes")[0] == 0
    assert not (tmp_path / "runs-models" / "spleen").exists()


def test_trust(models, bundle_with_code):
    code, out, _ = models("import", bundle_with_code)
    assert code == 0 and "scripts.net.Net" in out and "Trust: needed, see show." in out
    assert "is trusted as it is now" in models("trust", "own_code")[1]
    assert "given" in models("list")[1]
    assert "no longer trusted" in models("trust", "own_code", "--withdraw")[1]
    assert "needed" in models("list")[1]


def test_mistakes(models, bundle, tmp_path):
    for arguments, reason in (
        (("import", tmp_path / "nowhere"), "does not exist"),
        (("show", "nothing"), "There is no model 'nothing'"),
        (("delete", bundle, "--yes"), "only imported models are deleted here"),
    ):
        code, out, errors = models(*arguments)
        assert (code, out) == (2, "") and reason in errors and errors.startswith("Error: ")
    assert bundle.is_dir()
    code, out, _ = models("--json", "import", tmp_path / "nowhere")
    assert code == 2 and "does not exist" in json.loads(out)["error"]


def finished(transfer: ModelTransfer) -> ModelTransfer:
    deadline = time.monotonic() + 60
    while transfer.is_running():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return transfer


def test_a_process_of_its_own(bundle, tmp_path):
    (bundle / "models" / "model.pt").write_bytes(bytes(range(256)) * 40_000)
    transfer = finished(ModelTransfer(tmp_path / "models", "import", bundle))
    assert transfer.path == tmp_path / "models" / "spleen" and transfer.error == "" and transfer.share() == 1
    transfer = finished(ModelTransfer(tmp_path / "models", "import", tmp_path / "nowhere"))
    assert transfer.path is None and "does not exist" in transfer.error


def test_a_process_that_dies(bundle, tmp_path):
    transfer = ModelTransfer(tmp_path / "models", "import", bundle)
    transfer.cancel()
    finished(transfer)
    assert transfer.path is not None or "ended unexpectedly" in transfer.error
