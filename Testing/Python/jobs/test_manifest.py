"""The manifest holds everything that the weights depend on but no names; the training can be repeated from it."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest
import torch
from fault_tools import identical, training_job
from MedDeepLib.data import fingerprints
from MedDeepLib.data.fingerprints import fingerprint
from MedDeepLib.data.sources.image import write_image
from MedDeepLib.jobs import JobFolder, manifest
from MedDeepLib.jobs.events import EventReader
from MedDeepLib.jobs.manifest import differences, prepare_repeat, source_fingerprint, weights_fingerprint
from toy_cases import failure, run_job, run_worker, toy_affine, toy_image

SHA256 = re.compile(r"[0-9a-f]{64}")


@pytest.fixture(scope="module")
def data(toy_dataset, tmp_path_factory) -> Path:
    """This file's own copy of the toy dataset, which tests may change and restore."""
    folder = tmp_path_factory.mktemp("data") / "toy"
    shutil.copytree(toy_dataset.parent, folder)
    return folder / "dataset.json"


@pytest.fixture(scope="module")
def run(data, tmp_path_factory) -> Path:
    """A finished training whose number of threads and voxel spacing were chosen automatically."""
    folder = tmp_path_factory.mktemp("run") / "first"
    code, events = run_job(folder, training_job(data, seed=7, threads=0))
    assert code == 0, events[-1]
    return folder


@pytest.fixture
def changed_label(data):
    """The label of the third training case with one more voxel; restored afterwards."""
    file = data.parent / "label2.nii.gz"
    before = file.read_bytes()
    _, label = toy_image(2)
    label[0, 0, 0] = 1
    write_image(file, label, toy_affine())
    yield file
    file.write_bytes(before)


def content_of(run: Path) -> dict:
    return json.loads((run / "manifest.json").read_text(encoding="utf-8"))


def rewrite(run: Path, **changes) -> None:
    (run / "manifest.json").write_text(json.dumps(content_of(run) | changes), encoding="utf-8")


def verdict(folder: Path) -> dict:
    return [event for event in EventReader(folder / "events.jsonl").read() if "identical" in event][-1]


def warnings_in(folder: Path) -> list[str]:
    events = EventReader(folder / "events.jsonl").read()
    return [event["message"] for event in events if event["event"] == "warning" and "has changed" in event["message"]]


# --- its content ------------------------------------------------------------------------------------------------------


def test_it_holds_all_that_the_weights_depend_on(run, data):
    content = content_of(run)
    used = json.loads((run / "parameters.json").read_text(encoding="utf-8"))["used"]
    assert content["parameters"] == used and used["spacing"] == [2.0, 2.0, 2.5], "also what was left to the data"
    resources = json.loads((run / "resources.json").read_text(encoding="utf-8"))
    assert content["device"]["id"] == resources["device"] == "cpu"
    assert content["device"]["threads"] == resources["threads"] >= 1
    assert (content["task"], content["method"], content["seed"]) == ("segment", "unet", 7)
    assert content["packages"]["torch"] == torch.__version__ and all(content["packages"].values())
    assert SHA256.fullmatch(content["code"]["sources"])
    assert [len(content["data"][split]) for split in ("training", "validation")] == [4, 1]
    assert content["data"]["training"][0]["inputs"] == {"image": [fingerprint(data.parent / "image0.nii.gz")]}
    assert content["data"]["validation"][0]["targets"] == {"label": [fingerprint(data.parent / "label4.nii.gz")]}
    assert content["began"] <= content["ended"] and content["resumed"] == []
    weights = torch.load(run / "model" / "models" / "model.pt", weights_only=True)
    assert content["weights"] == weights_fingerprint({"network": weights}), "those of the model that was saved"


def test_it_names_nobody(run, data):
    text = (run / "manifest.json").read_text(encoding="utf-8")
    for name in ("P0", "image0", "label0", str(data.parent), "balls"):
        assert name not in text


def test_every_file_is_read_for_it_once(data, tmp_path, monkeypatch):
    read = Counter()
    original = fingerprints.file_hash
    monkeypatch.setattr(fingerprints, "_known", {})
    monkeypatch.setattr(fingerprints, "file_hash", lambda file: read.update([file.name]) or original(file))
    code, events = run_job(tmp_path / "run", training_job(data, steps=1))
    assert code == 0, events[-1]
    assert len(read) == 10 and set(read.values()) == {1}, "also for the model's own list, and no test case"
    model = json.loads((tmp_path / "run" / "model" / "configs" / "metadata.json").read_text(encoding="utf-8"))
    entries = [case for split in content_of(tmp_path / "run")["data"].values() for case in split]
    hashes = sorted(value for case in entries for value in (*case["inputs"]["image"], *case["targets"]["label"]))
    assert model["meddeep"]["training_data"]["sha256"] == hashes


def test_it_is_there_while_the_training_runs(data, tmp_path, monkeypatch):
    from MedDeepLib.training import engine

    seen = []

    def look(stages, context, identity):
        seen.append(content_of(tmp_path / "run"))
        return original(stages, context, identity)

    original = engine.train
    monkeypatch.setattr(engine, "train", look)
    assert run_job(tmp_path / "run", training_job(data, steps=1))[0] == 0
    assert seen[0]["ended"] is None and seen[0]["weights"] is None and seen[0]["data"]["training"]


# --- repeated ---------------------------------------------------------------------------------------------------------


def test_repeated_it_ends_with_the_same_weights_and_says_so(segment, run, tmp_path):
    code, out, errors = segment("train", "--repeat", run, "--output", tmp_path / "again")
    assert code == 0, errors
    assert f"The weights are identical to the last bit to those of {run}." in out
    assert verdict(tmp_path / "again")["identical"] is True and warnings_in(tmp_path / "again") == []
    assert identical(run, tmp_path / "again")
    first, second = content_of(run), content_of(tmp_path / "again")
    assert {**second, "began": 0, "ended": 0} == {**first, "began": 0, "ended": 0}
    assert segment("train", "--repeat", tmp_path / "again", "--output", tmp_path / "third")[0] == 0, "a repeat as well"


def test_different_weights_are_reported_and_are_no_failure(segment, run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    rewrite(copy, weights="0" * 64)
    code, out, _ = segment("train", "--repeat", copy, "--output", tmp_path / "again")
    assert code == 0 and f"The weights are not identical to those of {copy}." in out
    assert verdict(tmp_path / "again")["identical"] is False


def test_other_data_are_refused_and_nothing_is_left(segment, run, tmp_path, changed_label):
    code, _, errors = segment("train", "--repeat", run, "--output", tmp_path / "again")
    assert code == 2
    assert f"The label of the training case 'image2' is not the one that {run} was trained with" in errors
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda cases: cases.pop(), "The dataset has 3 training cases, not the 4 that"),
        (lambda cases: cases.reverse(), "The image of the training case 'image3' is not the one that"),
        (lambda cases: cases[0].update(patient="Z"), "The place in the list of the training case"),
    ],
)
def test_another_list_is_refused(segment, run, data, tmp_path, change, words):
    other = shutil.copytree(data.parent, tmp_path / "data") / "dataset.json"
    content = json.loads(other.read_text(encoding="utf-8"))
    change(content["training"])
    other.write_text(json.dumps(content), encoding="utf-8")
    code, _, errors = segment("train", "--repeat", run, "--output", tmp_path / "again", "--dataset", other)
    assert code == 2 and words in errors


def test_data_that_have_moved(segment, run, data, tmp_path):
    elsewhere = shutil.copytree(data.parent, tmp_path / "moved") / "dataset.json"
    code, out, _ = segment("train", "--repeat", run, "--output", tmp_path / "again", "--dataset", elsewhere)
    assert code == 0 and "identical to the last bit" in out


def test_another_environment_is_a_warning_that_names_what_has_changed(segment, run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    content = content_of(copy)
    content["packages"]["torch"] = "1.0"
    content["code"]["sources"] = "f" * 64
    content["device"]["name"] = "Abacus"
    rewrite(copy, **content)
    code, _, errors = segment("train", "--repeat", copy, "--output", tmp_path / "again")
    assert code == 0
    (sentence,) = warnings_in(tmp_path / "again")
    assert sentence in errors and f"torch {torch.__version__} instead of 1.0" in sentence
    assert "(sources ffffffff)" in sentence and "instead of Abacus" in sentence


def test_another_dtype_is_reported_and_older_manifests_count_as_float32(run):
    content = content_of(run)
    assert content["device"]["automatic precision"] in ("float32", "bfloat16")
    now = content | {"device": content["device"] | {"automatic precision": "bfloat16"}}
    before = {name: value for name, value in content["device"].items() if name != "automatic precision"}
    assert differences(content | {"device": before}, now) == ["device automatic precision bfloat16 instead of float32"]


def test_decided_parameters_are_not_decided_again(run, tmp_path):
    folder = prepare_repeat(run, tmp_path / "again")
    job, content = folder.job(), content_of(run)
    assert job.parameters == content["parameters"] and job.seed == 7
    assert (job.device, job.threads) == ("cpu", content["device"]["threads"])


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--method", "unet"], "leave out --method"),
        (["--set", "steps=3"], "leave out --set"),
        (["--threads", "2"], "leave out --threads"),
        (["--device", "cpu"], "leave out --device"),
        (["--resume", "x"], "leave out --resume"),
    ],
)
def test_a_repeat_takes_no_settings(segment, run, tmp_path, arguments, words):
    code, _, errors = segment("train", "--repeat", run, "--output", tmp_path / "again", *arguments)
    assert code == 2 and words in errors and not (tmp_path / "again").exists()


def test_what_cannot_be_repeated(segment, run, tmp_path):
    def refused(folder: Path) -> str:
        code, _, errors = segment("train", "--repeat", folder, "--output", tmp_path / "again")
        assert code == 2 and not (tmp_path / "again").exists()
        return errors

    assert "holds no run" in refused(tmp_path / "nowhere")
    copy = shutil.copytree(run, tmp_path / "copy")
    rewrite(copy, weights=None)
    assert "has not finished: resume it before repeating it" in refused(copy)
    rewrite(copy, version=99)
    assert "has another version" in refused(copy)
    (copy / "manifest.json").write_text("{", encoding="utf-8")
    assert "has no manifest.json that can be read" in refused(copy)
    assert "--repeat needs --output" in segment("train", "--repeat", run)[2]
    assert "already holds a job" in segment("train", "--repeat", run, "--output", run)[2]


# --- resumed ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def interrupted(data, tmp_path, monkeypatch) -> Path:
    """A training that ran out of disk at its third checkpoint."""
    original, calls = torch.save, [0]

    def full_at_the_third(content, file, *arguments, **options):
        calls[0] += 1
        if calls[0] == 3:
            raise OSError(28, "No space left on device")
        return original(content, file, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full_at_the_third)
        assert run_job(tmp_path / "run", training_job(data, seed=7, threads=0))[0] == 2
    assert list((tmp_path / "run").glob("checkpoint*.pt"))
    return tmp_path / "run"


def test_each_resume_is_written_down(interrupted, run):
    began = content_of(interrupted)["began"]
    assert run_worker(interrupted) == 0
    content = content_of(interrupted)
    assert content["began"] == began and content["ended"] and content["weights"] == content_of(run)["weights"]
    assert [entry["changed"] for entry in content["resumed"]] == [[]] and content["resumed"][0]["time"] >= began


def test_data_that_changed_in_between_are_refused(interrupted, changed_label):
    assert run_worker(interrupted) == 2
    events = EventReader(interrupted / "events.jsonl").read()
    assert failure(events[-5:]) == (
        "The label of the training case 'image2' is not the one that this training began with: put the data back as "
        "they were, or train in another folder."
    )


def test_packages_that_changed_in_between_are_a_warning(interrupted):
    rewrite(interrupted, python="3.0.0")
    assert run_worker(interrupted) == 0
    (sentence,) = warnings_in(interrupted)
    assert sentence.startswith("Since this training began, something has changed") and "instead of 3.0.0" in sentence
    assert len(content_of(interrupted)["resumed"][0]["changed"]) == 1


@pytest.mark.parametrize("damage", ["", "{", "[]"])
def test_without_a_manifest_a_training_goes_on(interrupted, damage):
    """It was started by an older version, or the file is damaged."""
    (interrupted / "manifest.json").write_text(damage, encoding="utf-8")
    assert run_worker(interrupted) == 0 and content_of(interrupted)["weights"]


# --- fingerprints -----------------------------------------------------------------------------------------------------


def test_files_that_belong_together_have_one_fingerprint(tmp_path):
    for name in ("b.dcm", "a.dcm"):
        (tmp_path / name).write_bytes(name.encode())
    before = fingerprint(tmp_path)
    renamed = shutil.copytree(tmp_path, tmp_path.with_name("anna"))
    assert fingerprint(renamed) == before, "names do not count, their order does"
    (renamed / "a.dcm").write_bytes(b"other")
    assert fingerprint(renamed) != before
    (renamed / "a.dcm").rename(renamed / "c.dcm")
    (renamed / "c.dcm").write_bytes(b"a.dcm")
    assert fingerprint(renamed) != before


@pytest.mark.parametrize(
    "name, header",
    [
        ("i.nhdr", "NRRD0004\ntype: short\ndata file: i.raw\n"),
        ("i.nhdr", "NRRD0004\ntype: short\ndatafile: LIST\ni.raw\n"),
        ("i.nhdr", "NRRD0004\ntype: short\ndata file: %s.raw 1 3 1\n".replace("%s", "i%02d")),
        ("i.mhd", "NDims = 3\r\nElementDataFile = i.raw\r\n"),
        ("i.mhd", "NDims = 3\nElementDataFile = LIST\ni01.raw\ni02.raw\n"),
    ],
)
def test_separate_data_count(tmp_path, name, header):
    (tmp_path / name).write_bytes(header.encode())
    for raw in ("i.raw", "i01.raw", "i02.raw"):
        (tmp_path / raw).write_bytes(b"voxels")
    before = fingerprint(tmp_path / name)
    for raw in ("i.raw", "i01.raw", "i02.raw"):
        (tmp_path / raw).write_bytes(b"other voxels")
    assert fingerprint(tmp_path / name) != before


def test_a_header_alone_is_enough(tmp_path):
    for name, text in (
        ("a.nhdr", "NRRD0004\n"),
        ("b.mhd", "ElementDataFile = LOCAL\n"),
        ("c.nhdr", "data file: x.raw\n"),
    ):
        (tmp_path / name).write_text(text, encoding="utf-8")
        assert SHA256.fullmatch(fingerprint(tmp_path / name))


def test_a_changed_file_is_read_again(tmp_path):
    file = tmp_path / "i.nrrd"
    file.write_bytes(b"one")
    first = fingerprint(file)
    file.write_bytes(b"other")
    assert fingerprint(file) != first


def test_a_changed_source_is_recognised_whatever_its_line_ends(tmp_path, monkeypatch):
    package = tmp_path / "package_of_the_test"
    package.mkdir()
    (package / "__init__.py").write_bytes(b"a = 1\nb = 2\n")
    monkeypatch.syspath_prepend(tmp_path)
    before = source_fingerprint(["package_of_the_test"])
    (package / "__init__.py").write_bytes(b"a = 1\r\nb = 2\r\n")
    assert source_fingerprint(["package_of_the_test"]) == before
    (package / "new.py").touch()
    assert source_fingerprint(["package_of_the_test"]) != before


def test_the_source_of_a_method_of_ones_own_counts_but_not_what_lies_beside_it(tmp_path, monkeypatch):
    file = tmp_path / "module_of_the_test.py"
    file.write_text("a = 1", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    before = source_fingerprint(["module_of_the_test"])
    (tmp_path / "beside.py").touch()
    assert source_fingerprint(["module_of_the_test"]) == before
    file.write_text("a = 2", encoding="utf-8")
    assert source_fingerprint(["module_of_the_test"]) != before


def test_weights_count_to_the_last_bit_but_not_their_order():
    first = {"net": {"a": torch.zeros(3), "b": torch.ones(2, dtype=torch.bfloat16), "n": torch.tensor(5)}}
    same = {"net": dict(reversed(first["net"].items()))}
    other = {"net": {**first["net"], "a": torch.tensor([0.0, 0.0, -0.0])}}
    assert weights_fingerprint(first) == weights_fingerprint(same) != weights_fingerprint(other)
    assert weights_fingerprint({"x": first["net"]}) != weights_fingerprint(first)
    assert manifest.VERSION == 2 and JobFolder("x").manifest_file.name == "manifest.json"
