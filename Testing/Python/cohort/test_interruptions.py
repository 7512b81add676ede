"""Cohorts as users run them, in separate processes that are stopped or killed halfway."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from MedDeepLib.jobs import State
from MedDeepLib.jobs.folder import jobs_in
from toy_cohort import REPOSITORY, dice_of_bright_ball, states, summary, wait_for, write_scans

SCRIPT = REPOSITORY / "SegmentModule" / "Scripts" / "segment.py"
CASES = 8
# Slow enough to be interrupted halfway.
SLOW = ("--set", "overlap=0.5", "--set", "whole_image=yes")


@pytest.fixture
def started(toy_run, tmp_path):
    """A function that starts the script on a cohort; its processes are ended after the test."""
    write_scans(tmp_path / "scans", CASES)
    processes = []

    def start(workers: int = 2) -> subprocess.Popen:
        arguments = ["apply", "--model", toy_run, "--inputs", tmp_path / "scans", "--output-dir", tmp_path / "results"]
        arguments += ["--device", "cpu", "--workers", workers, *SLOW]
        environment = dict(os.environ, OMP_NUM_THREADS="1", PYTHONPATH="")
        processes.append(
            subprocess.Popen(
                [sys.executable, str(SCRIPT), *map(str, arguments)],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                encoding="utf-8",
            )
        )
        return processes[-1]

    yield start
    for process in processes:
        for child in family(process):
            with contextlib.suppress(psutil.Error):
                child.kill()
        process.kill()


def family(process: subprocess.Popen) -> list[psutil.Process]:
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def dask_workers(process: subprocess.Popen) -> list[psutil.Process]:
    found = []
    for child in family(process):
        with contextlib.suppress(psutil.Error):
            if "spawn_main" in " ".join(child.cmdline()):
                found.append(child)
    return found


def results(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "results").glob("*.seg.nrrd"))


def check_all(tmp_path: Path) -> None:
    assert len(results(tmp_path)) == CASES and not list((tmp_path / "results").glob("*kept*"))
    for number, output in enumerate(results(tmp_path), start=100):
        assert dice_of_bright_ball(output, number) > 0.75


def test_ctrl_c_leaves_everything_resumable(started, tmp_path, own_runs):
    process = started(workers=1)
    wait_for(lambda: len(results(tmp_path)) >= 2)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and "Stopped." in out
    before = {path: path.stat().st_mtime_ns for path in results(tmp_path)}
    assert 2 <= len(before) < CASES
    found = states(tmp_path / "results")
    assert found.count("done") <= len(before) and "not done yet" in found
    assert "run the same command again" in summary(tmp_path / "results")[str(CASES)]["reason"]
    (folder,) = jobs_in(own_runs)
    assert folder.state() is State.STOPPED and folder.job().action == "cohort"

    out, errors = started(workers=1).communicate(timeout=200)
    assert {path: path.stat().st_mtime_ns for path in before} == before, "finished cases are not computed again"
    found = states(tmp_path / "results")
    assert found.count("done before") == len(before) and found.count("done") == CASES - len(before), errors
    assert folder.state() is State.DONE
    check_all(tmp_path)


@pytest.mark.slow
def test_workers_that_are_killed_cost_nothing(started, tmp_path):
    process = started()
    killed = 0
    for wanted in (1, 4):
        wait_for(lambda wanted=wanted: len(results(tmp_path)) >= wanted)
        wait_for(lambda: dask_workers(process))
        dask_workers(process)[0].kill()
        killed += 1
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0 and killed == 2, errors
    assert states(tmp_path / "results") == ["done"] * CASES
    check_all(tmp_path)


@pytest.mark.slow
def test_all_workers_killed_at_once(started, tmp_path):
    process = started()
    wait_for(lambda: len(results(tmp_path)) >= 2)
    for worker in dask_workers(process):
        worker.kill()
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    check_all(tmp_path)


@pytest.mark.slow
def test_a_driver_that_is_killed_leaves_no_process_and_can_go_on(started, tmp_path, own_runs):
    process = started()
    wait_for(lambda: len(results(tmp_path)) >= 2)
    everyone = family(process)
    (folder,) = jobs_in(own_runs)
    psutil.Process(folder.worker_pid()).kill()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 3
    wait_for(lambda: not any(alive(child) for child in everyone))
    before = {path: path.stat().st_mtime_ns for path in results(tmp_path)}
    _, errors = started().communicate(timeout=300)
    assert {path: path.stat().st_mtime_ns for path in before} == before, errors
    check_all(tmp_path)


def alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


@pytest.mark.slow
def test_stopping_while_the_workers_start(started, tmp_path):
    process = started()
    wait_for((tmp_path / "results" / "summary.csv").exists)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert not results(tmp_path) or states(tmp_path / "results").count("not done yet") > 0
