"""Deleting jobs: all or nothing at the first step, never a running one, and users know what they lose."""

from __future__ import annotations

import os

import pytest
from MedDeepLib.errors import UserError
from MedDeepLib.jobs import Job, JobFolder
from MedDeepLib.jobs.disk import delete, delete_job, delete_model, losses, size_of
from MedDeepLib.jobs.listing import JobList

JOB = Job("segment", "train", method="unet", dataset="list.json")


@pytest.fixture
def folder(tmp_path) -> JobFolder:
    folder = JobFolder.create(tmp_path / "runs" / "first", JOB)
    os.utime(folder.job_file, (1.7e9, 1.7e9))
    (folder.model_folder / "configs").mkdir(parents=True)
    (folder.model_folder / "configs" / "metadata.json").write_text("{}", encoding="utf-8")
    (folder.path / "checkpoint.pt").write_bytes(bytes(1000))
    return folder


def do(steps) -> None:
    for _ in steps:
        pass


def test_what_is_lost(folder):
    for name in ("events.jsonl", "log.txt", "checkpoint.previous.pt", "best.0.pt", "stage.0.pt", "parameters.json"):
        (folder.path / name).touch()
    assert losses(folder) == ["the trained model", "the checkpoint to resume from"]
    folder.write_result({})
    (folder.path / "metrics.csv").touch()
    assert losses(folder) == ["the trained model", "its metrics"]
    (folder.path / "images").mkdir()
    for number in range(4):
        (folder.path / f"anna{number}.nrrd").touch()
    strange = "(anna0.nrrd, anna1.nrrd, anna2.nrrd, ...)"
    assert losses(folder)[-1] == f"5 files and folders that are not the job's own {strange}"
    assert losses(JobFolder(folder.path / "nowhere")) == []


def test_a_job_is_gone_at_the_first_step(folder):
    steps = delete_job(folder)
    next(steps)
    assert not folder.path.exists()
    jobs = JobList()
    do(jobs.refresh(folder.path.parent))
    assert jobs.overviews == []
    do(steps)
    assert list(folder.path.parent.iterdir()) == []


def test_what_was_left_of_an_interrupted_deletion_goes_with_the_next(folder):
    other = JobFolder.create(folder.path.with_name("other"), JOB)
    os.utime(other.job_file, (1.7e9, 1.7e9))
    steps = delete_job(folder)
    next(steps)
    steps.close()
    assert [path.name[:9] for path in folder.path.parent.iterdir() if path.name != "other"] == [".deleted-"]
    do(delete_job(other))
    assert list(folder.path.parent.iterdir()) == []


def test_a_running_job_is_not_deleted(folder):
    folder.register_worker()
    for deletion in (delete_job, delete_model):
        with pytest.raises(UserError, match="is running: stop it before deleting"):
            do(deletion(folder))
    assert folder.model_folder.exists()


def test_a_job_that_is_just_being_started_is_not_deleted(folder):
    os.utime(folder.job_file)
    with pytest.raises(UserError, match="is starting"):
        do(delete_job(folder))
    assert folder.job_file.exists()


def test_only_the_model(folder):
    do(delete_model(folder))
    assert sorted(path.name for path in folder.path.iterdir()) == ["checkpoint.pt", "job.json"]


def test_what_cannot_be_deleted_stays_as_it_is(folder, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(UserError, match=r"cannot be deleted \(Permission denied\): a program uses it, close it"):
        do(delete_job(folder))
    assert folder.model_folder.exists()


def test_links_are_removed_and_not_followed(tmp_path, folder):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "anna.nrrd").write_text("x", encoding="utf-8")
    (folder.path / "link").symlink_to(tmp_path / "images", target_is_directory=True)
    do(delete(folder.path))
    assert (tmp_path / "images" / "anna.nrrd").exists() and not folder.path.exists()


def test_size(folder):
    assert list(size_of(folder.path))[-1] == 1000 + 2 + folder.job_file.stat().st_size
    assert list(size_of(folder.path / "nowhere")) == [0]
