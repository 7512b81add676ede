"""Faulty bundles: one sentence each that names the cause."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
import zoo_bundles
from MedDeepLib.bundles.metadata import problems
from MedDeepLib.bundles.transfer import import_bundle
from MedDeepLib.data.sources.image import write_image
from MedDeepLib.errors import UserError
from monai.networks.nets import UNet
from zoo_bundles import SPLEEN_METADATA, balls, oblique_affine, spleen_config, write_bundle


@pytest.fixture(scope="module")
def weights() -> dict:
    torch.manual_seed(0)
    return UNet(3, 1, 2, channels=(8, 16), strides=(2,), num_res_units=1, norm="batch").state_dict()


@pytest.fixture
def sentence(segment, tmp_path, weights):
    """Applies a bundle with other entries, metadata or files, and returns what the user is told."""
    images = [tmp_path / f"image{number}.nii.gz" for number in range(2)]
    for number, image in enumerate(images):
        write_image(image, balls(number)[0][0], oblique_affine())

    def run(change=None, metadata=None, spoil=None, inputs=1, **entries) -> str:
        config = spleen_config(**entries)
        if change:
            change(config)
        folder = write_bundle(tmp_path / "bundle", config, metadata or SPLEEN_METADATA, weights)
        if spoil:
            spoil(folder)
        code, _, errors = segment(
            "apply",
            "--model",
            folder,
            "--input",
            *images[:inputs],
            "--output",
            tmp_path / "o.seg.nrrd",
            "--device",
            "cpu",
        )
        lines = [line for line in errors.splitlines() if line.startswith("Error:")]
        assert code == 2 and len(lines) == 1 and "Traceback" not in errors, errors
        assert lines[0].endswith(".") and not (tmp_path / "o.seg.nrrd").exists()
        return lines[0]

    return run


def remove(name: str):
    def spoil(folder: Path) -> None:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return spoil


def changed(**pred) -> dict:
    content = json.loads(json.dumps(SPLEEN_METADATA))
    content["network_data_format"]["outputs"]["pred"] |= pred
    return content


def test_missing_files(sentence, tmp_path):
    assert "contains no trained model" in sentence(spoil=remove("configs/metadata.json"))
    assert "has no inference configuration" in sentence(spoil=remove("configs/inference.json"))
    assert "has no weights, models/model.pt is missing: copy the whole bundle" in sentence(spoil=remove("models"))


def test_missing_weights_that_are_fetched_separately(sentence):
    def spoil(folder: Path) -> None:
        remove("models")(folder)
        (folder / "large_files.yml").write_text(
            'large_files:\n  - path: "models/model.pt"\n    url: "https://example.org/model.pt"\n    hash_val: "abc"\n'
            '    hash_type: "md5"\n',
            encoding="utf-8",
        )

    assert "fetch it from https://example.org/model.pt" in sentence(spoil=spoil)


def test_a_wrong_checksum(sentence, tmp_path, weights):
    def listed(value: str):
        def spoil(folder: Path) -> None:
            text = f"large_files:\n  - path: models/model.pt\n    hash_val: {value}\n    hash_type: sha256\n"
            (folder / "large_files.yml").write_text(text, encoding="utf-8")

        return spoil

    assert "checksum is" in sentence(spoil=listed("0" * 64))
    with pytest.raises(UserError, match="checksum is"):
        import_bundle(tmp_path / "bundle", tmp_path / "models")
    assert not list((tmp_path / "models").glob("*"))
    right = hashlib.sha256((tmp_path / "bundle" / "models" / "model.pt").read_bytes()).hexdigest()
    listed(right)(tmp_path / "bundle")
    assert import_bundle(tmp_path / "bundle", tmp_path / "models").is_dir()


def test_damaged_metadata(sentence):
    content = json.loads(json.dumps(SPLEEN_METADATA))
    del content["network_data_format"]
    assert "lacks 'network_data_format'" in sentence(metadata=content)
    for text in ("", "{", "[]", "\xff", "null", "7"):

        def spoil(folder: Path, text=text) -> None:
            (folder / "configs" / "metadata.json").write_bytes(text.encode("latin-1"))

        assert "is damaged" in sentence(spoil=spoil)


@pytest.mark.parametrize("value", [None, 7, "x", [], {}, [1], {"a": 1}])
@pytest.mark.parametrize("place", ["network_data_format", "inputs", "outputs", "image", "pred", "channel_def", "name"])
def test_metadata_of_the_wrong_kind(tmp_path, weights, place, value):
    from MedDeepLib.bundles.model import open_model

    content = json.loads(json.dumps(SPLEEN_METADATA))

    def put(entry: dict) -> None:
        for key in entry:
            if key == place:
                entry[key] = value
            elif isinstance(entry[key], dict):
                put(entry[key])

    put(content)
    folder = write_bundle(tmp_path / "bundle", spleen_config(), content, weights)
    try:
        open_model(folder, "segment").description()
    except UserError as error:
        assert str(error).endswith(".")


def test_unknown_networks(sentence):
    assert "names 'WNet' in 'network_def', which MONAI" in sentence(network_def={"_target_": "WNet"})
    assert "names 'monai.networks.nets.WNet'" in sentence(network_def={"_target_": "monai.networks.nets.WNet"})

    def change(config):
        config["preprocessing"]["transforms"][1]["_target_"] = "AddChanneld"  # removed from MONAI since

    assert "names 'AddChanneld'" in sentence(change)


def test_arguments_that_do_not_exist(sentence):
    def change(config):
        config["network_def"]["img_size"] = 96

    assert "it may need another version of MONAI (it was made with 1.4.0)" in sentence(change)


def test_weights_of_another_shape(sentence, weights):
    def change(config):
        config["network_def"]["channels"] = [8, 32]

    text = sentence(change)
    assert "do not fit the bundle's network" in text and "has the shape" in text

    def change_layers(config):
        config["network_def"] |= {"channels": [8, 16, 32], "strides": [2, 2]}

    assert "do not fit the bundle's network" in sentence(change_layers)


@pytest.mark.parametrize("content", [[1], {"a": 1}, {}, {"model": {"a": 1}}])
def test_weights_that_are_none(sentence, content):
    def spoil(folder: Path) -> None:
        torch.save(content, folder / "models" / "model.pt")

    text = sentence(spoil=spoil)
    assert "do not fit" in text or "not those of a network" in text


def test_damaged_weights(sentence):
    def spoil(folder: Path) -> None:
        path = folder / "models" / "model.pt"
        path.write_bytes(path.read_bytes()[:-2000])

    assert "it is damaged" in sentence(spoil=spoil)


def test_channels_against_volumes(sentence, tmp_path, segment):
    content = json.loads(json.dumps(SPLEEN_METADATA))
    content["network_data_format"]["inputs"]["image"] |= {"num_channels": 2, "channel_def": {"0": "T1", "1": "T2"}}
    assert "names 2 input images, but its network takes 1 input" in sentence(metadata=content)
    content["network_data_format"]["inputs"]["image"]["num_channels"] = 3
    assert "says 3 channels but names 2" in sentence(metadata=content)


def test_a_network_with_another_number_of_inputs(sentence):
    """If the configuration calculates their number, the error comes when the bundle is applied."""
    content = json.loads(json.dumps(SPLEEN_METADATA))
    content["network_data_format"]["inputs"]["image"] |= {"num_channels": 2, "channel_def": {"0": "T1", "1": "T2"}}

    def change(config):
        config["network_def"]["in_channels"] = "$3 - 2"

    assert "The network of the bundle" in sentence(change, content, inputs=2)


def test_labels_that_do_not_match_the_outputs(sentence):
    labels = {"0": "background", "1": "spleen", "2": "liver"}
    assert "says 2 channels but names 3" in sentence(metadata=changed(channel_def=labels))
    text = sentence(metadata=changed(channel_def=labels, num_channels=3))
    assert "it names 3 labels, but its network gives 2" in text
    assert "gives no names to its labels" in sentence(metadata=changed(channel_def={}))
    assert "leaves out a channel" in sentence(metadata=changed(channel_def={"0": "background", "7": "spleen"}))
    assert "two labels are called 'a'" in sentence(metadata=changed(channel_def={"0": "a", "1": "a"}))


def test_an_output_that_is_shown_nowhere(sentence):
    def change(config):
        config["postprocessing"]["transforms"] = []

    assert "which no module of this extension supports" in sentence(change, changed(type="series", format="sequence"))


def test_transforms_that_fail_on_the_image(sentence):
    def change(config):
        config["preprocessing"]["transforms"].insert(
            2, {"_target_": "CenterSpatialCropd", "keys": "label", "roi_size": 5}
        )

    assert "The preprocessing (CenterSpatialCropd) of the bundle" in sentence(change)


def test_references_to_nothing(sentence):
    assert "cannot be made" in sentence(inferer={"_target_": "SlidingWindowInferer", "roi_size": "@nothing"})
    assert "cannot be made" in sentence(inferer="@network_def_that_is_not_there")
    assert "which is not there" in sentence(inferer="%nothing")


def test_metadata_are_judged_as_monai_does():
    assert problems(SPLEEN_METADATA) == [] == problems(zoo_bundles.BRATS_METADATA)
    assert problems({}) == [
        *(f"'{key}' is missing" for key in ("schema", "version", "monai_version", "pytorch_version", "numpy_version")),
        *(f"'{key}' is missing" for key in ("task", "description", "authors", "copyright", "network_data_format")),
        "'required_packages_version' is missing",
    ]
    broken = changed(num_channels="2", is_patch_data="yes")
    del broken["network_data_format"]["outputs"]["pred"]["dtype"]
    assert len(problems(broken)) == 3
