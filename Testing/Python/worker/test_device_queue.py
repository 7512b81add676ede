"""Jobs that want the same GPU: one computes, the others wait in order, report that, and can be stopped.

Real launchers and workers; a sitecustomize.py on the workers' path pretends that the computer has one GPU, on which
torch computes as on the CPU, and replaces the work by waiting for a file named "go" in the job folder.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import MedDeepLib
import pytest
from MedDeepLib.devices import move, waiting
from MedDeepLib.jobs import Job, JobFolder, State, launch
from pretended_card import CARD, computing, let_end, pretend, wait_for

LAUNCHER = """
import sys, time
from MedDeepLib.jobs import JobFolder, launch
job = launch(JobFolder(sys.argv[1]))
print(job.pid, flush=True)
sys.exit(job.wait(60))
"""


@pytest.fixture(autouse=True)
def with_a_card(tmp_path, monkeypatch):
    pretend(tmp_path, monkeypatch)


@pytest.fixture
def start(tmp_path):
    """Starts jobs; workers that still run after the test are killed."""
    jobs = []

    def make(name: str, method: str = "unet"):
        jobs.append(launch(JobFolder.create(tmp_path / name, Job("segment", "train", method=method, dataset="x"))))
        return jobs[-1]

    yield make
    for job in jobs:
        job.kill()


def queued(job) -> bool:
    return job.folder.state() is State.QUEUED and bool(sentences(job))


def sentences(job) -> list[str]:
    return [e["message"] for e in job.folder.events() if e["event"] == "state" and e["state"] == "queued"]


def test_the_second_job_waits_and_then_computes(start):
    first = start("first")
    wait_for(lambda: computing(first))
    second = start("second", "segresnet")
    wait_for(lambda: queued(second))
    second.poll()
    assert second.state is State.QUEUED and first.state is State.RUNNING
    assert not computing(second)
    used_by = f"used by 'train unet' ({waiting_application()}process {first.pid})"
    assert sentences(second) == [f"Waiting for Pretended card, {used_by}"]
    assert f"Waiting for Pretended card, {used_by}" in [e.get("phase") for e in second.folder.events()]
    let_end(first)
    wait_for(lambda: computing(second))
    second.poll()
    assert second.state is State.RUNNING and second.folder.state() is State.RUNNING
    let_end(second)
    assert (first.wait(20), second.wait(20)) == (0, 0)
    assert second.folder.result() == {"device": "cuda:0"}


def waiting_application() -> str:
    import psutil

    return psutil.Process().name() + ", "


def test_a_job_that_waits_is_stopped_at_once_and_can_be_started_again(start):
    first = start("first")
    wait_for(lambda: computing(first))
    second = start("second")
    wait_for(lambda: queued(second))
    second.stop()
    assert second.wait(30) == 130 and computing(first), "it has not waited for the GPU"
    assert second.state is State.STOPPED and second.folder.state() is State.STOPPED
    assert waiting(CARD) == []
    let_end(first)
    let_end(second)
    assert launch(second.folder).wait(20) == 0


def test_the_card_of_a_killed_worker_goes_to_the_one_that_waits(start):
    first = start("first")
    wait_for(lambda: computing(first))
    second = start("second")
    wait_for(lambda: queued(second))
    first.kill()
    wait_for(lambda: computing(second))
    assert first.folder.state() is State.FAILED and second.folder.state() is State.RUNNING


def test_a_killed_job_that_waited_has_failed_and_is_out_of_the_queue(start):
    first = start("first")
    wait_for(lambda: computing(first))
    second = start("second")
    wait_for(lambda: queued(second))
    second.kill()
    assert second.folder.state() is State.FAILED and waiting(CARD) == []


def test_the_order_can_be_changed_while_jobs_wait(start):
    jobs = [start("first")]
    wait_for(lambda: computing(jobs[0]))
    for name in ("second", "third"):
        jobs.append(start(name))
        wait_for(lambda: queued(jobs[-1]))
    tickets = waiting(CARD)
    assert [ticket.pid for ticket in tickets] == [jobs[1].pid, jobs[2].pid]
    assert tickets[1].folder == str(jobs[2].folder.path) and tickets[1].title == "train unet"
    wait_for(lambda: sentences(jobs[2])[-1].endswith("; 1 job comes before this one"))
    move(tickets[1].id, 0)
    wait_for(lambda: sentences(jobs[1])[-1].endswith("; 1 job comes before this one"))
    let_end(jobs[0])
    wait_for(lambda: computing(jobs[2]))
    assert queued(jobs[1]) and not computing(jobs[1])


def test_a_resumed_training_keeps_its_number_of_threads(start, monkeypatch):
    """The last bits of its weights depend on it, so it must not depend on the number of other jobs."""
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    first = start("first")
    wait_for(lambda: computing(first))
    first.stop()
    assert first.wait(20) == 130
    assert resources(first.folder) == {"device": "cuda:0", "threads": 3}
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    (first.folder.path / "checkpoint.pt").touch()
    let_end(first)
    assert launch(first.folder).wait(20) == 0 and resources(first.folder)["threads"] == 3
    second = start("second")
    let_end(second)
    assert second.wait(20) == 0 and resources(second.folder)["threads"] == 2


def resources(folder: JobFolder) -> dict:
    return json.loads(folder.resources_file.read_text(encoding="utf-8"))


def test_two_applications_start_jobs_at_once(tmp_path):
    """Two processes launch jobs, as two Slicers do, and one of them is killed with its worker."""
    folders = [
        JobFolder.create(tmp_path / name, Job("segment", "train", method="unet", dataset="x")) for name in ("a", "b")
    ]
    library = str(Path(MedDeepLib.__file__).parents[1])
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join([library, str(tmp_path / "path")]))
    launchers = [
        subprocess.Popen(
            [sys.executable, "-c", LAUNCHER, str(folder.path)], env=environment, stdout=subprocess.PIPE, text=True
        )
        for folder in folders
    ]
    try:
        states = wait_for(lambda: one_computes_and_one_waits(folders))
        runner, waiter = states.index(State.RUNNING), states.index(State.QUEUED)
        (folders[runner].path / "go").touch()
        assert launchers[runner].wait(20) == 0
        wait_for(lambda: folders[waiter].state() is State.RUNNING)
        (folders[waiter].path / "go").touch()
        assert launchers[waiter].wait(20) == 0
        assert [folder.state() for folder in folders] == [State.DONE, State.DONE]
    finally:
        for launcher in launchers:
            launcher.kill()
            launcher.communicate()


def one_computes_and_one_waits(folders) -> list[State] | None:
    states = [folder.state() for folder in folders]
    events = [event for folder in folders for event in folder.events()]
    begun = any(event.get("phase") == "Computing" for event in events)
    waits = any(event["event"] == "state" and event["state"] == "queued" for event in events)
    return states if begun and waits and sorted(states) == [State.QUEUED, State.RUNNING] else None


def test_the_scripts_show_change_and_stop_the_queue(start, tmp_path, capsys, monkeypatch):
    """``jobs.py`` and ``devices.py``, on jobs that were started elsewhere."""
    from MedDeepLib.cli import devices_command, jobs_command
    from MedDeepLib.devices import manager

    monkeypatch.setattr(manager, "_cuda_devices", lambda: [CARD])
    monkeypatch.setenv("MEDDEEP_RUNS", str(tmp_path))
    jobs = [start("first")]
    wait_for(lambda: computing(jobs[0]))
    for name in ("second", "third"):
        jobs.append(start(name))
        wait_for(lambda: queued(jobs[-1]))
    assert jobs_command.main(["list"]) == 0
    states = {line.split()[0]: line.split()[3] for line in capsys.readouterr().out.splitlines()[1:]}
    assert states == {"first": "running", "second": "queued", "third": "queued"}
    assert jobs_command.main(["show", "third"]) == 0
    assert "Waiting for Pretended card" in capsys.readouterr().out

    ticket = waiting(CARD)[1]
    assert devices_command.main(["move", ticket.id, "1"]) == 0
    assert [t.folder for t in waiting(CARD)] == [str(jobs[2].folder.path), str(jobs[1].folder.path)]
    table = capsys.readouterr().out
    assert table.index(f"process {jobs[2].pid}") < table.index(f"process {jobs[1].pid}")

    assert jobs_command.main(["stop", "third"]) == 0
    assert capsys.readouterr().out == "Stopped.\n" and jobs[2].wait(10) == 130
    assert [t.folder for t in waiting(CARD)] == [str(jobs[1].folder.path)]
    assert jobs_command.main(["delete", "second", "--yes"]) == 2 and "is running" in capsys.readouterr().err
    let_end(jobs[0])
    wait_for(lambda: computing(jobs[1]))
    let_end(jobs[1])
    assert (jobs[0].wait(20), jobs[1].wait(20)) == (0, 0)
