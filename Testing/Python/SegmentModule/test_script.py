"""Scripts/segment.py as users run it: in its own process, from any folder, with its own worker."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from MedDeepLib.data.sources.image import read_image, write_image
from MedDeepLib.data.sources.labels import read_segmentation
from MedDeepLib.jobs import JobFolder, State
from sample_images import dicom_slices, save_dicom
from toy_cases import toy_affine, toy_image, write_toy_dataset

SCRIPT = Path(__file__).resolve().parents[3] / "SegmentModule" / "Scripts" / "segment.py"
CPU = ("--device", "cpu", "--threads", "1")
QUICK = {
    "steps": 40,
    "batch_size": 1,
    "features": "4,8,8",
    "patch_size": "16,16,16",
    "resolution": "full",
    "validate_every": 15,
}


def start(*arguments, cwd) -> subprocess.Popen:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), *map(str, arguments)],
        cwd=cwd,
        env=environment | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


def segment(*arguments, cwd) -> tuple[int, str, str]:
    process = start(*arguments, cwd=cwd)
    out, errors = process.communicate(timeout=200)
    return process.returncode, out, errors


def training(dataset, run) -> list:
    flags = [argument for key, value in QUICK.items() for argument in ("--set", f"{key}={value}")]
    return ["train", "--dataset", dataset, "--method", "unet", "--output", run, "--seed", "5", *CPU, *flags]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "model" / "models" / "model.pt", weights_only=True)


def equal(first: Path, second: Path) -> bool:
    a, b = weights(first), weights(second)
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def dice(labels: np.ndarray, truth: np.ndarray) -> float:
    return float(np.mean([2 * ((labels == v) & (truth == v)).sum() / ((labels == v).sum() + (truth == v).sum())
                          for v in (1, 2)]))  # fmt: skip


def after_step(run: Path, step: int, process: subprocess.Popen) -> None:
    """Wait until the training in ``run`` has passed a step."""
    deadline = time.monotonic() + 120
    while ((JobFolder(run).latest_progress() or {}).get("stage") is None
           or JobFolder(run).latest_progress()["step"] < step):  # fmt: skip
        assert process.poll() is None and time.monotonic() < deadline, "it ended or hangs"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def undisturbed(toy_dataset, tmp_path_factory) -> Path:
    """The run of an uninterrupted training; started with a path relative to the working folder."""
    folder = tmp_path_factory.mktemp("undisturbed")
    code, out, errors = segment(*training(os.path.relpath(toy_dataset, folder), "runs/first"), cwd=folder)
    assert code == 0, errors
    assert out.rstrip().endswith("Done.")
    return folder / "runs" / "first"


def test_what_a_training_leaves(undisturbed):
    folder = JobFolder(undisturbed)
    assert folder.state() is State.DONE
    result = folder.result()
    assert result["model"] == "model" and result["figures"]["unet"]["steps"] == 40
    assert result["usage"]["device"] == "cpu" and result["usage"]["resident_bytes"] > 1e8


def begun_by_version_1(job_file: Path) -> None:
    """A training's job file as written before version 2: stopped by such a program, resumed by this one."""
    content = json.loads(job_file.read_text(encoding="utf-8"))
    assert content["version"] == 2 and content["items"] == []
    job_file.write_text(json.dumps(content | {"version": 1}, indent=2), encoding="utf-8")


@pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")
def test_ctrl_c_saves_and_the_run_goes_on_to_the_same_weights(
    undisturbed, toy_dataset, tmp_path, segment_in_process
):
    run = tmp_path / "run"
    process = start(*training(toy_dataset, run), cwd=tmp_path)
    after_step(run, 5, process)
    worker = psutil.Process(json.loads((run / "worker.json").read_text(encoding="utf-8"))["pid"])
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Saving and stopping" in out and f"train --resume {run}" in out
    assert not worker.is_running() and JobFolder(run).state() is State.STOPPED
    begun_by_version_1(run / "job.json")
    code, _, errors = segment_in_process("train", "--resume", run)
    assert code == 0, errors
    assert equal(run, undisturbed)


def test_a_killed_worker_is_told_and_the_run_goes_on_to_the_same_weights(
    undisturbed, toy_dataset, tmp_path, segment_in_process
):
    run = tmp_path / "run"
    process = start(*training(toy_dataset, run), cwd=tmp_path)
    after_step(run, 18, process)
    psutil.Process(json.loads((run / "worker.json").read_text(encoding="utf-8"))["pid"]).kill()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 3
    assert errors.splitlines()[-1].startswith("Error: The worker ended unexpectedly")
    assert JobFolder(run).state() is State.FAILED and JobFolder(run).can_resume()
    code, _, errors = segment_in_process("train", "--resume", run)
    assert code == 0, errors
    assert equal(run, undisturbed)


def test_apply_to_files_of_every_kind_and_a_dicom_folder_with_one_worker(
    toy_run, tmp_path, segment_in_process, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    voxels, truth = toy_image(9)
    for name in ("a.nrrd", "b.nii.gz", "c.mha", "d.1.nii"):
        write_image(tmp_path / name, voxels, toy_affine())
    whole = np.round(voxels).astype(np.int16)
    save_dicom(dicom_slices(whole, toy_affine()), tmp_path / "e.series")
    inputs = ["a.nrrd", "b.nii.gz", "c.mha", "d.1.nii", "e.series"]
    arguments = ("apply", "--model", toy_run, "--input", *inputs, "--output", "results/", *CPU)
    code, out, errors = segment_in_process(*arguments)
    assert code == 0, errors
    assert out.count("Loading the model") == 1
    names = ["a", "b", "c", "d.1", "e.series"]
    assert sorted(file.name for file in (tmp_path / "results").iterdir()) == [f"{name}.seg.nrrd" for name in names]
    for name, source in zip(names, inputs, strict=True):
        labels, affine, segments = read_segmentation(tmp_path / "results" / f"{name}.seg.nrrd")
        np.testing.assert_allclose(affine, read_image(tmp_path / source).affine, atol=1e-4)
        assert dice(labels, truth) > 0.8, name
        assert [segment.name for segment in segments] == ["bright ball", "dark ball"]


def test_evaluate(segment_in_process, toy_run, toy_dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ("evaluate", "--model", toy_run / "model", "--dataset", toy_dataset, "--output", "report.csv", *CPU)
    code, out, errors = segment_in_process(*arguments)
    assert code == 0, errors
    with (tmp_path / "report.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["patient"], row["structure"]) for row in rows] == [("P5", "bright ball"), ("P5", "dark ball")]
    assert all(float(row["dice"]) > 0.8 and float(row["hd95_mm"]) < 5 for row in rows)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["report.csv", "report.summary.csv"]
    printed = out[out.index("structure ") :].splitlines()
    assert printed[0].split() == ["structure", "patients", "dice", "hd95_mm", "assd_mm", "volume_error_percent"]
    assert [line.split("  ")[0] for line in printed[1:]] == ["bright ball", "dark ball", "all structures"]
    assert float(printed[1].split()[3]) == pytest.approx(float(rows[0]["dice"]), abs=1e-3)


def test_evaluate_compares_the_sites_of_a_dataset(segment_in_process, toy_run, tmp_path):
    entries = []
    for number, site in ((7, "Bern"), (8, "Basel"), (9, "Bern")):
        for name, array in zip(("image", "label"), toy_image(number), strict=True):
            write_image(tmp_path / f"{name}{number}.nrrd", array, toy_affine())
        entries.append({"image": f"image{number}.nrrd", "label": f"label{number}.nrrd", "site": site})
    file = tmp_path / "list.json"
    content = {"labels": {"1": "bright ball", "2": "dark ball"}, "channels": ["MR"], "test": entries}
    file.write_text(json.dumps(content), encoding="utf-8")
    report = tmp_path / "report.csv"
    code, out, errors = segment_in_process(
        "evaluate", "--model", toy_run, "--dataset", file, "--output", report, "--device", "cpu"
    )
    assert code == 0, errors
    with (tmp_path / "report.sites.csv").open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["structure"] == "all structures"]
    assert [(row["site"], row["patients"]) for row in rows] == [("Bern", "2"), ("Basel", "1")]
    printed = out[out.index("site   patients") :].splitlines()
    for row, line in zip(rows, printed[1:], strict=True):
        site, patients, mean, difference = line.split()[:4]
        assert (site, patients) == (row["site"], row["patients"])
        assert float(mean) == pytest.approx(float(row["dice"]), abs=1e-3)
        assert float(difference.strip("()")) == pytest.approx(float(row["dice_minus_pooled"]), abs=1e-3)


def test_two_channels_and_two_dimensions(segment_in_process, tmp_path):
    """A network for two-channel slices, where only the second channel shows the structures."""
    entries = []
    for number in range(3):
        voxels, label = toy_image(number)
        noise = np.random.default_rng(number).normal(0, 5, voxels.shape).astype(np.float32)
        for name, array in (("noise", noise), ("image", voxels), ("label", label)):
            write_image(tmp_path / f"{name}{number}.nrrd", array, toy_affine())
        entries.append({"image": [f"noise{number}.nrrd", f"image{number}.nrrd"], "label": f"label{number}.nrrd"})
    file = write_toy_dataset(tmp_path / "unused", cases=3)
    content = json.loads(file.read_text(encoding="utf-8"))
    file = tmp_path / "list.json"
    file.write_text(json.dumps(content | {"channels": ["noise", "MR"], "training": entries[:2],
                                          "validation": [], "test": []}), encoding="utf-8")  # fmt: skip
    settings = QUICK | {"steps": 100, "dimensions": 2, "patch_size": "32,32", "batch_size": 4, "learning_rate": 0.03}
    settings |= {"validation_fraction": 0, "elastic": 0, "intensity": 0.2, "features": "8,16,16"}
    flags = [argument for key, value in settings.items() for argument in ("--set", f"{key}={value}")]
    run = tmp_path / "run"
    code, _, errors = segment_in_process("train", "--dataset", file, "--method", "unet", "--output", run, *CPU, *flags)
    assert code == 0, errors
    images = (tmp_path / "noise2.nrrd", tmp_path / "image2.nrrd")
    apply = ("apply", "--model", run, "--output", tmp_path / "out.nii.gz", "--device", "cpu", "--input")
    assert segment_in_process(*apply, *images)[0] == 0
    labels, _, _ = read_segmentation(tmp_path / "out.nii.gz")
    assert dice(labels, toy_image(2)[1]) > 0.7
    code, _, errors = segment_in_process(*apply, images[1])
    assert code == 2 and "The model needs 2 input channels, but --input names 1" in errors


@pytest.fixture
def segment_in_process(segment):
    return segment


def test_bad_input_from_the_script_itself(toy_run, tmp_path):
    arguments = ("apply", "--model", toy_run, "--input", "gone.nrrd", "--output", "out.seg.nrrd", *CPU)
    code, _, errors = segment(*arguments, cwd=tmp_path)
    assert code == 2
    assert errors.splitlines()[-1].startswith("Error: ") and "does not exist" in errors
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--help"], ["train", "crossvalidate", "apply", "evaluate", "methods", "Exit codes: 0 done, 2 bad usage"]),
        (["train", "--help"], ["--dataset", "--set NAME=VALUE", "--resume RUN", "unet", "segresnet", "Examples:"]),
        (["apply", "--help"], ["--model", "--input", "--output", "DICOM folder", "Examples:", "130 stopped"]),
        (["evaluate", "--help"], ["--dataset", "CSV", "95 % intervals"]),
    ],
)  # fmt: skip
def test_help_reads_like_a_manual(segment_in_process, arguments, words):
    code, out, _ = segment_in_process(*arguments)
    assert code == 0
    for word in words:
        assert word in " ".join(out.split())
    assert max(map(len, out.splitlines())) <= 140


def test_methods_are_explained(segment_in_process):
    code, out, _ = segment_in_process("methods")
    assert code == 0 and "unet: U-Net" in out and "Ronneberger" in out and "segresnet: SegResNet" in out
    code, out, _ = segment_in_process("methods", "unet")
    assert code == 0 and "  learning_rate=" in out and "Parameters for apply and evaluate:" in out
    code, _, errors = segment_in_process("methods", "wnet")
    assert code == 2 and "There is no method or model 'wnet'" in errors


@pytest.mark.parametrize(
    "arguments, words",
    [
        ([], "required: ACTION"),
        (["learn"], "invalid choice: 'learn'"),
        (["train"], "train needs --dataset (or --resume RUN)."),
        (["train", "--dataset", "x", "--method", "unet"], "train needs --output"),
        (["train", "--resume", "nowhere"], "holds no run"),
        (["train", "--resume", "x", "--method", "unet"], "leave out --method"),
        (["apply", "--model", "x"], "There is no model 'x'"),
        (["apply", "--model", "x", "--input", "a", "--output", "b", "--seed", "x"], "unrecognized arguments: --seed x"),
        (["evaluate", "--model", "x", "--dataset", "d", "--output", "r.csv", "--seed", "x"], "invalid int value: 'x'"),
    ],
)
def test_bad_usage(segment_in_process, arguments, words):
    code, _, errors = segment_in_process(*arguments)
    assert code == 2 and words in errors


def test_numbers_of_inputs_and_outputs_must_agree(segment_in_process, toy_run, tmp_path):
    for name in ("a.nrrd", "b.nrrd"):
        write_image(tmp_path / name, toy_image(1)[0], toy_affine())
    inputs = ("--input", tmp_path / "a.nrrd", tmp_path / "b.nrrd")
    code, _, errors = segment_in_process("apply", "--model", toy_run, *inputs, "--output", tmp_path / "o.seg.nrrd")
    assert code == 2 and "There are 2 inputs and 1 outputs: give one --output for each input" in errors


def test_only_trainings_are_resumed(segment_in_process, toy_run):
    code, _, errors = segment_in_process("train", "--resume", toy_run)
    assert code == 2 and "is done: there is nothing to resume" in errors
