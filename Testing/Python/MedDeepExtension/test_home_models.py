"""Models in the home panel: details, export, deletion, and damaged models."""

from __future__ import annotations

import json
import os
import shutil
import zipfile

import pytest
from MedDeepLib.bundles.layout import CONVERTED
from MedDeepLib.bundles.model import open_model

METADATA = "configs/metadata.json"


def contents(folder) -> dict[str, bytes]:
    """Its files without the networks that were converted for this computer, which do not travel."""
    files = {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    return {name: content for name, content in files.items() if not name.startswith(CONVERTED)}


def choose(panel, run) -> None:
    panel.look()
    panel.choose("models", run / "model")


def test_everything_that_is_known_of_a_model(panel, trained):
    choose(panel, trained)
    row = panel.row("models", trained / "model")
    assert row["Model"] == "U-Net: balls" and row["Task"] == "segment" and row["From"] == "trained"
    assert row["Validation"].startswith("Dice 0.") and row["Made"]
    details = panel.text("modelsDetails")
    figure = json.loads((trained / "model" / METADATA).read_text(encoding="utf-8"))["meddeep"]["figures"]["unet"]
    assert f"validation Dice {figure['validation Dice']:.3g}" in details
    for words in ("bright ball, dark ball", "5 cases of 5 patients: balls", "on cpu, Linux", str(trained / "model")):
        assert words in details, details


def test_export_to_a_zip_file(panel, trained, tmp_path):
    choose(panel, trained)
    target = tmp_path / "elsewhere" / "balls.zip"
    target.parent.mkdir()
    with panel.host.answers(str(target.with_suffix(""))) as asked:  # the user types no file extension
        panel.home.models.export_zip_action.trigger()
    assert "Save the model as" in asked[0]
    panel.wait(lambda: panel.status("models") == f"The model is in {target}.", 20)
    assert list(target.parent.iterdir()) == [target]
    with zipfile.ZipFile(target) as archive:
        assert archive.testzip() is None
        archive.extractall(tmp_path / "unpacked")
    assert contents(tmp_path / "unpacked" / "balls") == contents(trained / "model")
    assert open_model(tmp_path / "unpacked" / "balls", "segment").load_weights()


def test_export_to_a_folder_never_overwrites(panel, trained, tmp_path):
    choose(panel, trained)
    target = tmp_path / "elsewhere"
    target.mkdir()
    with panel.host.answers(str(target)):
        panel.home.models.export_folder_action.trigger()
    panel.wait(lambda: panel.status("models") == f"The model is in {target / 'trained'}.", 20)
    assert contents(target / "trained") == contents(trained / "model")
    (target / "trained" / "mine.txt").write_text("x", encoding="utf-8")
    with panel.host.answers(str(target)):
        panel.home.models.export_folder_action.trigger()
    panel.wait(lambda: "already exists: give the exported model another name" in panel.status("models"), 20)
    assert (target / "trained" / "mine.txt").exists() and len(list(target.iterdir())) == 1


def test_an_export_that_is_cancelled_or_fails_leaves_nothing(panel, trained, tmp_path):
    choose(panel, trained)
    with panel.host.answers(""):
        panel.home.models.export_zip_action.trigger()
    assert not panel.home.models.is_busy()

    (tmp_path / "a file").touch()
    with panel.host.answers(str(tmp_path / "a file" / "a.zip")):
        panel.home.models.export_zip_action.trigger()
    assert not panel.ui.modelsExportButton.enabled and not panel.ui.modelsDeleteButton.enabled
    panel.wait(lambda: "could not be written to" in panel.status("models"), 60)
    assert panel.ui.modelsExportButton.enabled


def test_closing_the_panel_ends_an_export(panel, trained, tmp_path):
    choose(panel, trained)
    (tmp_path / "elsewhere").mkdir()
    with (trained / "model" / "models" / "more.pt").open("wb") as file:
        file.truncate(2_000_000_000)  # takes a while
    with panel.host.answers(str(tmp_path / "elsewhere" / "b.zip")):
        panel.home.models.export_zip_action.trigger()
    panel.wait(lambda: panel.ui.modelsProgressBar.value > 0 or list((tmp_path / "elsewhere").iterdir()), 30)
    process = panel.home.models._transfer._process
    panel.close()
    assert process.poll() is not None
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_delete_asks_and_keeps_the_run(asked, trained):
    import qt

    panel = asked
    choose(panel, trained)
    with panel.host.answers(qt.QMessageBox.No) as questions:
        panel.ui.modelsDeleteButton.click()
    assert "Delete the model 'U-Net: balls' for good?" in questions[0] and "The run 'trained'" in questions[0]
    panel.look()
    assert (trained / "model" / METADATA).exists()
    with panel.host.answers(qt.QMessageBox.Yes):
        panel.ui.modelsDeleteButton.click()
    panel.wait(lambda: panel.home.models.table.row_keys() == [], 20)
    assert panel.status("models") == "The model 'U-Net: balls' was deleted."
    assert not [name for name in os.listdir(trained) if "model" in name or "deleted" in name]
    assert panel.row("jobs", trained)["State"] == "done"


def test_what_comes_with_the_extension_stays(panel, toy_run, tmp_path, monkeypatch):
    from MedDeepLib.jobs import models

    shutil.copytree(toy_run / "model", tmp_path / "Models" / "Balls")
    monkeypatch.setattr(models, "released_models", lambda: {"Balls": tmp_path / "Models" / "Balls"})
    panel.look()
    panel.choose("models", tmp_path / "Models" / "Balls")
    assert panel.row("models", tmp_path / "Models" / "Balls")["From"] == "comes with the extension"
    assert not panel.ui.modelsDeleteButton.enabled
    assert panel.ui.modelsDeleteButton.toolTip == "It comes with the extension."
    assert panel.ui.modelsExportButton.enabled


def test_an_imported_model_is_listed_and_deleted(asked, trained, runs_folder):
    import qt
    from MedDeepLib.bundles.transfer import import_bundle
    from MedDeepLib.scene import runs

    panel = asked
    folder = import_bundle(trained, runs.models_folder())
    shutil.rmtree(trained)
    panel.look()
    panel.choose("models", folder)
    assert panel.row("models", folder)["From"] == "imported" and panel.row("models", folder)["Model"] == "U-Net: balls"
    with panel.host.answers(qt.QMessageBox.Yes) as questions:
        panel.ui.modelsDeleteButton.click()
    assert "It was imported as 'trained'" in questions[0]
    panel.wait(lambda: panel.home.models.table.row_keys() == [], 20)
    assert list(runs.models_folder().iterdir()) == []


def lacks_an_entry(model) -> str:
    content = json.loads((model / METADATA).read_text(encoding="utf-8"))
    del content["meddeep"]["classes"]
    (model / METADATA).write_text(json.dumps(content), encoding="utf-8")
    return "lacks 'classes'"


def has_odd_entries(model) -> str:
    content = json.loads((model / METADATA).read_text(encoding="utf-8"))
    content["meddeep"]["figures"] = ["Dice"]
    (model / METADATA).write_text(json.dumps(content), encoding="utf-8")
    return "is not complete"


def is_no_json(model) -> str:
    (model / METADATA).write_bytes(b"\xff{")
    return "is damaged"


def has_no_weights(model) -> str:
    (model / "models" / "model.pt").unlink()
    return "has no weights"


def is_empty(model) -> str:
    shutil.rmtree(model)
    model.mkdir()
    return "contains no model"


@pytest.mark.parametrize("damage", [lacks_an_entry, has_odd_entries, is_no_json, has_no_weights, is_empty])
def test_damaged_models_are_listed_with_the_reason(panel, trained, damage):
    sentence = damage(trained / "model")
    choose(panel, trained)
    assert panel.row("models", trained / "model")["Task"] == "damaged"
    assert sentence in panel.text("modelsDetails")
    assert not panel.ui.modelsExportButton.enabled and "damaged" in panel.ui.modelsExportButton.toolTip
    assert panel.ui.modelsDeleteButton.enabled and panel.ui.modelsFolderButton.enabled
