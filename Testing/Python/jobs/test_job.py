"""job.json: validated before anything starts, versioned, read back as it was written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from MedDeepLib.core import ApplyItem
from MedDeepLib.data.slots import Source
from MedDeepLib.errors import UserError
from MedDeepLib.jobs import Job
from MedDeepLib.jobs.job import SCHEMA_VERSION

TRAIN = {"task": "segment", "action": "train", "method": "unet", "dataset": "list.json"}
FOLDS = TRAIN | {"action": "crossvalidate", "folds": "5"}
PAIR = {"task": "register", "action": "apply", "model": "global"}
TWO_FILES = Source("transform", (Path("a.h5"), Path("b.h5")))
APPLY = {"task": "segment", "action": "apply", "model": "run"}
EVALUATE = {"task": "segment", "action": "evaluate", "model": "run", "dataset": "list.json"}


def item(output: str = "out.seg.nrrd", *images: str) -> ApplyItem:
    files = tuple(map(Path, images or ("in.nrrd",)))
    return ApplyItem({"image": Source("image", files)}, {"segmentation": output})


def pair() -> ApplyItem:
    images = {side: Source("image", (Path(f"{side}.nrrd"),)) for side in ("fixed", "moving")}
    return ApplyItem(images, {"transform": "t.h5", "volume": "v.nrrd"})


def saved(path, **changes):
    """A job file with some entries changed; None leaves an entry out."""
    Job(**TRAIN).save(path)
    content = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "job",
    [
        Job(**TRAIN, parameters={"steps": 5, "features": [4, 8, 8], "patch_size": "16,16,16"}, seed=2**31 - 1),
        Job(**APPLY, items=(item("a.seg.nrrd", "1.nrrd", "2.nrrd"), item("ä b.nii")), threads=3, device="cuda:1"),
        Job(**PAIR, items=(pair(),)),
        Job(**EVALUATE, report="report.csv"),
        Job(**FOLDS, parameters={"steps": 5}),
        Job(**FOLDS | {"folds": "site"}),
    ],
)
def test_a_job_comes_back_as_it_was_written(tmp_path, job):
    job.save(tmp_path / "job.json")
    assert Job.load(tmp_path / "job.json") == job


@pytest.mark.parametrize(
    "job, words",
    [
        (
            Job(**TRAIN | {"action": "learn"}),
            "There is no action 'learn': use train, plan, apply, cohort, evaluate, crossvalidate.",
        ),
        (Job(**TRAIN | {"task": "knit"}), "There is no task 'knit'"),
        (Job(**TRAIN | {"method": "wnet"}), "There is no method 'wnet'"),
        (Job(**TRAIN | {"dataset": ""}), "Training needs a dataset"),
        (Job(**TRAIN, parameters={"stepps": 3}), "There is no parameter 'stepps'"),
        (Job(**TRAIN, parameters={"steps": 0}), "Parameter 'steps' must be at least 1"),
        (
            Job(**TRAIN | {"method": "segresnet"}, parameters={"patch_size": [30, 30, 30]}),
            "patch_size must be multiples of",
        ),
        (Job(**TRAIN, device="gpu"), "'gpu' is not a device"),
        (Job(**TRAIN, seed=-1), "The seed must be from 0"),
        (Job(**TRAIN, seed=2**31), "The seed must be from 0"),
        (Job(**TRAIN, threads=-1), "The number of threads must be 0 (a share of the cores) or more, not -1."),
        (Job(**APPLY | {"model": ""}, items=(item(),)), "Applying needs a model"),
        (Job(**APPLY), "Applying needs at least one case"),
        (Job(**APPLY, items=(ApplyItem({}, {"segmentation": "out.nrrd"}),)), "Applying needs the input 'image'"),
        (Job(**APPLY, items=(item(""),)), "Applying needs a file to write for the output 'segmentation'"),
        (Job(**APPLY, items=(ApplyItem(item().inputs, {}),)), "Applying needs a file to write for the output"),
        (Job(**APPLY, items=(replace(item(), outputs=item().outputs | {"mask": "m"}),)), "There is no output 'mask'"),
        (Job(**PAIR, items=(replace(pair(), inputs={"fixed": pair().inputs["fixed"]}),)), "needs the input 'moving'"),
        (
            Job(**PAIR, items=(replace(pair(), inputs=pair().inputs | {"image": Source("image", (Path("a"),))}),)),
            "There is no input 'image' for this task: choose from fixed, moving, initial, labels.",
        ),
        (
            Job(**PAIR, items=(replace(pair(), inputs=pair().inputs | {"initial": TWO_FILES}),)),
            "The input 'initial' is one file, but 2 are named",
        ),
        (Job(**APPLY, items=(item("a.nrrd"), item("b.nrrd"), item("a.nrrd"))), "the same output a.nrrd"),
        (Job(**APPLY, items=(item("a.nrrd"), item("./x/../a.nrrd"))), "the same output"),
        (Job(**APPLY, items=(item("b.nrrd", "a.nrrd", "b.nrrd"),)), "would be overwritten"),
        (Job(**APPLY, items=(item("b.nrrd", "a.nrrd"), item("./a.nrrd", "c.nrrd"))), "would be overwritten"),
        (Job(**EVALUATE | {"model": ""}), "An evaluation needs a model"),
        (Job(**EVALUATE | {"dataset": ""}), "An evaluation needs a dataset"),
        (Job(**FOLDS | {"dataset": ""}), "Training needs a dataset"),
        (Job(**FOLDS, parameters={"stepps": 3}), "There is no parameter 'stepps'"),
        (Job(**FOLDS | {"folds": ""}), "must be a number of at least 2, or 'site' to leave out one site"),
        (Job(**FOLDS | {"folds": "1"}), "must be a number of at least 2"),
        (Job(**FOLDS | {"folds": "-3"}), "must be a number of at least 2"),
        (Job(**FOLDS | {"folds": "sites"}), "not 'sites'."),
    ],
)
def test_what_is_wrong_with_a_request(job, words):
    with pytest.raises(UserError) as caught:
        job.validate()
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"version": SCHEMA_VERSION + 1}, f"has version {SCHEMA_VERSION + 1}, this program reads version"),
        ({"version": None}, "has version None"),
        ({"speed": "high"}, "has an unknown entry 'speed'"),
        ({"task": None}, "lacks 'task'"),
        ({"task": 5}, "'task' must be text, not 5"),
        ({"folds": 5}, "'folds' must be text, not 5"),
        ({"seed": "1"}, "'seed' must be a whole number, not '1'"),
        ({"seed": True}, "'seed' must be a whole number, not True"),
        ({"parameters": []}, "'parameters' must be an object, not []"),
        ({"items": {}}, "'items' must be a list, not {}"),
        ({"items": ["a.nrrd"]}, "'items'"),
        ({"items": [{"inputs": {"image": ["a.nrrd"]}}]}, "'items'"),
        ({"items": [{"inputs": {"image": "a.nrrd"}, "outputs": {"segmentation": "b.nrrd"}}]}, "'items'"),
        ({"items": [{"inputs": {"image": [1]}, "outputs": {"segmentation": "b.nrrd"}}]}, "'items'"),
        ({"items": [{"inputs": {"image": ["a.nrrd"]}, "outputs": {"segmentation": 2}}]}, "'items'"),
        ({"items": [{"inputs": {"scan": ["a.nrrd"]}, "outputs": {}}]}, "there is no input 'scan'"),
        ({"items": ["a.nrrd"], "version": 1}, "'items'"),
        ({"items": [{"images": ["a.nrrd"]}], "version": 1}, "'items'"),
        ({"items": [{"images": "a.nrrd", "output": "b.nrrd"}], "version": 1}, "'items'"),
        ({"items": [{"images": [1], "output": "b.nrrd"}], "version": 1}, "'items'"),
        ({"items": [{"images": ["a.nrrd"], "output": 2}], "version": 1}, "'items'"),
        ({"items": [{"images": ["a.nrrd"], "output": "b", "inputs": []}], "version": 1}, "'items'"),
        ({"version": True}, "has version True"),
        ({"version": [1]}, "has version [1]"),
        ({"method": "wnet"}, "There is no method 'wnet'"),
    ],
)
def test_what_is_wrong_with_a_job_file(tmp_path, changes, words):
    with pytest.raises(UserError) as caught:
        Job.load(saved(tmp_path / "job.json", **changes))
    assert words in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[1]", "\xff"])
def test_what_is_no_job_file(tmp_path, text):
    file = tmp_path / "job.json"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match="The job file .* (is not valid JSON|must hold one JSON object)"):
        Job.load(file)


def test_a_missing_job_file(tmp_path):
    with pytest.raises(UserError, match="cannot be read: give the folder of a job"):
        Job.load(tmp_path / "job.json")


def test_titles_for_lists():
    assert Job(**TRAIN).title == "train unet" and Job(**FOLDS).title == "cross-validate unet"
    assert Job(**APPLY | {"model": "runs/lungs"}).title == "apply lungs"


SINCE_VERSION_1 = {"folds": "", "inputs": "", "output": "", "scheduler": "", "workers": 0, "report": "", "processes": 0}


def of_version_1(path, **content):
    """A job file as written before version 2."""
    file = {"parameters": {}, "dataset": "", "method": "", "model": "", "items": [], "device": "cpu", "seed": 0}
    more = {"threads": 0, "deterministic": False, "version": 1}
    path.write_text(json.dumps(file | SINCE_VERSION_1 | more | content, indent=2) + "\n", encoding="utf-8")
    return path


def test_a_segmentation_of_version_1(tmp_path):
    listed = {"images": ["t1.nrrd", "t2.nrrd"], "output": "a.seg.nrrd", "inputs": {}, "outputs": {}}
    job = Job.load(of_version_1(tmp_path / "job.json", **APPLY, items=[listed]))
    assert job == Job(**APPLY, items=(item("a.seg.nrrd", "t1.nrrd", "t2.nrrd"),), device="cpu")


def test_a_registration_of_version_1(tmp_path):
    listed = {
        "images": ["fixed.nrrd"],
        "output": "t.h5",
        "inputs": {"moving": ["moving.nrrd"], "initial": ["i.tfm"], "labels": ["l.seg.nrrd"]},
        "outputs": {"volume": "v.nrrd", "labels": "moved.seg.nrrd"},
    }
    (read,) = Job.load(of_version_1(tmp_path / "job.json", **PAIR, items=[listed])).items
    assert dict(read.inputs) == {
        "fixed": Source("image", (Path("fixed.nrrd"),)),
        "moving": Source("image", (Path("moving.nrrd"),)),
        "initial": Source("transform", (Path("i.tfm"),)),
        "labels": Source("labels", (Path("l.seg.nrrd"),)),
    }
    assert dict(read.outputs) == {"transform": "t.h5", "volume": "v.nrrd", "labels": "moved.seg.nrrd"}
    assert read.files_read == ("fixed.nrrd", "moving.nrrd", "i.tfm", "l.seg.nrrd")


def test_a_training_of_version_1_is_the_same_training(tmp_path):
    job = Job.load(of_version_1(tmp_path / "job.json", **TRAIN | {"parameters": {"steps": 5}}))
    assert job == Job(**TRAIN, parameters={"steps": 5}, device="cpu")
    job.save(tmp_path / "again.json")
    assert json.loads((tmp_path / "again.json").read_text(encoding="utf-8"))["version"] == SCHEMA_VERSION
    assert Job.load(tmp_path / "again.json") == job
