"""Models on disk are complete or missing; one sentence describes whatever is wrong with one."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from MedDeepLib.bundles import model as models
from MedDeepLib.bundles.metadata import problems
from MedDeepLib.bundles.model import open_model, released_models
from MedDeepLib.bundles.saving import patient_code, save_model
from MedDeepLib.core import Context, Prepared, get
from MedDeepLib.core.registry import task
from MedDeepLib.data.dataset import load_dataset
from MedDeepLib.errors import CannotWrite, UserError
from MedDeepLib.training.engine import Trained
from SegmentModuleLib.parameters import ApplyParameters
from toy_cases import TRAINING

METADATA, WEIGHTS = "configs/metadata.json", "models/model.pt"
CONTEXT = Context(torch.device("cpu"))


@pytest.fixture
def model_folder(toy_run, tmp_path) -> Path:
    """A copy of the toy model, to be damaged."""
    return shutil.copytree(toy_run / "model", tmp_path / "copy")


def use(folder):
    """Open a model and prepare it for use, as the worker does."""
    model = open_model(folder, "segment")
    model.description()
    return model.make_method().predictor(model, CONTEXT, ApplyParameters())


def sentence(folder) -> str:
    with pytest.raises(UserError) as caught:
        use(folder)
    text = str(caught.value)
    assert "\n" not in text and text.endswith(".")
    return text


def change(folder: Path, **entries) -> None:
    file = folder / METADATA
    content = json.loads(file.read_text(encoding="utf-8"))
    content["meddeep"] |= entries
    file.write_text(json.dumps(content), encoding="utf-8")


def test_what_a_model_says_of_itself(toy_run, toy_dataset):
    for reference in (toy_run, str(toy_run), toy_run / "model"):
        model = open_model(reference, "segment")
        assert model.folder == toy_run / "model"
    assert model.channels == ("MR",)
    assert model.segments == load_dataset(toy_dataset, task("segment")).segments
    assert model.classes == ("bright ball", "dark ball")
    assert [(slot.name, slot.kind) for slot in model.inputs] == [("image", "image")]
    assert list(model.make_method().parameters.features) == TRAINING["features"]
    text = model.description()
    assert "Needs 1 input image (MR); finds bright ball, dark ball. Trained and validated on 5 cases of balls." in text


def test_its_metadata_is_monais_with_ours(toy_run):
    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    text = (toy_run / "model" / METADATA).read_text(encoding="utf-8")
    metadata = json.loads(text, parse_constant=refuse)
    assert problems(metadata) == []
    for key in ("version", "monai_version", "pytorch_version", "numpy_version", "network_data_format", "intended_use"):
        assert metadata[key]
    own = metadata["meddeep"]
    assert own["made"]["seed"] == 3 and own["method"] == "unet" and own["plan"]["patch_size"] == [32, 32, 16]
    data = own["training_data"]
    assert data["patients"] == sorted(patient_code(f"P{number}", data["salt"]) for number in range(5))
    assert "P0" not in text and "image0" not in text, "a model that is passed on names no patient and no file"
    assert len(own["training_data"]["sha256"]) == 10
    assert own["figures"]["unet"]["validation Dice"] > 0.8
    card = (toy_run / "model" / "docs" / "README.md").read_text(encoding="utf-8")
    assert "Research use only" in card and "- 2: dark ball" in card


def test_the_weights_are_readable_without_us(toy_run):
    weights = torch.load(toy_run / "model" / WEIGHTS, weights_only=True)
    assert len(weights) > 5 and all(isinstance(value, torch.Tensor) for value in weights.values())


def test_weights_of_older_models_are_read(model_folder):
    """These were stored under the names of the networks."""
    weights = torch.load(model_folder / WEIGHTS, weights_only=True)
    metadata = json.loads((model_folder / METADATA).read_text(encoding="utf-8"))
    del metadata["meddeep"]["network"]
    (model_folder / METADATA).write_text(json.dumps(metadata), encoding="utf-8")
    torch.save({"network": weights}, model_folder / WEIGHTS)
    assert set(open_model(model_folder, "segment").load_weights()["network"]) == set(weights)
    assert use(model_folder)


def test_no_such_model(tmp_path):
    assert "does not exist" in sentence(tmp_path / "nowhere") or "There is no model" in sentence(tmp_path / "nowhere")
    assert "model" in sentence(tmp_path)


def test_a_run_that_is_not_done_has_no_model(toy_run, tmp_path):
    run = shutil.copytree(toy_run, tmp_path / "run")
    shutil.rmtree(run / "model")
    assert "contains no trained model" in sentence(run)


def test_a_model_of_another_task(model_folder):
    change(model_folder, task="classify")
    assert "is for the task 'classify', not for 'segment': it belongs to the module Deep Classification" in sentence(
        model_folder
    )
    change(model_folder, task="denoise")
    assert "is for the task 'denoise', not for 'segment': it belongs to a task that is not installed here" in sentence(
        model_folder
    )
    change(model_folder, task="register")
    assert "is for the task 'register', not for 'segment': it belongs to the module Deep Registration" in sentence(
        model_folder
    )


def test_a_model_that_does_not_say_what_it_takes(model_folder):
    """Models made before tasks had slots take the inputs of their task."""
    metadata = json.loads((model_folder / METADATA).read_text(encoding="utf-8"))
    for key in ("inputs", "outputs"):
        del metadata["meddeep"][key]
    (model_folder / METADATA).write_text(json.dumps(metadata), encoding="utf-8")
    assert [slot.name for slot in open_model(model_folder, "segment").inputs] == ["image"]
    assert use(model_folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"name": "x"}', '{"name": "x", "meddeep": []}', "\xff"])
def test_damaged_metadata(model_folder, text):
    (model_folder / METADATA).write_bytes(text.encode("latin-1"))
    assert "is damaged" in sentence(model_folder)


@pytest.mark.parametrize("value", [None, 7, "x", [], {}, [1], [[1]], {"a": 1}])
@pytest.mark.parametrize("key", ["task", "method", "parameters", "plan", "channels", "classes", "training_data"])
def test_metadata_of_the_wrong_kind(model_folder, key, value):
    """An invalid value in any entry is refused without a traceback."""
    change(model_folder, **{key: value})
    try:
        use(model_folder)
    except UserError as error:
        assert str(error).endswith(".")


def test_a_method_that_is_not_installed(model_folder):
    change(model_folder, method="wnet")
    assert "There is no method 'wnet'" in sentence(model_folder)


def truncate(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def alter(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(bytes(data))


def fill_with_text(file: Path) -> None:
    file.write_text("weights", encoding="utf-8")


def store_a_list(file: Path) -> None:
    torch.save([1, 2, 3], file)


@pytest.mark.parametrize("damage", [truncate, alter, fill_with_text, store_a_list])
def test_damaged_weights(model_folder, damage):
    damage(model_folder / WEIGHTS)
    assert "the file is damaged; copy or train it again" in sentence(model_folder)


def test_missing_weights(model_folder):
    (model_folder / WEIGHTS).unlink()
    assert "has no weights" in sentence(model_folder)


@pytest.mark.parametrize("weights", [{}, {"network": {}}, {"network": 5}, {"network": {"a": torch.zeros(2)}}])
def test_weights_of_another_network(model_folder, weights):
    torch.save(weights, model_folder / WEIGHTS)
    assert "do not fit its network" in sentence(model_folder)


def test_nothing_in_a_model_is_executed(model_folder, tmp_path):
    class Payload:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "executed"),))

    torch.save({"network": Payload()}, model_folder / WEIGHTS)
    assert "the file is damaged" in sentence(model_folder)
    assert not (tmp_path / "executed").exists()


def test_released_models_are_found_by_name(model_folder, monkeypatch):
    monkeypatch.setattr(models, "released_models", lambda: {"balls": model_folder})
    assert open_model("balls", "segment").folder == model_folder
    with pytest.raises(UserError, match="balls"):
        open_model("cubes", "segment")


def test_the_models_that_come_with_the_extension_can_be_opened():
    for folder in released_models().values():
        assert open_model(folder, json.loads((folder / METADATA).read_text(encoding="utf-8"))["meddeep"]["task"])


def test_saving_is_all_or_nothing(toy_dataset, tmp_path, monkeypatch):
    method = get("segment", "unet")()
    context = Context(torch.device("cpu"), dataset=load_dataset(toy_dataset, task("segment")))
    trained = Trained({"network": torch.nn.Linear(2, 2)}, metrics={"unet": {"steps": 1}})
    prepared = Prepared({"plan": method.plan().as_dict()})
    save_model(tmp_path / "model", method, prepared, context, trained)
    before = (tmp_path / "model" / WEIGHTS).read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(CannotWrite, match="could not be written .* the checkpoint is kept"):
        save_model(tmp_path / "model", method, prepared, context, trained)
    assert [file.name for file in tmp_path.iterdir()] == ["model"]
    assert (tmp_path / "model" / WEIGHTS).read_bytes() == before
