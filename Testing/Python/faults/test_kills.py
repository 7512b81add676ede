"""Workers killed at any moment: the training is resumed, and ends with exactly the same weights."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from fault_tools import (
    LIBRARIES,
    begun,
    finish,
    gone,
    identical,
    launcher,
    resume_here,
    training_job,
    wait_for,
    write_play,
)
from MedDeepLib.jobs import JobFolder, State, launch
from MedDeepLib.worker.process import _PARENT_CHECK_SECONDS

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")


def killed_at_random(undisturbed, tmp_path: Path, kills: int, seed: int, tally) -> None:
    """Kill real workers ``kills`` times, at moments spread over the length of the undisturbed run, and resume them.

    A training that ends between two kills is compared, and another one is started.
    """
    random_ = random.Random(seed)
    moments = [(number + random_.random()) / kills * undisturbed.seconds for number in range(kills)]
    random_.shuffle(moments)
    began, runs, done, phases = time.monotonic(), [], 0, {}
    while done < kills or not runs or runs[-1].state() is not State.DONE:
        if not runs or runs[-1].state() is State.DONE:
            runs.append(JobFolder.create(tmp_path / f"run{len(runs)}", training_job(undisturbed.dataset)))
        folder = runs[-1]
        spoken = len(folder.events())
        job = launch(folder)
        if done < kills:
            wait_for(lambda f=folder, n=spoken: any(e.get("phase") == "Reading the dataset" for e in f.events()[n:]))
            time.sleep(moments[done])
            if job.is_running():
                phase = [event["phase"] for event in folder.events() if event["event"] == "phase"][-1]
                phases[phase] = phases.get(phase, 0) + 1
                os.kill(job.pid, signal.SIGKILL)
                done += 1
        finish(job)
    same = [identical(folder.path, undisturbed.run) for folder in runs]
    tally(
        f"{done} kills, {done} resumed, {len(runs)} trainings ended, weights identical in {sum(same)} of them "
        f"({time.monotonic() - began:.0f} s; killed while: {phases})"
    )
    assert all(same)


@pytest.mark.slow
def test_killed_five_times(undisturbed, tmp_path, tally):
    killed_at_random(undisturbed, tmp_path, kills=5, seed=1, tally=tally)


@pytest.mark.slow
def test_killed_fifty_times(undisturbed, tmp_path, tally):
    killed_at_random(undisturbed, tmp_path, kills=50, seed=2, tally=tally)


PRELOADED = [
    "itk",
    "monai.engines",
    "monai.networks.nets",
    "skimage.filters",
    "MedDeepLib.worker.actions",
    "MedDeepLib.training.engine",
    "SegmentModuleLib.worker.cases",
]


# --- at every file that is put in place -------------------------------------------------------------------------------


def work_until_killed(folder: Path, notes: Path) -> None:
    """Run the worker in a separate process; it is killed right before or after it puts a file in place, at the first of
    these moments that is not in the notes yet."""
    from MedDeepLib.worker.__main__ import main

    original, known = os.replace, notes.read_text(encoding="utf-8").splitlines()

    def die_at(moment: str) -> None:
        if moment not in known:
            with notes.open("a", encoding="utf-8") as file:
                file.write(moment + "\n")
            os.kill(os.getpid(), signal.SIGKILL)

    def replace(source, target):
        die_at(f"before {Path(target).name}")
        original(source, target)
        die_at(f"after {Path(target).name}")

    os.replace = replace
    os._exit(main([str(folder), "--quiet"]))


@pytest.mark.slow
def test_killed_before_and_after_every_file_that_is_put_in_place(undisturbed, tmp_path, tally):
    """The moments that could leave a half-written run: checkpoint, best weights, model, manifest, result."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    folder = JobFolder.create(tmp_path / "run", training_job(undisturbed.dataset))
    notes = tmp_path / "killed"
    notes.touch()
    exit_code = -signal.SIGKILL
    while exit_code == -signal.SIGKILL and not folder.result_file.exists():
        folder.prepare_restart()
        process = context.Process(target=work_until_killed, args=(folder.path, notes))
        process.start()
        process.join(120)
        exit_code = process.exitcode
    moments = notes.read_text(encoding="utf-8").splitlines()
    same = identical(folder.path, undisturbed.run)
    tally(f"{len(moments)} kills, {len(moments) - 1} resumed, weights identical: {same}; {', '.join(moments)}")
    files = ("worker.json", "parameters.json", "manifest.json", "checkpoint.pt", "checkpoint.previous.pt", "best.0.pt")
    for name in (*files, "model", "result.json"):
        assert {f"before {name}", f"after {name}"} <= set(moments)
    assert folder.state() is State.DONE and same


# --- the launcher -----------------------------------------------------------------------------------------------------


def test_a_worker_whose_launcher_is_killed_saves_and_leaves(undisturbed, tmp_path, tally):
    folder = JobFolder.create(tmp_path / "run", training_job(undisturbed.dataset))
    application = launcher(folder.path)
    try:
        wait_for(begun(folder))
        worker = psutil.Process(folder.worker_pid())
        worker.suspend()  # else a fast computer finishes before the worker checks for its launcher again
        application.kill()
        killed = time.monotonic()
        time.sleep(1.5 * _PARENT_CHECK_SECONDS)
        worker.resume()
        wait_for(lambda: gone(worker.pid))
    finally:
        application.kill()
        application.communicate()
    seconds = time.monotonic() - killed
    tally(f"gone {seconds:.1f} s after its launcher was killed")
    assert folder.state() is State.STOPPED and folder.can_resume()
    log = folder.log_file.read_text(encoding="utf-8")
    assert resume_here(folder)["state"] == "done"
    assert identical(folder.path, undisturbed.run)
    assert "application that started this job has ended" in log


@pytest.mark.slow
def test_a_launcher_whose_number_was_given_away_is_not_taken_for_alive(undisturbed, tmp_path):
    """The launcher dies while its worker is starting, and another process gets its id."""
    folder = JobFolder.create(tmp_path / "run", training_job(undisturbed.dataset))
    me = psutil.Process()
    for parent, expected in ((f"{me.pid}:{me.create_time() - 500}:{1.0}", 130), (f"{2**22 - 3}", 130)):
        folder.prepare_restart()
        command = [sys.executable, "-m", "MedDeepLib.worker", str(folder.path), "--quiet", "--parent", parent]
        environment = dict(os.environ, PYTHONPATH=os.pathsep.join(LIBRARIES))
        assert subprocess.run(command, env=environment, timeout=60, capture_output=True).returncode == expected
        assert folder.state() is State.STOPPED


def test_a_worker_that_does_not_notice_that_its_launcher_is_gone_is_ended_with_its_children(tmp_path, monkeypatch):
    write_play(
        monkeypatch,
        tmp_path,
        """
        import MedDeepLib.worker.process
        MedDeepLib.worker.process._ORPHAN_GRACE_SECONDS = 1.0
        child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(3600)"])
        (folder.path / "child").write_text(str(child.pid))
        time.sleep(3600)
        """,
    )
    folder = JobFolder.create(tmp_path / "run", training_job(tmp_path))
    application = launcher(folder.path)
    child = int(wait_for(lambda: (folder.path / "child").exists() and (folder.path / "child").read_text()))
    worker = json.loads(folder.worker_file.read_text(encoding="utf-8"))["pid"]
    application.kill()
    application.communicate()
    wait_for(lambda: gone(worker) and gone(child))
    assert folder.state() is State.FAILED
