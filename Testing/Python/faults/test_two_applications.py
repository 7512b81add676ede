"""Two applications want the same GPU: one waits, says for which job, and takes over however the other one ends."""

from __future__ import annotations

import os
import re
import signal
import sys
import time

import psutil
import pytest
from fault_tools import gone, identical, launcher, training_job, wait_for, write_card
from MedDeepLib.devices import Board
from MedDeepLib.jobs import JobFolder, State, launch

CLOCK = """
import os as _os, time as _time

if _os.environ.get("CLOCK"):
    _now = _time.time
    _time.time = lambda: _now() + (7200, -86400, 0, 10**8)[int(_time.monotonic()) % 4]
"""


def computing(folder: JobFolder) -> bool:
    return any(event.get("phase") == "Computing" for event in folder.events())


def waits(folder: JobFolder) -> list[str]:
    return [e["message"] for e in folder.events() if e["event"] == "state" and e["state"] == "queued"]


def done(holder, folder: JobFolder) -> None:
    (folder.path / "go").touch()


def worker_killed(holder, folder: JobFolder) -> None:
    psutil.Process(folder.worker_pid()).kill()


def application_killed(holder, folder: JobFolder) -> None:
    holder.kill()


def both_killed(holder, folder: JobFolder) -> None:
    worker = psutil.Process(folder.worker_pid())
    holder.kill()
    worker.kill()


def stopped(holder, folder: JobFolder) -> None:
    holder.send_signal(signal.SIGINT)


ENDS = [done, worker_killed, application_killed, both_killed] + ([stopped] if sys.platform != "win32" else [])


CASES = [(end, clock) for end in ENDS for clock in ("", "jumps")]
QUICK = [*((end, "") for end in ENDS), (both_killed, "jumps")]


@pytest.mark.parametrize(
    "end, clock", [pytest.param(*case, marks=() if case in QUICK else pytest.mark.slow) for case in CASES]
)
def test_the_one_that_waits_takes_over(tmp_path, monkeypatch, end, clock, tally):
    write_card(monkeypatch, tmp_path)
    code = tmp_path / "sitecustomize" / "sitecustomize.py"
    code.write_text(CLOCK + code.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setenv("CLOCK", clock)
    folders = [JobFolder.create(tmp_path / name, training_job(tmp_path)) for name in ("a", "b")]
    applications = [launcher(folder.path) for folder in folders]
    try:
        wait_for(lambda: any(map(computing, folders)) and any(map(waits, folders)))
        first = 0 if computing(folders[0]) else 1
        holder, waiter = folders[first], folders[1 - first]
        reason = rf"Waiting for Pretended card, used by 'train unet' \(.*process {holder.worker_pid()}\)"
        # It may have checked while the other one was next in line but had not leased the GPU yet.
        wait_for(lambda: re.fullmatch(reason, waits(waiter)[-1]))
        assert len(waits(waiter)) <= 2 and not waits(holder)
        assert not computing(waiter)
        began = time.monotonic()
        end(applications[first], holder)
        wait_for(lambda: computing(waiter))
        seconds = time.monotonic() - began
        assert waiter.state() is State.RUNNING
        (waiter.path / "go").touch()
        assert applications[1 - first].wait(30) == 0 and waiter.state() is State.DONE
        applications[first].wait(30)
        assert Board().tickets() == []
        tally(f"1 waited, said for whom, and computed {seconds:.1f} s after the holder's end")
    finally:
        for application in applications:
            application.kill()
            application.communicate()
    for folder in folders:
        assert folder.worker_pid() is None or gone(folder.worker_pid())


@pytest.mark.slow
def test_a_training_gives_the_same_weights_beside_another_one(toy_dataset, tmp_path, monkeypatch, tally):
    """The number of threads changes the last bits of a sum, so it must not depend on other jobs."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("MEDDEEP_STATE", str(tmp_path / "state"))
    jobs = []
    for name in ("beside", "other"):
        jobs.append(launch(JobFolder.create(tmp_path / name, training_job(toy_dataset, threads=0, seed=len(jobs)))))
    assert [job.wait(300) for job in jobs] == [0, 0]
    alone = launch(JobFolder.create(tmp_path / "alone", training_job(toy_dataset, threads=0, seed=0)))
    assert alone.wait(300) == 0
    threads = {job.folder.path.name: resources(job.folder) for job in (*jobs, alone)}
    assert len(set(threads.values())) == 1, threads
    same = identical(tmp_path / "beside", tmp_path / "alone")
    tally(f"weights identical alone and beside another training, {threads['alone']} threads each: {same}")
    assert same and not identical(tmp_path / "other", tmp_path / "alone")


def resources(folder: JobFolder) -> int:
    import json

    assert os.path.exists(folder.resources_file)
    return json.loads(folder.resources_file.read_text(encoding="utf-8"))["threads"]
