"""The state of a job, from its folder alone: correct however the worker ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import psutil
import pytest
from MedDeepLib.errors import UserError
from MedDeepLib.jobs import Job, JobFolder, State
from MedDeepLib.jobs.events import EventWriter
from MedDeepLib.jobs.folder import jobs_in, process_alive, write_json

JOB = Job("segment", "train", method="unet", dataset="list.json")


@pytest.fixture
def folder(tmp_path) -> JobFolder:
    return JobFolder.create(tmp_path / "runs" / "first", JOB)


def say(folder: JobFolder, *states: str) -> None:
    writer = EventWriter(folder.events_file)
    for state in states:
        writer("state", state=state)
    writer.close()


def test_a_new_job_is_queued(folder):
    assert folder.state() is State.QUEUED
    assert folder.job() == JOB and folder.events() == [] and folder.result() == {}
    assert not folder.can_resume()


def test_a_job_with_a_living_worker_runs(folder):
    folder.register_worker()
    assert folder.state() is State.RUNNING, "registered, nothing said yet"
    say(folder, "running")
    assert folder.state() is State.RUNNING
    folder.request_stop()
    assert folder.state() is State.STOPPING
    say(folder, "stopped")
    assert folder.state() is State.STOPPED


@pytest.mark.parametrize(
    "last, state", [("running", State.FAILED), ("stopped", State.STOPPED), ("failed", State.FAILED)]
)
def test_without_a_worker_nothing_runs(folder, last, state):
    say(folder, "running", last)
    assert folder.state() is state


def test_done_is_what_has_a_result(folder):
    say(folder, "running", "done")
    assert folder.state() is State.FAILED, "done without a result is not done"
    folder.write_result({"model": "model"})
    assert folder.state() is State.DONE and folder.result() == {"model": "model"}


def test_the_state_of_a_resumed_job_is_that_of_its_last_worker(folder):
    say(folder, "running", "stopped")
    folder.register_worker()
    say(folder, "running")
    assert folder.state() is State.RUNNING


def test_a_dead_worker_is_noticed(folder):
    worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
    write_json(folder.worker_file, {"pid": worker.pid, "started": psutil.Process(worker.pid).create_time()})
    say(folder, "running")
    assert folder.state() is State.RUNNING
    worker.kill()
    deadline = time.monotonic() + 50
    while folder.state() is State.RUNNING and time.monotonic() < deadline:
        time.sleep(0.01)
    assert folder.state() is State.FAILED, "a zombie is dead too"
    worker.wait()
    assert folder.state() is State.FAILED


def test_a_recycled_process_id_is_not_the_worker(folder):
    write_json(folder.worker_file, {"pid": os.getpid(), "started": psutil.Process().create_time() - 60})
    say(folder, "running")
    assert folder.state() is State.FAILED


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": "x"}', '{"pid": -5}', '{"pid": 1.5, "started": null}'])
def test_a_damaged_worker_file_is_no_worker(folder, content):
    folder.worker_file.write_text(content, encoding="utf-8")
    say(folder, "running")
    assert folder.state() is State.FAILED


def test_process_alive_of_this_process():
    started = psutil.Process().create_time()
    assert process_alive(os.getpid(), started) and process_alive(os.getpid(), started + 1)
    assert not process_alive(os.getpid(), started + 10)


@pytest.mark.parametrize("name", ["checkpoint.pt", "checkpoint.previous.pt"])
def test_what_can_be_resumed(folder, name):
    say(folder, "running", "stopped")
    assert not folder.can_resume(), "there is no checkpoint"
    (folder.path / name).touch()
    assert folder.can_resume()
    folder.register_worker()
    assert not folder.can_resume(), "somebody is at it"
    folder.worker_file.unlink()
    folder.write_result({})
    assert not folder.can_resume(), "it is done"


def test_restart_forgets_the_stop_and_the_dead_worker(folder):
    write_json(folder.worker_file, {"pid": os.getpid(), "started": 0.0})
    folder.request_stop()
    folder.prepare_restart()
    assert not folder.stop_requested() and not folder.worker_file.exists()


def test_no_restart_of_a_job_that_runs_or_is_done(folder):
    folder.register_worker()
    with pytest.raises(UserError, match="is still running: stop it"):
        folder.prepare_restart()
    folder.worker_file.unlink()
    folder.write_result({})
    with pytest.raises(UserError, match="is done: there is nothing to resume"):
        folder.prepare_restart()


def test_a_folder_holds_one_job(folder):
    with pytest.raises(UserError, match="already holds a job"):
        JobFolder.create(folder.path, JOB)


def test_no_folder_for_a_request_that_is_wrong(tmp_path):
    with pytest.raises(UserError):
        JobFolder.create(tmp_path / "run", Job("segment", "train", method="unet"))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        JobFolder.create(tmp_path / "file" / "run", JOB)
    with pytest.raises(UserError, match="cannot be written"):
        JobFolder.create(tmp_path / ("x" * 300), JOB)


def test_discard_takes_only_what_is_the_jobs(folder):
    say(folder, "failed")
    folder.log_file.touch()
    folder.discard()
    assert not folder.path.exists()
    again = JobFolder.create(folder.path, JOB)
    (folder.path / "notes.txt").touch()
    again.discard()
    assert [file.name for file in folder.path.iterdir()] == ["notes.txt"]


def test_latest_progress(folder):
    assert folder.latest_progress() is None
    writer = EventWriter(folder.events_file)
    for step in range(2000):
        writer("progress", step=step, total=2000, remaining=None)
    writer("message", message="almost")
    writer.close()
    with folder.events_file.open("ab") as file:
        file.write(b'{"event": "progress", "st')
    assert folder.latest_progress()["step"] == 1999


def test_write_json_is_all_or_nothing(tmp_path):
    file = tmp_path / "result.json"
    write_json(file, {"a": "ä"})
    with pytest.raises(TypeError):
        write_json(file, {"a": object()})
    assert json.loads(file.read_text(encoding="utf-8")) == {"a": "ä"}
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_jobs_in_a_folder_newest_first(folder, tmp_path):
    second = JobFolder.create(tmp_path / "runs" / "second", JOB)
    os.utime(folder.job_file, (1, 1))
    assert [job.path for job in jobs_in(tmp_path / "runs")] == [second.path, folder.path]
    assert list(jobs_in(tmp_path / "nowhere")) == []
