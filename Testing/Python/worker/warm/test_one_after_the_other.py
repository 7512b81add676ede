"""One process for many jobs: what ends it, what replaces it, and what it survives."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time

import psutil
import pytest
from MedDeepLib.errors import UserError
from MedDeepLib.jobs import State
from MedDeepLib.jobs.warm import WarmJob
from warm_plays import begun, finish, gone, last_state


def test_one_process_does_one_job_after_the_other(start, plays):
    workers = start()
    job = workers.submit(plays("one"))
    assert job.state is State.RUNNING and job.exit_code is None
    events = finish(job)
    assert [e.get("message", e.get("state", e.get("phase"))) for e in events] == ["running", "Starting", "one", "done"]
    assert (job.exit_code, job.state, job.folder.state()) == (0, State.DONE, State.DONE)
    assert job.folder.result() == {"answer": "one"} and job.poll() == []
    assert not job.folder.worker_alive(), "its process lives, but is not at this job any more"
    assert job.folder.log_file.read_text(encoding="utf-8") == "printed by one\n"
    if sys.platform != "win32":
        assert psutil.Process(job.pid).nice() == 10

    other = workers.submit(plays("two"))
    assert other.pid == job.pid and other.wait(20) == 0
    assert other.folder.log_file.read_text(encoding="utf-8") == "printed by two\n"
    assert job.exit_code == 0 and job.state is State.DONE, "the first one stays as it was"
    with pytest.raises(UserError, match="is done"):
        workers.submit(job.folder)


def test_bad_input_does_not_end_it(start, plays):
    workers = start()
    job = workers.submit(plays("bad input"))
    events = finish(job)
    assert (job.exit_code, job.state, job.folder.state()) == (2, State.FAILED, State.FAILED)
    assert last_state(events)["message"] == "Bad input."
    assert "Traceback" in job.folder.log_file.read_text(encoding="utf-8")
    good = workers.submit(plays("good"))
    assert good.pid == job.pid and good.wait(20) == 0


@pytest.mark.parametrize("play, words", [("accident", "illegal memory access"), ("no memory", "not enough memory")])
def test_what_may_have_broken_the_process_ends_it_once_it_is_told(start, plays, play, words):
    workers = start()
    job = workers.submit(plays(play))
    assert words in last_state(finish(job))["message"]
    assert (job.exit_code, job.state) == (3, State.FAILED)
    good = workers.submit(plays("good"))  # perhaps before the launcher could notice
    assert good.wait(20) == 0 and good.pid != job.pid
    assert gone(job.pid)


def test_stopping_leaves_the_worker_warm(start, plays):
    workers = start()
    job = begun(workers.submit(plays("long")))
    job.stop(grace_seconds=5)
    assert job.state in (State.STOPPING, State.STOPPED)
    finish(job)
    assert (job.exit_code, job.state, job.folder.state()) == (130, State.STOPPED, State.STOPPED)
    job.kill()
    job.stop(grace_seconds=-1)
    job._kill_at = 0.0
    job.poll()
    after = workers.submit(plays("after"))
    assert after.pid == job.pid, "a job that has ended has nothing to kill"
    assert after.wait(20) == 0
    again = workers.submit(job.folder)
    assert begun(again).state is State.RUNNING, "it can be done again, and its old stop is forgotten"
    again.stop()
    assert again.wait(20) == 130


def test_a_worker_that_does_not_stop_is_killed_and_replaced(start, plays):
    workers = start()
    job = begun(workers.submit(plays("deaf")))
    job.stop(grace_seconds=0.1)
    job.poll()
    assert job.is_running(), "it has its time of grace"
    time.sleep(0.15)
    events = job.poll()
    assert not job.is_running() and gone(job.pid)
    assert job.state is State.FAILED and job.exit_code not in (None, 0)
    assert not any(event["event"] == "state" for event in events), "nobody needs to be told of a crash"
    after = workers.submit(plays("after"))
    assert after.pid != job.pid and after.wait(20) == 0


@pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")
@pytest.mark.parametrize("name, words", [("SIGKILL", "was killed"), ("SIGSEGV", "crashed (SIGSEGV)")])
@pytest.mark.parametrize("jobs_before", [0, 1])
def test_a_worker_that_dies_over_a_job(start, plays, name, words, jobs_before):
    workers = start()
    for _ in range(jobs_before):
        workers.submit(plays("before")).wait(20)
    job = begun(workers.submit(plays("long")))
    os.kill(job.pid, getattr(signal, name))
    events = finish(job)
    assert (job.exit_code, job.state, job.folder.state()) == (3, State.FAILED, State.FAILED)
    assert words in last_state(events)["message"] and job.poll() == []
    assert [last_state(job.folder.events())[key] for key in ("message", "kind", "exit_code")] == [
        last_state(events)["message"],
        "internal",
        3,
    ]
    after = workers.submit(plays("after"))
    assert after.pid != job.pid and after.wait(20) == 0


def test_a_worker_that_dies_before_its_first_job(start, plays, tmp_path):
    (tmp_path / "path" / "sitecustomize.py").write_text("import os; os._exit(7)", encoding="utf-8")
    job = start().submit(plays("never"))
    events = finish(job)
    assert job.state is State.FAILED and "exit code 7" in last_state(events)["message"]


def test_a_worker_that_has_died_between_two_jobs_is_replaced_unnoticed(start, plays):
    workers = start()
    first = workers.submit(plays("first"))
    first.wait(20)
    # Frozen, it looks alive to the launcher, which gives it the next job; then it dies without having seen it.
    psutil.Process(first.pid).suspend()
    second = workers.submit(plays("second"))
    assert second.pid == first.pid
    psutil.Process(first.pid).kill()
    finish(second)
    assert second.pid != first.pid and second.state is State.DONE


def test_a_folder_that_vanishes_is_told(start, plays):
    workers = start()
    workers.submit(plays("first")).wait(20)
    folder = plays("second")
    process = psutil.Process(workers._workers[0].process.pid)
    process.suspend()
    job = workers.submit(folder)
    shutil.rmtree(folder.path)
    process.resume()
    events = finish(job)
    assert (job.exit_code, job.state) == (3, State.FAILED)
    assert "cannot be written" in last_state(events)["message"]
    assert workers.submit(plays("third")).wait(20) == 0


def test_nobody_waits_for_a_busy_worker(start, plays):
    workers = start()
    job = begun(workers.submit(plays("long")))
    other = workers.submit(plays("other"))
    assert isinstance(job, WarmJob) and not isinstance(other, WarmJob)
    assert other.wait(20) == 0 and job.is_running()
    job.stop()
    job.wait(20)


def test_each_device_has_its_worker(start, plays):
    workers = start()
    jobs = [workers.submit(plays("play", device)) for device in ("cpu", "cuda:0")]
    assert all(job.wait(20) == 0 for job in jobs) and jobs[0].pid != jobs[1].pid
    again = [workers.submit(plays("play", device)) for device in ("cuda:0", "cpu")]
    assert all(job.wait(20) == 0 for job in again)
    assert [job.pid for job in again] == [jobs[1].pid, jobs[0].pid]
    assert workers.submit(plays("play", "auto")).pid in {job.pid for job in jobs}, "any of them may be what auto means"
