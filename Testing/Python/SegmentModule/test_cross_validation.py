"""Cross-validation through the worker: every patient is evaluated unseen, and an interruption changes nothing."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import toy_cases
from MedDeepLib.bundles.model import open_model
from MedDeepLib.bundles.saving import patient_code
from MedDeepLib.data.sources.image import read_image, write_image
from MedDeepLib.jobs import Job, JobFolder, State, launch

CPU = {"device": "cpu", "threads": 1}
QUICK = toy_cases.TRAINING | {"steps": 48, "patch_size": [24, 24, 16], "validate_every": 8}
TABLES = ("metrics.csv", "metrics.summary.csv", "metrics.sites.csv", "metrics.folds.csv")


def cohort(folder: Path, sites=("Basel", "Bern"), cases: int = 7, **changes) -> Path:
    """A dataset.json whose last case is a test case; sites alternate, and Bern has larger voxels."""
    entries = []
    for number in range(cases):
        image, label = toy_cases.toy_image(number)
        site = sites[number % len(sites)]
        affine = toy_cases.toy_affine((2.2, 2.2, 2.5) if site == "Bern" else toy_cases.SPACING)
        write_image(folder / f"image{number}.nii.gz", image, affine)
        write_image(folder / f"label{number}.nii.gz", label, affine)
        entry = {"image": f"image{number}.nii.gz", "label": f"label{number}.nii.gz", "patient": f"P{number}"}
        entries.append(entry | ({"site": site} if site else {}))
    content = {"name": "balls", "labels": toy_cases.CLASSES, "channels": ["MR"], "training": entries[:-2]}
    content |= {"validation": entries[-2:-1], "test": entries[-1:]}
    file = folder / "cohort.json"
    file.write_text(json.dumps(content | changes), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return cohort(tmp_path_factory.mktemp("cohort"))


def request(dataset: Path, folds: str = "3", **parameters) -> Job:
    parameters = QUICK | parameters
    return Job("segment", "crossvalidate", "unet", parameters, dataset=str(dataset), folds=folds, seed=3, **CPU)


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def weights(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "model/models/model.pt", weights_only=True)


def wait_for(running, reached) -> None:
    deadline = time.monotonic() + 120
    while not reached(running.folder.latest_progress() or {}):
        assert running.is_running() and time.monotonic() < deadline, running.folder.events()[-3:]
        time.sleep(0.01)


def is_training(fold: int, step: int):
    """True once the fold's training has passed a step."""
    return lambda progress: progress.get("fold") == fold and "stage" in progress and progress["step"] > step


@pytest.fixture(scope="module")
def undisturbed(dataset, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    code, events = toy_cases.run_job(folder, request(dataset))
    assert code == 0, events[-1]
    return folder


def test_every_patient_is_evaluated_by_a_network_that_was_not_trained_on_them(undisturbed):
    found = rows(undisturbed / "metrics.csv")
    assert list(found[0])[:5] == ["fold", "case", "patient", "site", "structure"]
    judged = sorted((row["patient"], row["structure"]) for row in found)
    assert judged == [(f"P{n}", name) for n in range(6) for name in ("bright ball", "dark ball")], "P6 is left alone"
    for number in (1, 2, 3):
        held_out = {row["patient"] for row in found if row["fold"] == f"fold {number}"}
        sites = {row["site"] for row in found if row["fold"] == f"fold {number}"}
        assert len(held_out) == 2 and sites == {"Basel", "Bern"}
        model = open_model(undisturbed / f"fold_{number}", "segment")
        known = model.metadata["training_data"]
        codes = {patient_code(f"P{n}", known["salt"]): f"P{n}" for n in range(7)}
        assert {codes[code] for code in known["patients"]} == {f"P{n}" for n in range(6)} - held_out
        assert (undisturbed / f"fold_{number}" / "parameters.json").exists()
        assert not list((undisturbed / f"fold_{number}").glob("*.pt")), "what nobody needs any more"


def test_the_tables(undisturbed):
    result = JobFolder(undisturbed).result()
    assert result["report"] == str(undisturbed / "metrics.csv")
    assert [line["patients"] for line in result["summary"]] == [6, 6, 6]
    assert 0.4 < result["summary"][2]["dice_low"] < result["summary"][2]["dice"] < result["summary"][2]["dice_high"]
    assert {line["site"]: line["patients"] for line in result["sites"]} == {"Basel": 3, "Bern": 3}
    assert [line["fold"] for line in result["folds"][::3]] == ["fold 1", "fold 2", "fold 3"]
    found = rows(undisturbed / "metrics.csv")
    dice = {row["patient"]: [] for row in found}
    for row in found:
        dice[row["patient"]].append(float(row["dice"]))
    means = [sum(values) / 2 for values in dice.values()]
    assert result["summary"][2]["dice"] == pytest.approx(sum(means) / 6, abs=1e-4)


def test_events_tell_the_fold_and_how_far_the_whole_is(undisturbed):
    events = JobFolder(undisturbed).events()
    phases = [event["phase"] for event in events if event["event"] == "phase"]
    assert "Fold 2 of 3: Training: unet" in phases and "Fold 3 of 3: Saving the model" in phases
    stages = list(dict.fromkeys(event["stage"] for event in events if event["event"] == "metrics"))
    assert stages == ["fold 1, unet", "fold 2, unet", "fold 3, unet"]
    messages = [event["message"] for event in events if event["event"] == "message"]
    assert any(m.startswith("Fold 1 of 3: mean dice 0.") and m.endswith(" over 2 patients held out.") for m in messages)
    progress = [event for event in events if event["event"] == "progress"]
    assert all(event["folds"] == 3 for event in progress)
    overall = [event["overall"] for event in progress]
    assert overall == sorted(overall) and overall[0] == 0 and 0.95 < overall[-1] <= 1
    half = next(event for event in progress if event["fold"] == 2 and event["step"] >= 24 and "stage" in event)
    assert 1.4 / 3 < half["overall"] < 2 / 3 and half["remaining"] > 0


@pytest.mark.slow
def test_stopped_and_killed_in_the_second_fold_it_comes_to_the_same_report(undisturbed, dataset, tmp_path):
    folder = JobFolder.create(tmp_path / "run", request(dataset))
    running = launch(folder)
    wait_for(running, is_training(2, 1))
    running.stop()
    assert running.wait(timeout=60) == 130 and folder.state() is State.STOPPED
    assert folder.can_resume() and not (folder.path / "fold_3").exists()
    first = (folder.fold(1).result_file.read_bytes(), folder.fold(1).result_file.stat().st_mtime_ns)
    stopped_at = folder.latest_progress()["step"]

    running = launch(folder)
    wait_for(running, is_training(2, 24))
    begun = next(event for event in folder.events()[::-1] if event["event"] == "phase")["phase"]
    running.kill()
    assert folder.state() is State.FAILED and folder.can_resume(), begun
    resumed = folder.events()
    steps = [e["step"] for e in resumed if e["event"] == "metrics" and e["stage"] == "fold 2, unet"]
    assert steps[0] <= stopped_at and not any(b < a for a, b in zip(steps, steps[1:], strict=False)), "it went on"

    running = launch(folder)
    assert running.wait(timeout=200) == 0, folder.log_file.read_text(encoding="utf-8")
    assert (folder.fold(1).result_file.read_bytes(), folder.fold(1).result_file.stat().st_mtime_ns) == first
    for name in TABLES:
        assert (folder.path / name).read_bytes() == (undisturbed / name).read_bytes(), name
    for name in ("summary", "sites", "folds"):
        assert folder.result()[name] == JobFolder(undisturbed).result()[name], "to the last digit"
    for number in (1, 2, 3):
        found, expected = weights(folder.path / f"fold_{number}"), weights(undisturbed / f"fold_{number}")
        assert all(torch.equal(found[key], expected[key]) for key in expected)


@pytest.fixture
def interrupted(undisturbed, tmp_path) -> JobFolder:
    """The uninterrupted run, as if it had been killed before it wrote its report."""
    shutil.copytree(undisturbed, tmp_path / "run")
    folder = JobFolder(tmp_path / "run")
    for file in (folder.result_file, folder.worker_file, *(folder.path / name for name in TABLES)):
        file.unlink()
    return folder


def test_folds_that_are_done_are_not_done_again(interrupted, undisturbed, segment):
    code, out, errors = segment("crossvalidate", "--resume", interrupted.path)
    assert code == 0, errors
    assert "Training" not in out and "all structures  6" in out and "site   patients  dice (minus pooled)" in out
    for name in TABLES:
        assert (interrupted.path / name).read_bytes() == (undisturbed / name).read_bytes()


def test_other_folds_than_those_it_began_with_are_refused(interrupted, tmp_path, segment):
    content = json.loads(interrupted.job_file.read_text(encoding="utf-8"))
    other = cohort(tmp_path, cases=8)
    interrupted.job_file.write_text(json.dumps(content | {"dataset": str(other)}), encoding="utf-8")
    code, _, errors = segment("crossvalidate", "--resume", interrupted.path)
    assert code == 2 and "The dataset of this cross-validation changed after it began" in errors
    interrupted.job_file.write_text(json.dumps(content | {"seed": 4}), encoding="utf-8")
    interrupted.worker_file.unlink()
    code, _, errors = segment("crossvalidate", "--resume", interrupted.path)
    assert code == 2 and "The settings of this cross-validation changed after it began" in errors
    assert interrupted.can_resume() or interrupted.worker_alive()


def test_one_action_does_not_resume_the_other(interrupted, segment):
    code, _, errors = segment("train", "--resume", interrupted.path)
    assert code == 2 and "was begun with crossvalidate: continue it with crossvalidate --resume." in errors


@pytest.mark.slow
@pytest.mark.slow
def test_leaving_one_site_out(tmp_path, segment):
    """Both networks learn, each is evaluated on the other site, and that site does not influence its voxel size."""
    settings = [f"{key}={json.dumps(value).strip('[]')}" for key, value in toy_cases.TRAINING.items()]
    flags = [argument for setting in settings for argument in ("--set", setting.replace('"', ""))]
    where = ("--dataset", cohort(tmp_path, cases=9), "--output", tmp_path / "run", "--device", "cpu")
    code, out, errors = segment("crossvalidate", "--by-site", "--method", "unet", "--seed", 3, *where, *flags)
    assert code == 0, errors
    assert "Fold 1 of 2, Basel held out: Training: unet" in out
    run = tmp_path / "run"
    found = rows(run / "metrics.csv")
    assert {(row["fold"], row["site"]) for row in found} == {("Basel", "Basel"), ("Bern", "Bern")}
    summary = {line["structure"]: line for line in JobFolder(run).result()["summary"]}
    assert summary["all structures"]["dice"] > 0.5, "three cases to learn from; untrained it is below 0.1"
    spacing = [
        json.loads((run / f"fold_{n}" / "parameters.json").read_text(encoding="utf-8"))["used"]["spacing"]
        for n in (1, 2)
    ]
    assert spacing == [pytest.approx([2.2, 2.2, 2.5]), pytest.approx([2.0, 2.0, 2.5])]
    sites = rows(run / "metrics.sites.csv")
    assert [line["site"] for line in sites] == ["Basel"] * 3 + ["Bern"] * 3
    pooled = summary["bright ball"]["dice"]
    assert float(sites[0]["dice_minus_pooled"]) == pytest.approx(float(sites[0]["dice"]) - pooled, abs=2e-4)
    lines = out[out.index("site   patients") :].splitlines()
    assert lines[1].split()[:2] == ["Basel", "4"] and lines[2].split()[:2] == ["Bern", "4"]
    # The model of a fold is a model like any other.
    image = tmp_path / "image8.nii.gz"
    code, _, errors = segment("apply", "--model", run / "fold_1", "--input", image, "--output", tmp_path / "o.seg.nrrd")
    assert code == 0, errors


@pytest.mark.parametrize(
    "folds, changes, words",
    [
        (("--folds", "7"), {}, "7 folds cannot be made of the 6 patients"),
        (("--folds", "1"), {}, "must be a number of at least 2"),
        (("--folds", "many"), {}, "must be a number of at least 2"),
        (("--by-site",), {"sites": ("",)}, "The case image0 has no site"),
        (("--by-site",), {"sites": ("Bern",)}, "come from one site (Bern)"),
        ((), {"training": [{"image": "image0.nii.gz"}], "validation": []}, "The case image0 has no label"),
        ((), {"training": [], "validation": []}, "has no training cases"),
    ],
)
def test_what_cannot_be_cross_validated(refused, tmp_path, folds, changes, words):
    where = ("--dataset", cohort(tmp_path, **changes), "--method", "unet", "--output", tmp_path / "run")
    assert words in refused("crossvalidate", *where, "--device", "cpu", *folds)


def test_a_label_that_cannot_be_learnt_from_leaves_nothing_behind(refused, tmp_path):
    file = cohort(tmp_path)
    for number in range(6):
        image = read_image(tmp_path / f"image{number}.nii.gz")
        write_image(tmp_path / f"label{number}.nii.gz", (image.array[0] * 0).astype("uint8"), image.affine)
    sentence = refused("crossvalidate", "--dataset", file, "--method", "unet", "--output", tmp_path / "run")
    assert "The labels of all 3 training cases are empty" in sentence


@pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")
def test_ctrl_c_saves_and_says_how_to_go_on(dataset, tmp_path):
    script = Path(__file__).resolve().parents[3] / "SegmentModule" / "Scripts" / "segment.py"
    run = tmp_path / "run"
    arguments = ["crossvalidate", "--dataset", dataset, "--method", "unet", "--folds", "2", "--output", run]
    flags = ["--set", "patch_size=16,16,16", "--set", "features=4,8,8", "--device", "cpu", "--threads", "1"]
    process = subprocess.Popen(
        [sys.executable, str(script), *map(str, arguments), *flags],
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 120
    while not is_training(1, 1)(JobFolder(run).latest_progress() or {}):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Saving and stopping" in out and f"To resume: crossvalidate --resume {run}" in out
    assert JobFolder(run).state() is State.STOPPED and JobFolder(run).can_resume()


def test_help(segment):
    code, out, _ = segment("crossvalidate", "--help")
    words = " ".join(out.split())
    assert code == 0
    assert all(word in words for word in ("--folds NUMBER", "--by-site", "--resume RUN", "95 % intervals", "unet"))
    code, _, errors = segment("crossvalidate", "--dataset", "x", "--method", "unet")
    assert code == 2 and "crossvalidate needs --output (or --resume RUN)." in errors
    code, _, errors = segment("crossvalidate", "--resume", "x", "--folds", "3")
    assert code == 2 and "leave out --folds" in errors
