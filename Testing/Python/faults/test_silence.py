"""Hanging workers are detected, reported, and ended with their children; slow ones are not."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import replace

import pytest
from fault_tools import finish, gone, identical, last_state, launcher, training_job, wait_for, write_card, write_play
from MedDeepLib.jobs import Job, JobFolder, State, WarmWorkers, launch
from MedDeepLib.jobs.heartbeat import HeartbeatMonitor, Pulse, beat, limit_seconds
from toy_cases import image_item

LIMIT = 2.0
CHILD = """
child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
(folder.path / "child").write_text(str(child.pid))
"""
HANGING = CHILD + "time.sleep(600)"
# It starts a process that starts another one and exits, so that the last one is an orphan.
GRANDCHILD = """
sleep = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]
code = f"import subprocess; print(subprocess.Popen({sleep}, stdout=subprocess.DEVNULL).pid)"
child = subprocess.run([sys.executable, "-S", "-c", code], stdout=subprocess.PIPE, text=True).stdout
(folder.path / "child").write_text(child)
time.sleep(600)
"""
ASKING = (
    CHILD
    + """
while not stop_requested():
    time.sleep(0.05)
raise Stopped
"""
)


@pytest.fixture(autouse=True)
def short_limit(monkeypatch):
    monkeypatch.setenv("MEDDEEP_SILENCE_SECONDS", str(LIMIT))


@pytest.fixture
def folder(tmp_path) -> JobFolder:
    return JobFolder.create(tmp_path / "run", training_job(tmp_path))


def child_of(folder: JobFolder) -> int:
    file = folder.path / "child"
    return int(wait_for(lambda: file.exists() and file.read_text(encoding="utf-8")))


def announced(events: list[dict]) -> list[dict]:
    return [event for event in events if event["event"] == "warning" and event.get("silent")]


@pytest.mark.parametrize("body", [HANGING, GRANDCHILD] if sys.platform != "win32" else [HANGING])
def test_a_worker_that_hangs_is_announced_and_then_ended_with_its_children(folder, tmp_path, monkeypatch, body, tally):
    write_play(monkeypatch, tmp_path, body)
    began = time.monotonic()
    job = launch(folder)
    child = child_of(folder)
    events = finish(job)
    seconds = time.monotonic() - began
    assert [event["message"] for event in announced(events)] == [
        "The worker has sent no heartbeat for 2 s. It will be ended in another 2 s."
    ]
    failure = last_state(events)
    assert failure["state"] == "failed" and failure["kind"] == "silent"
    assert failure["message"] == "The worker sent no heartbeat for 4 s and was ended; start the job again."
    wait_for(lambda: gone(child) and gone(job.pid))
    assert job.state is State.FAILED and folder.state() is State.FAILED
    assert last_state(folder.events())["message"] == failure["message"], "who asks later is told as well"
    assert seconds >= 2 * LIMIT
    tally(f"1 hanging worker and its child ended {seconds:.1f} s after the start, for a limit of 2 x {LIMIT:g} s")


@pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")
def test_a_frozen_worker_is_ended_and_its_checkpoint_is_named(folder, tmp_path, monkeypatch):
    write_play(monkeypatch, tmp_path, ASKING)
    job = launch(folder)
    child = child_of(folder)
    (folder.path / "checkpoint.pt").touch()
    os.kill(job.pid, signal.SIGSTOP)
    events = finish(job)
    assert len(announced(events)) == 1
    assert last_state(events)["message"].endswith("and was ended; its last checkpoint is kept.")
    wait_for(lambda: gone(child))
    assert folder.can_resume()


@pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")
def test_a_worker_that_comes_back_is_left_alone(folder, tmp_path, monkeypatch):
    write_play(monkeypatch, tmp_path, ASKING)
    job = launch(folder)
    child_of(folder)
    os.kill(job.pid, signal.SIGSTOP)
    events: list[dict] = []
    wait_for(lambda: [events.extend(job.poll()), announced(events)][-1])
    os.kill(job.pid, signal.SIGCONT)
    wait_for(lambda: [events.extend(job.poll()), any(e.get("silent") is False for e in events)][-1])
    assert events[-1]["message"] == "The worker sends heartbeats again."
    job.stop()
    assert last_state(finish(job))["state"] == "stopped"


def test_a_worker_that_says_nothing_but_works_is_not_disturbed(folder, tmp_path, monkeypatch):
    write_play(monkeypatch, tmp_path, ASKING)
    job = launch(folder)
    child_of(folder)
    events: list[dict] = []
    until = time.monotonic() + 3 * LIMIT
    while time.monotonic() < until:
        events += job.poll()
        assert job.is_running()
        time.sleep(0.05)
    assert not announced(events)
    job.stop()
    assert last_state(finish(job))["state"] == "stopped"


def test_a_job_that_waits_for_its_device_is_not_disturbed(tmp_path, monkeypatch):
    write_card(monkeypatch, tmp_path)
    first, second = (launch(JobFolder.create(tmp_path / name, training_job(tmp_path))) for name in ("a", "b"))
    try:
        wait_for(lambda: {"queued", "running"} <= {str(job.folder.state()) for job in (first, second)})
        until = time.monotonic() + 3 * LIMIT
        while time.monotonic() < until:
            assert not announced([*first.poll(), *second.poll()])
            assert first.is_running() and second.is_running()
            time.sleep(0.05)
    finally:
        first.kill()
        second.kill()


@pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")
def test_a_warm_worker_that_hangs(tmp_path, monkeypatch):
    write_play(monkeypatch, tmp_path, HANGING)
    workers = WarmWorkers(idle_seconds=60)
    try:
        job_ = Job("segment", "apply", model="m", items=(image_item("o.nrrd", "i.nrrd"),), device="cpu")
        job = workers.submit(JobFolder.create(tmp_path / "apply", job_))
        child = child_of(job.folder)
        events = finish(job)
        assert len(announced(events)) == 1 and last_state(events)["kind"] == "silent"
        assert job.state is State.FAILED
        wait_for(lambda: gone(child) and gone(job.pid))
        write_play(monkeypatch, tmp_path, "return {}")
        again = workers.submit(JobFolder.create(tmp_path / "again", job_))
        assert last_state(finish(again))["state"] == "done", "the next job gets another worker"
    finally:
        workers.close()


def test_what_a_person_at_a_terminal_sees(folder, tmp_path, monkeypatch):
    write_play(monkeypatch, tmp_path, HANGING)
    process = launcher(folder.path)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 3
    lines = text.splitlines()
    assert "Warning: The worker has sent no heartbeat for 2 s. It will be ended in another 2 s." in lines
    assert lines[-1] == "Error: The worker sent no heartbeat for 4 s and was ended; start the job again."


def test_a_script_that_only_waits_is_not_kept_forever(folder, tmp_path, monkeypatch):
    write_play(monkeypatch, tmp_path, HANGING)
    job = launch(folder)
    assert job.wait(60) not in (0, None)
    assert last_state(job.poll())["kind"] == "silent"


METHOD_THAT_HANGS = """
import subprocess, sys, time

from SegmentModuleLib.methods.unet import UNet


class Hangs(UNet):
    name, title = "hangs", "Hangs"

    def stages(self, prepared, context):
        marker = context.folder / "child"
        hangs = not marker.exists()
        for stage in super().stages(prepared, context):

            def sample(number, original=stage.data.sample):
                if hangs and number == 8:
                    child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
                    marker.write_text(str(child.pid))
                    time.sleep(600)
                return original(number)

            stage.data.sample = sample
            yield stage
"""


@pytest.mark.slow
def test_a_method_whose_samples_do_not_come(undisturbed, tmp_path, monkeypatch):
    """A real training hangs; once resumed it does not, and ends with the weights of the method it is derived from."""
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods" / "hangs_in_this_test.py").write_text(METHOD_THAT_HANGS, encoding="utf-8")
    monkeypatch.setenv("MEDDEEP_METHODS", str(tmp_path / "methods"))
    monkeypatch.setenv("MEDDEEP_SILENCE_SECONDS", "60")  # a worker gives no heartbeat during its imports either
    request = replace(training_job(undisturbed.dataset), method="hangs")
    job = launch(JobFolder.create(tmp_path / "run", request))
    child = wait_for(lambda: (job.folder.path / "child").exists() and child_of(job.folder))
    job._heartbeat.limit = 3.0
    events = finish(job)
    assert last_state(events)["kind"] == "silent" and len(announced(events)) == 1
    wait_for(lambda: gone(child))
    assert last_state(finish(launch(job.folder)))["state"] == "done"
    assert identical(job.folder.path, undisturbed.run)


# --- the rule itself --------------------------------------------------------------------------------------------------


@pytest.fixture
def watch(tmp_path, monkeypatch):
    """A monitor of an untouched file, with a clock that the test sets."""
    monkeypatch.setenv("MEDDEEP_SILENCE_SECONDS", "10")
    file = tmp_path / "events.jsonl"
    file.touch()
    clock = [0.0]
    watch = HeartbeatMonitor(file, lambda: clock[0])
    watch.look()

    def after(seconds: float, looks: int = 1) -> list[Pulse]:
        found = []
        for _ in range(looks):
            clock[0] += seconds / looks
            found.append(watch.look())
        return [finding for finding in found if finding is not Pulse.ALIVE]

    after.file = file
    return after


def test_first_a_warning_then_the_end_each_once(watch):
    assert watch(9.5, 10) == []
    assert watch(1, 2) == [Pulse.SILENT] and watch(8, 10) == []
    assert watch(2, 2) == [Pulse.DEAD] and watch(100, 100) == []


def test_time_in_which_nobody_looks_does_not_count(watch):
    """The computer was asleep, or the application was busy."""
    assert watch(8 * 3600) == [] and watch(3600) != [Pulse.DEAD]


def test_signs_of_life_are_dates_that_change_whatever_the_clock_says(watch):
    for moment in (1_000_000, 900_000, 5_000_000_000, 0):
        watch(9, 9)
        os.utime(watch.file, (moment, moment))
        assert watch(0.1) == []
    assert watch(11, 11) == [Pulse.SILENT]
    beat(watch.file)
    assert watch(0.1) == [Pulse.BACK]


def test_no_limit_no_end(watch, tmp_path, monkeypatch):
    monkeypatch.setenv("MEDDEEP_SILENCE_SECONDS", "0")
    clock = [0.0]
    endless = HeartbeatMonitor(tmp_path / "events.jsonl", lambda: clock[0])
    for _ in range(1000):
        clock[0] += 5
        assert endless.look() is Pulse.ALIVE


@pytest.mark.parametrize("value, seconds", [("", 600), ("x", 600), ("30", 30), ("-5", 0)])
def test_the_limit(monkeypatch, value, seconds):
    monkeypatch.setenv("MEDDEEP_SILENCE_SECONDS", value)
    assert limit_seconds() == seconds
