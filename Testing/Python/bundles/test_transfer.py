"""Import and export of models: complete or not at all, checked on the way, and unchanged afterwards."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from MedDeepLib.bundles import archive
from MedDeepLib.bundles.foreign.trust import content_hash
from MedDeepLib.bundles.layout import INFERENCE, METADATA, SCRIPT, WEIGHTS
from MedDeepLib.bundles.metadata import problems
from MedDeepLib.bundles.model import models_below, open_model
from MedDeepLib.bundles.transfer import export_bundle, import_bundle
from MedDeepLib.errors import CannotWrite, UserError
from zoo_bundles import SPLEEN_METADATA, spleen_config, write_bundle


@pytest.fixture
def bundle(tmp_path) -> Path:
    return write_bundle(tmp_path / "spleen", spleen_config(), SPLEEN_METADATA, {"a": torch.zeros(2)})


@pytest.fixture
def models(tmp_path) -> Path:
    return tmp_path / "models"


def test_a_folder_comes_in(bundle, models):
    seen = []
    folder = import_bundle(bundle, models, lambda done, total: seen.append((done, total)))
    assert folder == models / "spleen" and content_hash(folder) == content_hash(bundle)
    assert seen[-1][0] == seen[-1][1] > 0
    assert [model.title for model in models_below(models, "segment")] == ["Spleen segmentation"]
    assert models_below(models, "classify") == []
    assert [path.name for path in models.iterdir()] == ["spleen"]


def test_the_same_one_comes_in_once(bundle, models):
    assert import_bundle(bundle, models) == import_bundle(bundle, models)
    (bundle / "docs" / "README.md").write_text("other", encoding="utf-8")
    assert import_bundle(bundle, models) == models / "spleen_2"
    assert len(list(models.iterdir())) == 2


@pytest.mark.parametrize("inner", ["spleen/", "", "a name with spaces/"])
def test_an_archive_comes_in(bundle, models, tmp_path, inner):
    path = tmp_path / "My model.zip"
    with zipfile.ZipFile(path, "w") as content:
        for file in archive.files_below(bundle):
            content.write(file, inner + file.relative_to(bundle).as_posix())
        content.writestr("__MACOSX/._x", b"x")
    folder = import_bundle(path, models)
    assert folder == models / "My_model" and content_hash(folder) == content_hash(bundle)


def test_what_is_no_model_leaves_nothing(tmp_path, models, bundle):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.zip").write_bytes(b"text")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as content:
        content.writestr("readme.txt", b"x")
    (bundle / INFERENCE).unlink()
    for source, reason in (
        (tmp_path / "empty", "contains no model"),
        (tmp_path / "nowhere", "does not exist"),
        (tmp_path / "file.zip", "is not a zip file"),
        (tmp_path / "other.zip", "contains no model"),
        (bundle, "has no inference configuration"),
    ):
        with pytest.raises(UserError, match=reason):
            import_bundle(source, models)
    assert not models.exists() or not list(models.iterdir())


def test_errors_name_the_users_own_files(bundle, models):
    (bundle / WEIGHTS).unlink()
    with pytest.raises(UserError, match=r"is not complete, models/model.pt is missing") as refused:
        import_bundle(bundle, models)
    assert str(bundle) in str(refused.value) and ".part-" not in str(refused.value)


def test_an_import_that_is_cut_short_leaves_nothing(bundle, models, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archive.shutil, "copyfile", full)
    with pytest.raises(CannotWrite, match="free some space"):
        import_bundle(bundle, models)
    assert not models.exists() or not list(models.iterdir())


def test_own_models_go_out_and_come_in(toy_run, tmp_path, models):
    """Through a zip file and a folder; the result is the same model, byte by byte."""
    zipped = export_bundle(toy_run, tmp_path / "balls.zip")
    copied = export_bundle(toy_run / "model", tmp_path / "balls")
    with zipfile.ZipFile(zipped) as content:
        assert "balls/configs/metadata.json" in content.namelist()
    first, second = import_bundle(zipped, models), import_bundle(copied, models)
    assert first == second, "the same model is there once"
    assert content_hash(first) == content_hash(toy_run / "model")
    assert open_model(first, "segment").classes == open_model(toy_run, "segment").classes
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".part")]


def test_older_models_are_completed_on_their_way_out(toy_run, tmp_path):
    old = shutil.copytree(toy_run / "model", tmp_path / "old")
    content = json.loads((old / METADATA).read_text(encoding="utf-8"))
    del content["required_packages_version"], content["meddeep"]["network"], content["meddeep"]["files"]
    (old / METADATA).write_text(json.dumps(content), encoding="utf-8")
    weights = torch.load(old / WEIGHTS, weights_only=True)
    torch.save({"network": weights}, old / WEIGHTS)
    (old / INFERENCE).unlink()
    (old / SCRIPT).unlink()
    folder = export_bundle(old, tmp_path / "new")
    written = json.loads((folder / INFERENCE).read_text(encoding="utf-8"))
    assert written == json.loads((toy_run / "model" / INFERENCE).read_text(encoding="utf-8"))
    assert problems(json.loads((folder / METADATA).read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("evil", [{"_target_": "os.system", "command": "x"}, "$__import__('os').system('x')"])
def test_a_configuration_that_was_changed_on_the_way(toy_run, tmp_path, models, evil):
    """It is not run here, but other users of the model may run it with MONAI's command line."""
    copy = shutil.copytree(toy_run / "model", tmp_path / "copy")
    content = json.loads((copy / INFERENCE).read_text(encoding="utf-8"))
    (copy / INFERENCE).write_text(json.dumps(content | {"something": evil}), encoding="utf-8")
    with pytest.raises(UserError, match="was changed after it was trained: .*something"):
        import_bundle(copy, models)
    with pytest.raises(UserError, match="was changed after it was trained"):
        export_bundle(copy, tmp_path / "again.zip")
    (copy / INFERENCE).write_text("{", encoding="utf-8")
    with pytest.raises(UserError):
        import_bundle(copy, models)
    assert not (tmp_path / "again.zip").exists() and (not models.exists() or not list(models.iterdir()))


def test_weights_that_were_changed_on_the_way(toy_run, tmp_path, models):
    copy = shutil.copytree(toy_run / "model", tmp_path / "copy")
    weights = torch.load(copy / WEIGHTS, weights_only=True)
    torch.save({name: value + 1 for name, value in weights.items()}, copy / WEIGHTS)
    with pytest.raises(UserError, match="was changed since the model was made"):
        import_bundle(copy, models)
    (copy / WEIGHTS).unlink()
    with pytest.raises(UserError, match="is not complete"):
        import_bundle(copy, models)


def test_a_torchscript_file_comes_in_and_needs_trust(toy_run, tmp_path, models, monkeypatch):
    monkeypatch.setenv("MEDDEEP_STATE", str(tmp_path / "state"))
    path = tmp_path / "spleen.ts"
    network = torch.jit.script(torch.nn.Sequential(torch.nn.Conv3d(1, 2, 1)))
    from monai.data import save_net_with_metadata

    files = {"inference.json": json.dumps(spleen_config()).encode()}
    save_net_with_metadata(network, str(path), meta_values=SPLEEN_METADATA, more_extra_files=files)
    folder = import_bundle(path, models)
    question = open_model(folder, "segment").untrusted()
    assert question is not None and "TorchScript" in str(question)


def test_an_export_overwrites_no_folder_and_fails_whole(toy_run, tmp_path, monkeypatch):
    (tmp_path / "there").mkdir()
    with pytest.raises(UserError, match="already exists"):
        export_bundle(toy_run, tmp_path / "there")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(CannotWrite, match="could not be written"):
        export_bundle(toy_run, tmp_path / "model.zip")
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_the_exported_torchscript_is_the_network(toy_run):
    model = open_model(toy_run, "segment")
    script = torch.jit.load(model.folder / SCRIPT)
    network = model.make_method().network(1, 3)
    network.load_state_dict(model.load_weights()["network"])
    image = torch.rand(1, 1, 32, 32, 16)
    with torch.inference_mode():
        assert torch.allclose(script(image), network.eval()(image), atol=1e-5)
    from monai.data import load_net_with_metadata

    _, metadata, files = load_net_with_metadata(str(model.folder / SCRIPT), more_extra_files=["inference.json"])
    assert metadata["meddeep"]["method"] == "unet" and b"evaluator" in files["inference.json"]
