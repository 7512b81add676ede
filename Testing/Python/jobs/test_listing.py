"""Jobs at a glance: correct however they ended, from their last events, and read again when they change."""

from __future__ import annotations

import os
import time

import pytest
from MedDeepLib.jobs import Job, JobFolder, State, listing
from MedDeepLib.jobs.events import EventReader, EventWriter, last_events
from MedDeepLib.jobs.listing import JobList
from MedDeepLib.jobs.summary import Summary, overview

JOB = Job("segment", "train", method="unet", dataset="list.json")
LONG = 2000  # events; more than are read


def make(runs, name: str, *events: tuple[str, dict]) -> JobFolder:
    folder = JobFolder.create(runs / name, JOB)
    tell(folder, *events)
    return folder


def tell(folder: JobFolder, *events: tuple[str, dict]) -> None:
    writer = EventWriter(folder.events_file)
    for event, fields in events:
        writer(event, **fields)
    writer.close()


def progress(step: int, **fields) -> tuple[str, dict]:
    return "progress", {"stage": "unet", "step": step, "total": LONG, "remaining": 30.0, **fields}


@pytest.fixture
def long_job(tmp_path) -> JobFolder:
    """A job that reported its state thousands of events ago."""
    return make(tmp_path, "long", ("state", {"state": "running"}), *(progress(step) for step in range(LONG)))


def test_the_end_of_a_long_job_says_it_all(long_job):
    events, all_of_them = last_events(long_job.events_file)
    assert not all_of_them and len(events) < LONG / 2 and events[-1]["step"] == LONG - 1
    assert long_job.state() is State.FAILED, "nobody is at it"
    assert long_job.latest_progress()["step"] == LONG - 1
    long_job.register_worker()
    assert long_job.state() is State.RUNNING
    tell(long_job, ("state", {"state": "stopped"}))
    assert long_job.state() is State.STOPPED


def test_parts_are_the_whole(long_job):
    parts = list(EventReader(long_job.events_file).read_in_parts())
    assert len(parts) > 5 and sum(parts, []) == long_job.events()
    reader = EventReader(long_job.events_file)
    for _ in reader.read_in_parts():
        pass
    tell(long_job, progress(LONG))
    assert [event["step"] for part in reader.read_in_parts() for event in part] == [LONG]


def test_a_running_job(tmp_path):
    job = make(tmp_path, "a", ("state", {"state": "running"}), progress(500))
    job.register_worker()
    seen = overview(job)
    assert (seen.title, seen.state, seen.alive) == ("train unet", State.RUNNING, True)
    assert seen.reason == seen.problem == ""
    assert seen.share_done == 0.25 and 0 < seen.seconds_left <= 30.0
    job.request_stop()
    assert overview(job).state is State.STOPPING


def test_time_left_goes_on_between_two_steps(tmp_path):
    job = make(tmp_path, "a", ("state", {"state": "running"}))
    job.register_worker()
    with job.events_file.open("a", encoding="utf-8") as file:
        file.write('{"time": %f, "event": "progress", "step": 1, "total": 9, "remaining": 100}\n' % (time.time() - 60))
    assert 39 < overview(job).seconds_left < 41


def test_why_it_failed(tmp_path):
    failed = make(tmp_path, "a", ("state", {"state": "failed", "message": "The disk is full."}))
    assert overview(failed).reason == "The disk is full."
    died = make(tmp_path, "b", ("state", {"state": "running"}), progress(5))
    assert "ended without a message" in overview(died).reason
    died.request_stop()
    assert overview(died).reason == "It did not stop in time and was ended."


def test_whom_it_waits_for(tmp_path):
    states = ({"state": "running"}, {"state": "queued", "message": "Waiting for X"})
    job = make(tmp_path, "a", *(("state", state) for state in states))
    job.register_worker()
    seen = overview(job)
    assert seen.state is State.QUEUED and seen.alive and seen.reason == "Waiting for X" and seen.seconds_left is None


def test_a_job_that_is_just_being_started(tmp_path):
    job = make(tmp_path, "a")
    assert job.is_starting() and overview(job).state is State.QUEUED and not overview(job).alive
    os.utime(job.job_file, (1.7e9, 1.7e9))
    assert not job.is_starting(), "nobody has come for it"


def test_a_process_that_stays_is_not_at_a_job_that_has_ended(tmp_path):
    """As a warm worker does."""
    job = make(tmp_path, "a", ("state", {"state": "running"}))
    job.register_worker()
    assert job.active_pid() == os.getpid()
    tell(job, ("state", {"state": "failed", "message": "m"}))
    assert job.worker_alive() and job.active_pid() is None and not overview(job).alive


def test_a_summary_of_all_events(tmp_path):
    job = make(
        tmp_path,
        "a",
        ("phase", {"phase": "Reading"}),
        ("warning", {"message": "Few cases."}),
        ("phase", {"phase": "Training: unet"}),
        ("metrics", {"stage": "unet", "step": 1, "values": {"loss": 2.0, "validation Dice": 0.5}}),
        ("metrics", {"stage": "unet", "step": 2, "values": {"loss": 1.0, "validation Dice": None}}),
        ("warning", {"message": "Few cases."}),
        progress(7),
    )
    summary = Summary()
    summary.take(job.events())
    assert summary.phase == "Training: unet" and summary.progress["step"] == 7
    assert summary.metrics == {"loss": 1.0, "validation Dice": 0.5} and summary.warnings == ["Few cases."]
    summary.take([{"event": "progress", "step": "x"}, {"event": "metrics", "values": 3}, {"event": "phase"}])
    assert summary.phase == "Training: unet" and summary.metrics["loss"] == 1.0


def look(jobs: JobList, runs) -> list[str]:
    for _ in jobs.refresh(runs):
        pass
    return [job.folder.path.name for job in jobs.overviews]


def test_only_what_has_changed_is_read_again(tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(listing, "overview", lambda folder: read.append(folder.path.name) or overview(folder))
    done, running = make(tmp_path, "done"), make(tmp_path, "running", ("state", {"state": "running"}))
    make(tmp_path / "temporary", "scene")
    done.write_result({})
    running.register_worker()
    for number, name in enumerate(("done", "running", "temporary/scene")):
        os.utime(tmp_path / name / "job.json", (1.7e9 + number,) * 2)
    (tmp_path / "photos").mkdir()
    jobs = JobList()
    assert look(jobs, tmp_path) == ["scene", "running", "done"]
    assert sorted(read) == ["done", "running", "scene"]
    read.clear()
    assert look(jobs, tmp_path) == ["scene", "running", "done"] and read == []
    tell(running, progress(1))
    look(jobs, tmp_path)
    assert read == ["running"] and jobs.overviews[1].progress["step"] == 1
    monkeypatch.setattr(JobFolder, "worker_alive", lambda self: False)
    look(jobs, tmp_path)
    assert read == ["running", "running"] and jobs.overviews[1].state is State.FAILED
    read.clear()
    look(jobs, tmp_path)
    assert read == [], "it has died once and for all"


def test_a_folder_that_goes_away_meanwhile(tmp_path):
    import shutil

    make(tmp_path, "a"), make(tmp_path, "b")
    jobs = JobList()
    steps = jobs.refresh(tmp_path)
    next(steps)
    shutil.rmtree(tmp_path / "a")
    shutil.rmtree(tmp_path / "b")
    for _ in steps:
        pass
    assert look(jobs, tmp_path) == [] and look(jobs, tmp_path / "nowhere") == []
