"""Complete cohorts in dask's processes: good and bad cases, and schedulers and workers started by others."""

from __future__ import annotations

import csv
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from MedDeepLib.cohort import cluster, driver
from MedDeepLib.data.sources.image import write_image
from MedDeepLib.jobs import JobFolder
from MedDeepLib.jobs.folder import jobs_in
from toy_cases import toy_affine, toy_image
from toy_cohort import (
    LIBRARY,
    REPOSITORY,
    dask_processes,
    deadly,
    dice_of_bright_ball,
    started_scheduler,
    states,
    summary,
    wait_for,
    write_scans,
)

CPU = ("--device", "cpu", "--threads", "1")


def write_list(file: Path, rows: list[dict[str, str]]) -> Path:
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, ["case", "patient", "image"])
        writer.writeheader()
        writer.writerows(rows)
    return file


def the_job(runs: Path) -> JobFolder:
    (folder,) = jobs_in(runs)
    return folder


def ten_broken(scans: Path) -> list[dict[str, str]]:
    """Rows that cannot be computed, each for a different reason, by a word of the expected sentence."""
    (good, short) = write_scans(scans, 2, first=300)
    data = good.read_bytes()
    short.write_bytes(data[: len(data) // 2])
    (scans / "empty.nii.gz").write_bytes(b"")
    (scans / "text.nii.gz").write_text("This is no image.", encoding="utf-8")
    (scans / "picture.jpg").write_bytes(data)
    image, _ = toy_image(0)
    image[3, 4, 5] = np.nan
    write_image(scans / "nan.nii.gz", image, toy_affine())
    (scans / "notes").mkdir()
    (scans / "notes" / "a.txt").write_text("No DICOM here.", encoding="utf-8")
    names = {
        "short": short.name,
        "empty": "empty.nii.gz",
        "text": "text.nii.gz",
        "wrong type": "picture.jpg",
        "missing": "nowhere.nii.gz",
        "no dicom": "notes",
        "no file": "",
        "case100": "other.nii.gz",  # a duplicate name
        "missing folder": "nowhere/at/all.nrrd",
        "not numbers": "nan.nii.gz",
    }
    return [{"case": name, "patient": "B", "image": image} for name, image in names.items()]


def test_a_cohort_with_ten_broken_cases(segment, toy_run, tmp_path, own_runs):
    scans, output = tmp_path / "scans", tmp_path / "results"
    good = [{"case": "", "patient": f"P{n}", "image": path.name} for n, path in enumerate(write_scans(scans, 3))]
    again = {"case": "again", "patient": "P0", "image": "case100.nii.gz"}
    source = write_list(scans / "list.csv", [*good, *ten_broken(scans), again])
    arguments = ("apply", "--model", toy_run, "--inputs", source, "--output-dir", output, *CPU)
    code, out, errors = segment(*arguments)
    assert code == 2, "some cases have failed"
    rows = list(summary(output).values())
    assert [row["state"] for row in rows] == ["done"] * 3 + ["failed"] * 10 + ["duplicate"]
    assert "3 of 14 cases are done, 10 failed, 1 is a duplicate." in out
    for number, row in zip((100, 101, 102), rows, strict=False):
        assert row["patient"] and Path(row["input"]).is_file() and float(row["seconds"]) > 0
        assert row["image"] == "36 x 32 x 24 voxels of 2 x 2 x 2.5 mm" and row["device"] == "cpu"
        assert dice_of_bright_ball(Path(row["output"]), number) > 0.75
        assert 2 < float(row["bright ball (ml)"]) < 20 and not row["reason"]
    for row in rows[3:13]:
        assert row["reason"].endswith(".") and "Traceback" not in row["reason"] and not row["output"], row
        assert row["case"] in errors and not (output / f"{row['case']}.seg.nrrd").exists() or row["case"] == "case100"
    assert len({row["reason"] for row in rows[3:13]}) == 10, "each says what is wrong with it"
    assert "line 2 (case case100)" in rows[13]["reason"]
    result = the_job(own_runs).result()
    assert result["loads"] == 1, "one worker loads the model once"

    # The same command again: finished cases are kept, repaired ones are computed.
    before = {path: path.stat().st_mtime_ns for path in output.glob("*.seg.nrrd")}
    shutil.copy(scans / "case301.nii.gz", scans / "unused.nii.gz")
    write_scans(scans, 1, first=301)
    code, out, _ = segment(*arguments)
    assert code == 2 and "4 of 14 cases are done (3 of them were before), 9 failed" in out
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert summary(output)["5"]["state"] == "done" and dice_of_bright_ball(output / "short.seg.nrrd", 301) > 0.75
    assert the_job(own_runs).result()["counts"] == {"done": 1, "done before": 3, "failed": 9, "duplicate": 1}


def test_workers_of_a_scheduler_and_one_of_another_version(segment, toy_run, tmp_path, own_runs):
    shutil.copytree(REPOSITORY / "MedDeepExtension" / "MedDeepLib", tmp_path / "other" / "MedDeepLib")
    shutil.copytree(REPOSITORY / "SegmentModule" / "SegmentModuleLib", tmp_path / "other" / "SegmentModuleLib")
    changed = tmp_path / "other" / "MedDeepLib" / "inference" / "tiles.py"
    changed.write_text(changed.read_text(encoding="utf-8") + "\n# A change.\n", encoding="utf-8")
    write_scans(tmp_path / "scans", 3)
    output = tmp_path / "results"
    with dask_processes() as start:
        address = started_scheduler(start, tmp_path)
        arguments = ("apply", "--model", toy_run, "--inputs", tmp_path / "scans", "--output-dir", output, *CPU)
        start("worker", address, "--nthreads", "1", "--no-nanny", library=tmp_path / "other")
        code, _, errors = segment(*arguments, "--scheduler", address)
        assert code == 2 and "another version of MedDeepExtension" in errors and "install the same version" in errors
        assert states(output) == ["not done yet"] * 3
        start("worker", address, "--nthreads", "1", "--no-nanny", "--name", "good")
        wait_for(lambda: workers_of(address) == 2)
        code, out, errors = segment(*arguments, "--scheduler", address)
    assert code == 0 and "A worker gets no cases." in errors
    assert states(output) == ["done"] * 3
    assert {row["worker"] for row in summary(output).values()} == {"good"}
    assert dice_of_bright_ball(output / "case101.seg.nrrd", 101) > 0.75


def workers_of(address: str) -> int:
    from distributed import Client

    with Client(address, set_as_default=False) as client:
        return len(client.nthreads())


@pytest.mark.slow
def test_a_case_that_ends_its_workers_fails_alone(segment, toy_run, tmp_path, monkeypatch):
    scans = write_scans(tmp_path / "scans", 4)
    scans[1].rename(scans[1].with_name("deadly.nii.gz"))
    monkeypatch.setattr(driver, "do_case", deadly)
    output = tmp_path / "results"
    code, _, errors = segment("apply", "--model", toy_run, "--inputs", tmp_path / "scans", "--output-dir", output, *CPU)
    rows = {row["case"]: row for row in summary(output).values()}
    assert code == 2 and {name for name, row in rows.items() if row["state"] == "failed"} == {"deadly"}
    assert "not enough memory" in rows["deadly"]["reason"] and "deadly failed" in errors


# --- refused before anything starts -----------------------------------------------------------------------------------


@pytest.fixture
def refused(segment, toy_run, tmp_path):
    """A function that returns the error sentence of a refused cohort."""
    write_scans(tmp_path / "scans", 1)

    def refuse(**changes) -> str:
        arguments = {"model": toy_run, "inputs": tmp_path / "scans", "output-dir": tmp_path / "results"} | changes
        flags = [part for name, value in arguments.items() for part in (f"--{name}", value) if value is not None]
        code, _, errors = segment("apply", *flags, *CPU)
        assert code == 2, errors
        return errors

    return refuse


def test_a_scheduler_that_is_not_there(refused, monkeypatch):
    monkeypatch.setattr(cluster, "_CONNECT_SECONDS", 1)
    errors = refused(scheduler="tcp://127.0.0.1:9")
    assert "No scheduler responds at tcp://127.0.0.1:9" in errors and "dask scheduler" in errors
    assert "is not the address of a scheduler" in refused(scheduler="localhost")


def test_usage_that_cannot_be_meant(refused, segment, toy_run, tmp_path):
    assert "both --inputs and --output-dir" in refused(**{"output-dir": None})
    assert "leave out --input and --output" in refused(input=tmp_path / "scans" / "case100.nii.gz")
    assert "the number of workers must be 0" in refused(workers="-1").lower()
    code, _, errors = segment("apply", "--model", toy_run)
    assert code == 2 and "--input and --output, or --inputs and --output-dir" in errors
    image = tmp_path / "scans" / "case100.nii.gz"
    code, _, errors = segment("apply", "--model", toy_run, "--input", image, "--output", "a.seg.nrrd", "--workers", "2")
    assert code == 2 and "are for cohorts" in errors


def test_inputs_that_cannot_be_used(refused, tmp_path, own_runs):
    (tmp_path / "empty").mkdir()
    assert "contains no readable image" in refused(inputs=tmp_path / "empty")
    assert "does not exist" in refused(inputs=tmp_path / "nothing.csv")
    assert "cannot go into the folder of the images" in refused(**{"output-dir": tmp_path / "scans"})
    assert not list((tmp_path / "scans").glob("summary.csv"))
    assert "no parameter 'overlapp'" in refused(set="overlapp=0.5")


@pytest.mark.skipif(os.name == "nt" or getattr(os, "geteuid", lambda: 0)() == 0, reason="needs a folder that refuses")
def test_results_that_cannot_be_written(refused, tmp_path):
    (tmp_path / "results").mkdir(mode=0o500)
    assert "cannot be written" in refused()


def test_results_whose_place_is_a_file(refused, tmp_path):
    (tmp_path / "results").write_text("A file.", encoding="utf-8")
    errors = refused()
    assert str(tmp_path / "results") in errors and "cannot be written" in errors


def test_packages_that_are_missing_are_named(refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert "need the Python packages dask, distributed and cryptography" in refused()


def test_two_commands_for_the_same_results(refused, tmp_path):
    from MedDeepLib.devices.locks import try_lock

    own = tmp_path / "results" / ".cohort"
    own.mkdir(parents=True)
    lock = try_lock(own / "lock")
    try:
        assert "Another cohort is being computed" in refused()
    finally:
        lock.release()


def test_the_help_explains_cohorts(segment):
    code, out, _ = segment("apply", "--help")
    assert code == 0 and "dask worker" in out and "summary.csv" in out and str(LIBRARY) not in out
