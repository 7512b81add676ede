"""job.json: validated before anything starts, versioned, read back as it was written."""

from __future__ import annotations

import json

import pytest
from MedDeepLib.errors import UserError
from MedDeepLib.jobs import Job
from MedDeepLib.jobs.job import SCHEMA_VERSION, ApplyItem

TRAIN = {"task": "segment", "action": "train", "method": "unet", "dataset": "list.json"}
FOLDS = TRAIN | {"action": "crossvalidate", "folds": "5"}
APPLY = {"task": "segment", "action": "apply", "model": "run"}
EVALUATE = {"task": "segment", "action": "evaluate", "model": "run", "dataset": "list.json"}


def item(output: str = "out.seg.nrrd", *images: str) -> ApplyItem:
    return ApplyItem(images or ("in.nrrd",), output)


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
        (Job(**APPLY), "Applying needs at least one input image"),
        (Job(**APPLY, items=(ApplyItem((), "out.nrrd"),)), "Applying needs at least one input image"),
        (Job(**APPLY, items=(item(""),)), "Applying needs at least one input image"),
        (Job(**APPLY, items=(item("a.nrrd"), item("b.nrrd"), item("a.nrrd"))), "the same output a.nrrd"),
        (Job(**APPLY, items=(item("a.nrrd"), item("./x/../a.nrrd"))), "the same output"),
        (Job(**APPLY, items=(item("b.nrrd", "a.nrrd", "b.nrrd"),)), "would be overwritten"),
        (Job(**APPLY, items=(item("b.nrrd", "a.nrrd"), item("./a.nrrd", "c.nrrd"))), "would be overwritten"),
        (Job(**EVALUATE | {"model": ""}), "An evaluation needs a model"),
        (Job(**EVALUATE | {"dataset": ""}), "An evaluation needs a dataset"),
        (Job(**FOLDS | {"dataset": ""}), "Training needs a dataset"),
        (Job(**FOLDS, parameters={"stepps": 3}), "There is no parameter 'stepps'"),
        (Job(**FOLDS | {"folds": ""}), "must be a number from 2 on, or 'site' to leave one site out"),
        (Job(**FOLDS | {"folds": "1"}), "must be a number from 2 on"),
        (Job(**FOLDS | {"folds": "-3"}), "must be a number from 2 on"),
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
        ({"items": [{"images": ["a.nrrd"]}]}, "'items'"),
        ({"items": [{"images": "a.nrrd", "output": "b.nrrd"}]}, "'items'"),
        ({"items": [{"images": [1], "output": "b.nrrd"}]}, "'items'"),
        ({"items": [{"images": ["a.nrrd"], "output": 2}]}, "'items'"),
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
