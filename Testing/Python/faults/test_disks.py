"""Full disks, read-only folders, and folders that vanish under a running job."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from fault_tools import (
    begun,
    finish,
    identical,
    last_state,
    launcher,
    resume_here,
    training_job,
    wait_for,
    write_play,
    write_sitecustomize,
)
from MedDeepLib.errors import CannotWrite
from MedDeepLib.jobs import Job, JobFolder, State, WarmWorkers, launch
from MedDeepLib.jobs import launcher as launcher_module
from toy_cases import image_item

ASKING = """
report("message", message="begun")
while not stop_requested():
    time.sleep(0.02)
(folder.path / "saved").touch()
raise Stopped
"""
DEAF = """
report("message", message="begun")
time.sleep(600)
"""


def mounted(*arguments) -> bool:
    return shutil.which("mount") is not None and subprocess.run(["mount", *map(str, arguments)]).returncode == 0


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 4 MB; only root can make one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not mounted("-t", "tmpfs", "-o", "size=4m", "tmpfs", folder):
        pytest.skip("needs the right to mount a small disk")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def refuse():
    """Makes a folder read-only, also for root; the returned function undoes this."""
    done = []

    def make(folder: Path):
        if not (mounted("--bind", folder, folder) and mounted("-o", "remount,bind,ro", folder)):
            pytest.skip("needs the right to mount")
        done.append(folder)

        def undo() -> None:
            if folder in done:
                subprocess.run(["umount", "-l", str(folder)], check=True)
                done.remove(folder)

        return undo

    yield make
    for folder in done:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Fill the disk until a checkpoint no longer fits."""
    file = folder / "filling"
    with file.open("wb", buffering=0) as stream:
        try:
            while stream.write(bytes(4096)) == 4096:
                pass
        except OSError:
            pass
    return file


def message(folder: JobFolder):
    return lambda: any(event.get("message") == "begun" for event in folder.events())


# --- full -------------------------------------------------------------------------------------------------------------


def test_a_disk_that_fills_up_stops_the_training_and_with_room_it_goes_on(undisturbed, small_disk, tally):
    folder = JobFolder.create(small_disk / "run", training_job(undisturbed.dataset))
    job = launch(folder)
    wait_for(folder.has_checkpoint)
    filling = fill(small_disk)
    finish(job)
    assert (job.exit_code, job.state) == (2, State.FAILED)
    assert folder.can_resume() and not list(folder.path.glob("*.part"))
    filling.unlink()
    assert resume_here(folder)["state"] == "done"
    same = identical(folder.path, undisturbed.run)
    tally(f"1 disk filled up, 1 resumed, weights identical: {same}")
    assert same


LIMITED = """
import os, sys

if "MedDeepLib.worker" in sys.orig_argv and os.environ.get("LARGEST_FILE"):
    import resource

    size = int(os.environ["LARGEST_FILE"])
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="limits a process as POSIX does")
def test_a_file_that_may_not_grow_is_said_in_one_sentence(undisturbed, tmp_path, monkeypatch):
    write_sitecustomize(monkeypatch, tmp_path, LIMITED)
    monkeypatch.setenv("LARGEST_FILE", "12000")
    folder = JobFolder.create(tmp_path / "run", training_job(undisturbed.dataset))
    job = launch(folder)
    failure = last_state(finish(job))
    assert failure["kind"] == "disk" and failure["exit_code"] == job.exit_code == 2
    assert failure["message"].startswith("The checkpoint could not be written to") and "\n" not in failure["message"]
    assert failure["message"].endswith("and resume.")
    monkeypatch.delenv("LARGEST_FILE")
    folder.log_file.unlink()
    assert last_state(finish(launch(folder)))["state"] == "done" and identical(folder.path, undisturbed.run)


# --- read-only --------------------------------------------------------------------------------------------------------


def test_a_folder_that_becomes_read_only(undisturbed, tmp_path, refuse, tally):
    folder = JobFolder.create(tmp_path / "run", training_job(undisturbed.dataset))
    job = launch(folder)
    wait_for(begun(folder))
    undo = refuse(folder.path)
    failure = last_state(finish(job))
    assert (job.exit_code, failure["kind"]) == (2, "disk")
    assert "Read-only file system" in failure["message"] and failure["message"].endswith(
        "check the permissions and resume."
    )
    with pytest.raises(
        CannotWrite, match=r"cannot be written \(Read-only file system\): free some space, allow writing"
    ):
        launch(folder)
    undo()
    assert resume_here(folder)["state"] == "done"
    same = identical(folder.path, undisturbed.run)
    tally(f"1 folder became read-only, 1 resumed, weights identical: {same}")
    assert same


@pytest.mark.skipif(sys.platform == "win32", reason="there is no kind signal")
def test_stopping_a_job_whose_folder_takes_no_stop_file(tmp_path, monkeypatch, refuse):
    write_play(
        monkeypatch, tmp_path, ASKING.replace('(folder.path / "saved").touch()', 'report("message", message="saved")')
    )
    folder = JobFolder.create(tmp_path / "run", training_job(tmp_path))
    job = launch(folder)
    wait_for(message(folder))
    undo = refuse(folder.path)
    job.stop()
    events = finish(job, 10)
    undo()
    assert job.exit_code == 130 and any(event.get("message") == "saved" for event in events)


def test_a_worker_that_cannot_write_its_events_says_so_in_the_log(tmp_path, monkeypatch, refuse):
    write_play(monkeypatch, tmp_path, ASKING)
    folder = JobFolder.create(tmp_path / "run", training_job(tmp_path))
    with (tmp_path / "log").open("wb") as log:
        undo = refuse(folder.path)
        process = launcher_module.start_worker([str(folder.path)], folder.path, subprocess.DEVNULL, log, log)
        assert process.wait(60) == 2
        undo()
    assert "cannot be written (Read-only file system)" in (tmp_path / "log").read_text(encoding="utf-8")


# --- gone -------------------------------------------------------------------------------------------------------------


def deleted(path: Path) -> None:
    while path.exists():  # the worker may write a file while the others are being deleted
        shutil.rmtree(path, ignore_errors=True)


def moved(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps the folder of a running process")
@pytest.mark.parametrize("remove", [deleted, pytest.param(moved, marks=pytest.mark.slow)])
def test_a_training_whose_folder_vanishes_ends_by_itself_and_the_launcher_says_why(
    undisturbed, tmp_path, remove, tally
):
    steps = 20000  # hours
    folder = JobFolder.create(tmp_path / "runs" / "run", training_job(undisturbed.dataset, steps=steps))
    process = launcher(folder.path)
    wait_for(begun(folder))
    worker = psutil.Process(folder.worker_pid())
    began = time.monotonic()
    remove(folder.path)
    text, _ = process.communicate(timeout=60)
    seconds = time.monotonic() - began
    assert process.returncode == 3 and not worker.is_running()
    assert text.splitlines()[-1] == (
        f"Error: The job folder {folder.path} was deleted or moved while the job ran, so the job has ended: keep the "
        "folder of a running job in place."
    )
    assert not folder.path.exists(), "nothing is made anew"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs"]
    tally(f"{remove.__name__}: the worker of a training of {steps} steps was gone after {seconds:.1f} s")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps the folder of a running process")
def test_a_worker_that_does_not_notice_that_its_folder_is_gone_is_ended(tmp_path, monkeypatch):
    write_play(monkeypatch, tmp_path, DEAF)
    monkeypatch.setattr(launcher_module, "GRACE_SECONDS", 1.0)
    folder = JobFolder.create(tmp_path / "run", training_job(tmp_path))
    job = launch(folder)
    wait_for(message(folder))
    deleted(folder.path)
    events = finish(job, 20)
    assert "was deleted or moved while the job ran" in last_state(events)["message"]
    assert job.state is State.FAILED and not folder.path.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps the folder of a running process")
def test_another_job_in_the_same_place_is_left_alone(tmp_path, monkeypatch):
    write_play(monkeypatch, tmp_path, ASKING)
    folder = JobFolder.create(tmp_path / "run", training_job(tmp_path))
    first = launch(folder)
    wait_for(message(folder))
    deleted(folder.path)
    second = launch(JobFolder.create(folder.path, training_job(tmp_path)))
    wait_for(message(folder))
    assert first.wait(30) == 3
    assert second.is_running() and folder.worker_pid() == second.pid and folder.state() is State.RUNNING
    second.stop()
    finish(second)
    assert second.state is State.STOPPED


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps the folder of a running process")
def test_a_warm_worker_outlives_the_folder_of_its_job(tmp_path, monkeypatch):
    write_play(monkeypatch, tmp_path, ASKING)
    workers = WarmWorkers(idle_seconds=60)
    try:
        request = Job("segment", "apply", model="m", items=(image_item("o.nrrd", "i.nrrd"),), device="cpu")
        job = workers.submit(JobFolder.create(tmp_path / "first", request))
        wait_for(message(job.folder))
        deleted(job.folder.path)
        assert "was deleted or moved while the job ran" in last_state(finish(job, 30))["message"]
        again = workers.submit(JobFolder.create(tmp_path / "second", request))
        wait_for(message(again.folder))
        assert again.pid == job.pid and not job.folder.path.exists()
        again.stop()
        assert last_state(finish(again))["state"] == "stopped"
    finally:
        workers.close()


def test_a_model_is_not_saved_where_there_is_no_job_any_more(toy_dataset, tmp_path):
    import torch
    from MedDeepLib.bundles.saving import save_model
    from MedDeepLib.core import Context, Prepared
    from MedDeepLib.training.engine import Trained
    from SegmentModuleLib.methods.unet import UNet

    with pytest.raises(CannotWrite, match="No such file|cannot find"):
        save_model(tmp_path / "gone" / "model", UNet(), Prepared(), Context(torch.device("cpu")), Trained())
    assert list(tmp_path.iterdir()) == []


def test_a_drive_that_does_not_answer_for_a_moment_is_not_a_folder_that_is_gone(tmp_path, monkeypatch):
    folder = JobFolder.create(tmp_path / "run", training_job(tmp_path))
    identity = folder.register_worker()
    assert folder.is_there() and folder.is_held_by(identity)

    def no_answer(*_, **__):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "stat", no_answer)
    monkeypatch.setattr(Path, "read_text", no_answer)
    monkeypatch.setattr(os, "stat", no_answer)
    assert folder.is_there() and folder.is_held_by(identity) and not folder.stop_requested()
    assert folder.events() == []
