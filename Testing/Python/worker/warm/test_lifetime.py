"""When a warm worker exits: idle, retired, closed, or together with the process that started it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import MedDeepLib
from MedDeepLib.jobs import State
from MedDeepLib.jobs.warm import WarmJob, end_in_words
from warm_plays import begun, gone, wait_for


def test_it_leaves_after_some_idle_time(start, plays):
    workers = start(idle_seconds=0.5)
    job = workers.submit(plays("one"))
    job.wait(60)
    wait_for(lambda: gone(job.pid))
    after = workers.submit(plays("two"))
    # A worker that is about to exit may still be given the job, which then goes to its replacement.
    assert after.wait(60) == 0 and after.pid != job.pid


def test_retiring_ends_the_idle_and_lets_the_busy_finish(start, plays):
    workers = start()
    idle = workers.submit(plays("idle"))
    idle.wait(20)
    files = workers._workers[0]._folder
    assert files.is_dir()
    workers.retire()
    wait_for(lambda: gone(idle.pid))
    wait_for(lambda: workers.retire() or not files.exists())
    busy = begun(workers.submit(plays("long")))
    workers.retire()
    time.sleep(0.1)
    assert busy.is_running() and not gone(busy.pid)
    busy.stop()
    assert busy.wait(20) == 130
    wait_for(lambda: gone(busy.pid))


def test_closing_ends_everything_at_once(start, plays):
    workers = start()
    jobs = [workers.submit(plays("deaf", device)) for device in ("cpu", "cuda:0")]
    begun(jobs[0])
    workers.close()
    assert all(gone(job.pid) for job in jobs)
    assert all(job.state is State.FAILED for job in jobs)


def test_none_stays_if_the_user_wants_none(start, plays, monkeypatch):
    monkeypatch.setenv("MEDDEEP_WARM_SECONDS", "0")
    job = start().submit(plays("one"))
    assert not isinstance(job, WarmJob)
    job.kill()


def serve(*arguments: str) -> subprocess.Popen:
    library = str(Path(MedDeepLib.__file__).parents[1])
    return subprocess.Popen(
        [sys.executable, "-m", "MedDeepLib.worker", "--serve", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=dict(os.environ, PYTHONPATH=os.pathsep.join([library, os.environ.get("PYTHONPATH", "")])),
    )


def test_it_leaves_when_its_input_is_closed():
    worker = serve()
    worker.stdin.write(b"this is no request\n")
    worker.stdin.close()
    assert worker.wait(20) == 0 and worker.stdout.read() == b""


def test_a_job_in_hand_is_stopped_when_the_input_is_closed(plays):
    folder = plays("long")
    worker = serve()
    worker.stdin.write(json.dumps({"request": 7, "folder": str(folder.path)}).encode() + b"\n")
    worker.stdin.flush()
    wait_for(lambda: any(event["event"] == "message" for event in folder.events()))
    worker.stdin.close()
    assert worker.wait(20) == 0
    answer = json.loads(worker.stdout.read())
    assert (answer["request"], answer["state"], answer["exit_code"]) == (7, "stopped", 130)
    assert folder.state() is State.STOPPED


def test_it_leaves_with_whoever_has_started_it():
    parent = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE)
    worker = serve("--parent", str(parent.pid))
    assert worker.poll() is None
    parent.kill()
    parent.wait()
    assert worker.wait(20) == 0


def test_a_job_that_wants_the_card_gets_the_memory_of_an_idle_worker(monkeypatch, tmp_path):
    from MedDeepLib.devices import Device, Lease
    from MedDeepLib.worker import server

    card = Device("cuda:0", "NVIDIA H", key="GPU-1")
    monkeypatch.setenv("MEDDEEP_STATE", str(tmp_path))
    monkeypatch.setattr(server, "resolve", lambda device_id: card)
    assert not server.gpu_is_wanted("cuda:0")
    with Lease([card], "train unet") as lease:
        assert server.gpu_is_wanted("cuda:0"), "somebody waits for it"
        assert lease.take() and server.gpu_is_wanted("cuda:0")
        assert not server.gpu_is_wanted("") and not server.gpu_is_wanted("cpu")
    assert not server.gpu_is_wanted("cuda:0")


def test_ends_in_words():
    assert "exit code 7" in end_in_words(7)
    if sys.platform != "win32":
        assert "memory" in end_in_words(-9) and "SIGABRT" in end_in_words(-6)
