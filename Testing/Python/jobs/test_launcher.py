"""Starting, watching, stopping and killing real worker processes.

Their work is replaced by something small: a sitecustomize.py on their path stands in for ``MedDeepLib.worker.actions``,
so that they need no torch and start at once.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from MedDeepLib.errors import UserError
from MedDeepLib.jobs import Job, JobFolder, State, launch

ACTIONS = """
import os, subprocess, sys, time, types
from pathlib import Path


def perform(folder, report, stop_requested):
    import json
    from MedDeepLib.errors import Stopped

    play = json.loads(folder.job_file.read_text())["dataset"]
    if play == "done":
        report("message", message="hello")
        return {"answer": 42}
    if play == "crash":
        os._exit(11)
    if play == "deaf":
        child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(3600)"])
        (folder.path / "child").write_text(str(child.pid))
        time.sleep(3600)
    report("message", message="waiting")
    while not stop_requested():
        time.sleep(0.02)
    (folder.path / "saved").touch()
    raise Stopped


if os.environ.get("PLAY"):
    sys.modules["MedDeepLib.worker.actions"] = types.ModuleType("MedDeepLib.worker.actions")
    sys.modules["MedDeepLib.worker.actions"].perform = perform
"""


@pytest.fixture(autouse=True)
def plays(tmp_path, monkeypatch):
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "sitecustomize.py").write_text(ACTIONS, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))
    monkeypatch.setenv("PLAY", "1")


def make(tmp_path: Path, play: str) -> JobFolder:
    return JobFolder.create(tmp_path / play, Job("segment", "train", method="unet", dataset=play))


def wait_for(condition, seconds: float = 300.0):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return value


def finish(job) -> list[dict]:
    job.wait(20)
    return job.poll()


def waiting(folder: JobFolder):
    return lambda: any(event.get("message") == "waiting" for event in folder.events())


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_job_that_is_done(tmp_path):
    job = launch(make(tmp_path, "done"))
    events = finish(job)
    assert (job.exit_code, job.state, job.is_running()) == (0, State.DONE, False)
    assert job.folder.result() == {"answer": 42}
    assert [e.get("message", e.get("state", e.get("phase"))) for e in events] == [
        "running",
        "Starting",
        "hello",
        "done",
    ]
    assert job.poll() == []
    with pytest.raises(UserError, match="is done"):
        launch(job.folder)


def test_stop_saves_and_resuming_goes_on(tmp_path):
    folder = make(tmp_path, "wait")
    job = launch(folder)
    wait_for(waiting(folder))
    assert job.state is State.RUNNING and job.exit_code is None
    with pytest.raises(UserError, match="still running"):
        launch(folder)
    job.stop()
    assert job.state in (State.STOPPING, State.STOPPED)
    finish(job)
    assert (job.exit_code, job.state) == (130, State.STOPPED)
    assert (folder.path / "saved").exists()
    again = launch(folder, background=True)
    wait_for(lambda: [e for e in again.poll() if e.get("message") == "waiting"])
    assert again.state is State.RUNNING, "what the first worker said is not news, nor is its stop"
    if sys.platform != "win32":
        assert psutil.Process(again.pid).nice() == 10
    again.stop()
    finish(again)
    assert again.state is State.STOPPED


def test_a_worker_that_will_not_stop_is_killed_with_its_children(tmp_path):
    folder = make(tmp_path, "deaf")
    job = launch(folder)
    child = int(wait_for(lambda: (folder.path / "child").exists() and (folder.path / "child").read_text()))
    job.stop(grace_seconds=0.3)
    job.poll()
    assert job.is_running(), "it has its time of grace"
    time.sleep(0.4)
    job.poll()
    assert not job.is_running() and gone(job.pid)
    wait_for(lambda: gone(child))
    assert job.state is State.FAILED and folder.state() is State.FAILED
    job.kill()  # killing an ended worker is no error


def test_a_worker_that_crashes_has_failed(tmp_path):
    job = launch(make(tmp_path, "crash"))
    finish(job)
    assert (job.exit_code, job.state, job.folder.state()) == (11, State.FAILED, State.FAILED)


def test_a_worker_that_dies_before_it_says_a_word_has_failed(tmp_path, monkeypatch):
    (tmp_path / "path" / "sitecustomize.py").write_text("import os; os._exit(7)", encoding="utf-8")
    job = launch(make(tmp_path, "done"))
    finish(job)
    assert (job.exit_code, job.state) == (7, State.FAILED)


def test_a_resumed_worker_that_dies_at_once_has_failed_whatever_the_first_one_said(tmp_path):
    folder = make(tmp_path, "wait")
    first = launch(folder)
    wait_for(waiting(folder))
    first.stop()
    finish(first)
    (tmp_path / "path" / "sitecustomize.py").write_text("import os; os._exit(7)", encoding="utf-8")
    job = launch(folder)
    finish(job)
    assert job.state is State.FAILED


def test_what_the_worker_prints_is_in_the_log(tmp_path):
    (tmp_path / "path" / "sitecustomize.py").write_text("print('Grüße'); import os; os._exit(7)", encoding="utf-8")
    job = launch(make(tmp_path, "done"))
    finish(job)
    # os._exit does not flush; python -u does not need it to.
    assert "Gr" in job.folder.log_file.read_text(encoding="utf-8", errors="replace")


def test_the_worker_leaves_when_its_launcher_dies(tmp_path):
    folder = make(tmp_path, "wait")
    code = (
        "import sys, time\n"
        "from MedDeepLib.jobs import JobFolder, launch\n"
        "print(launch(JobFolder(sys.argv[1])).pid, flush=True)\n"
        "time.sleep(3600)\n"
    )
    import MedDeepLib

    path = [str(Path(MedDeepLib.__file__).parents[1]), str(tmp_path / "path")]
    import os

    launcher = subprocess.Popen(
        [sys.executable, "-c", code, str(folder.path)],
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(path)),
        stdout=subprocess.PIPE,
        text=True,
    )
    worker = int(launcher.stdout.readline())
    wait_for(waiting(folder))
    launcher.kill()
    launcher.wait()
    wait_for(lambda: gone(worker))
    assert folder.state() is State.STOPPED and (folder.path / "saved").exists()


def test_four_workers_leave_no_process_behind(tmp_path):
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    jobs = [
        launch(JobFolder.create(tmp_path / str(n), Job("segment", "train", method="unet", dataset="wait")))
        for n in range(4)
    ]
    for job in jobs[:2]:
        job.kill()
    for job in jobs[2:]:
        job.stop()
        job.wait(20)
    for job in jobs:
        job.wait(5)
    assert {process.pid for process in psutil.Process().children(recursive=True)} <= before


def test_a_folder_given_relative_to_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job = launch(JobFolder.create("runs/first", Job("segment", "train", method="unet", dataset="done")))
    finish(job)
    assert (job.exit_code, job.state) == (0, State.DONE)
    assert job.folder.path == tmp_path / "runs" / "first"
