"""A changed file of any slot, or shared by all cases, is detected; manifests of version 1 are compared in what they
contain."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from MedDeepLib.core import Context, registry
from MedDeepLib.data.dataset import load_dataset
from MedDeepLib.data.fingerprints import fingerprint
from MedDeepLib.errors import UserError
from MedDeepLib.jobs.manifest_data import check_data, data_content

FILES = (
    "f.nrrd", "m.nrrd", "fl.nrrd", "ml.nrrd", "fp.csv", "mp.csv", "t.h5", "i.h5", "atlas.nrrd", "s.nrrd", "sl.nrrd",
)  # fmt: skip
PAIR = {
    "fixed": "f.nrrd", "moving": "m.nrrd", "fixed_label": "fl.nrrd", "moving_label": "ml.nrrd",
    "fixed_landmarks": "fp.csv", "moving_landmarks": "mp.csv", "transform": "t.h5", "initial": "i.h5",
    "fixed_patient": "B", "moving_patient": "A",
}  # fmt: skip
SINGLE = {"image": "s.nrrd", "label": "sl.nrrd", "patient": "C"}


@pytest.fixture
def folder(tmp_path) -> Path:
    for name in FILES:
        (tmp_path / name).write_text(name, encoding="utf-8")
    return tmp_path


def context(folder: Path, training=(PAIR,), validation=(SINGLE,), **more) -> Context:
    more = {"atlas": {"image": "atlas.nrrd"}} | more
    content = {"training": list(training), "validation": list(validation)} | more
    (folder / "list.json").write_text(json.dumps(content), encoding="utf-8")
    return Context(torch.device("cpu"), dataset=load_dataset(folder / "list.json", registry.task("register")))


def difference(before: dict, now: Context) -> str:
    with pytest.raises(UserError) as caught:
        check_data(before, data_content(now), now.dataset, "this training began with")
    text = str(caught.value)
    assert "\n" not in text and text.endswith("train in another folder.")
    return text


def test_every_file_of_every_slot_is_hashed(folder):
    content = data_content(context(folder))
    text = json.dumps(content)
    assert all(fingerprint(folder / name) in text for name in FILES), "also the atlas, and nothing is left out"
    assert not any(name in text for name in (*FILES, "list.json", str(folder)))
    (pair,) = content["training"]
    assert pair["patients"] == [1, 0] and content["validation"][0]["patients"] == [2], "ranks, the fixed one first"
    assert set(pair["inputs"]) == {"fixed", "moving", "initial"} and set(content["shared"]) == {"atlas"}


@pytest.mark.parametrize(
    "file, words",
    [
        ("f.nrrd", "The fixed image of the training case 'f and m'"),
        ("m.nrrd", "The moving image of the training case 'f and m'"),
        ("i.h5", "The initial transform of the training case"),
        ("fl.nrrd", "The fixed label of the training case"),
        ("ml.nrrd", "The moving label of the training case"),
        ("fp.csv", "The fixed landmarks of the training case"),
        ("mp.csv", "The moving landmarks of the training case"),
        ("t.h5", "The transform of the training case"),
        ("s.nrrd", "The image of the validation case 's'"),
        ("sl.nrrd", "The label of the validation case 's'"),
        ("atlas.nrrd", "The image of the atlas is not the one that this training began with"),
    ],
)
def test_a_changed_file_is_noticed(folder, file, words):
    before = data_content(context(folder))
    same = context(folder)
    check_data(before, data_content(same), same.dataset, "this training began with")
    (folder / file).write_text("changed", encoding="utf-8")
    assert words in difference(before, context(folder))


def test_other_lists_are_noticed(folder):
    before = data_content(context(folder))
    assert "has 2 training cases, not the 1" in difference(before, context(folder, training=(PAIR, PAIR)))
    assert "The place in the list of the training" in difference(
        before, context(folder, training=(PAIR | {"moving_patient": "D"},))
    )
    without = {key: value for key, value in PAIR.items() if key != "transform"}
    assert "The transform of the training case" in difference(before, context(folder, training=(without,)))
    assert "The entry 'atlas' of the dataset" in difference(before, context(folder, atlas=None))


def version_1(folder: Path) -> dict:
    """As version 1 wrote it: the fixed image, its label, and its patient."""

    def entry(image: str, label: str | None, patient: int) -> dict:
        label = fingerprint(folder / label) if label else None
        return {"images": [fingerprint(folder / image)], "label": label, "patient": patient}

    return {"training": [entry("f.nrrd", "fl.nrrd", 0)], "validation": [entry("s.nrrd", "sl.nrrd", 1)]}


def test_a_manifest_of_version_1_is_compared_as_far_as_it_goes(folder):
    before = version_1(folder)
    now = context(folder)
    check_data(before, data_content(now), now.dataset, "this training began with")
    (folder / "m.nrrd").write_text("changed", encoding="utf-8")
    now = context(folder)
    check_data(before, data_content(now), now.dataset, "this training began with")
    (folder / "fl.nrrd").write_text("changed", encoding="utf-8")
    assert "The label of the training case" in difference(before, context(folder))
    (folder / "f.nrrd").write_text("changed", encoding="utf-8")
    assert "The image of the training case" in difference(before, context(folder))


def test_values_are_kept_as_they_are(folder):
    from dataclasses import replace

    from MedDeepLib.data.slots import Case, Source

    now = context(folder)
    for value in ("benign", "malignant"):
        case = Case("a", {"age": Source("value", value=3.5)}, {"class": Source("class", value=value)}, ("P",))
        now.dataset = replace(now.dataset, training=(case,), validation=(), shared={})
        content = data_content(now)
        assert content["training"][0]["targets"] == {"class": value}
        if value == "benign":
            before = content
    assert re.search(r"The class of the training case 'a'", difference(before, now))
