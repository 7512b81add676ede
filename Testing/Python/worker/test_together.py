"""Trainings in several processes: on this computer by a worker, on several by SLURM's script."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from fault_tools import SETTINGS, begun, finish, gone, last_state, script, training_job, wait_for, weights
from MedDeepLib.errors import UserError
from MedDeepLib.jobs import Job, JobFolder, State, launch
from MedDeepLib.worker.process import StopRequest
from toy_cases import failure, run_job

SCRIPTS = Path(__file__).resolve().parents[3] / "MedDeepExtension" / "Scripts"
LONG = {"steps": 4000, "validate_every": 5}
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")


@pytest.fixture(scope="module")
def alone(toy_dataset, tmp_path_factory) -> Path:
    """One process with a batch of two."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    code, events = run_job(folder, training_job(toy_dataset, batch_size=2))
    assert code == 0, events[-1]
    return folder


def together(folder: Path, dataset: Path, processes: int = 2, **changes) -> JobFolder:
    return JobFolder.create(folder, replace(training_job(dataset, **changes), processes=processes))


def ranks_of(pid: int) -> dict[int, psutil.Process]:
    """The processes that train together below the worker ``pid``, by their numbers."""
    found = {}
    for process in psutil.Process(pid).children(recursive=True):
        try:
            if "MedDeepLib.worker.rank" in process.cmdline() and "RANK" in process.environ():
                found[int(process.environ()["RANK"])] = process
        except psutil.Error:
            continue
    return found


def alike(first: Path, second: Path) -> None:
    import torch

    one, other = weights(first), weights(second)
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], atol=1e-4, rtol=1e-3)


def test_two_processes_give_the_model_of_one_with_twice_the_batch(alone, toy_dataset, tmp_path):
    folder = together(tmp_path / "run", toy_dataset)
    events = finish(launch(folder))
    assert last_state(events)["state"] == "done", last_state(events)
    alike(folder.path, alone)
    assert any("in 2 processes" in e.get("message", "") for e in events)
    steps = [e["step"] for e in events if e["event"] == "metrics" and "validation Dice" in e["values"]]
    assert steps == [11, 22, 33, 44, 50], "said once"
    usage = folder.result()["usage"]
    assert usage["device"] == "cpu,cpu" and usage["processor_seconds"] > 0
    assert json.loads(folder.manifest_file.read_text())["device"]["processes"] == 2
    figures = [JobFolder(run).result()["figures"]["unet"]["validation Dice"] for run in (folder.path, alone)]
    assert figures[0] == pytest.approx(figures[1], abs=0.02)
    assert {file.name for file in folder.path.iterdir()} == {file.name for file in alone.iterdir()} | {"log.txt"}


@pytest.mark.slow
def test_a_killed_process_ends_the_job_which_goes_on_with_one(toy_dataset, tmp_path):
    folder = together(tmp_path / "run", toy_dataset, **LONG)
    job = launch(folder)
    wait_for(begun(folder, 10))
    processes = ranks_of(job.pid)
    assert sorted(processes) == [0, 1]
    processes[1].kill()
    events = finish(job)
    assert "number 1 ended unexpectedly" in last_state(events)["message"], last_state(events)
    assert all(gone(process.pid) for process in processes.values())
    reached = folder.latest_progress()["step"]
    replace(folder.job(), processes=1).save(folder.job_file)
    again = launch(folder)
    wait_for(lambda: (folder.latest_progress() or {}).get("step", 0) > reached)
    again.stop()
    assert last_state(finish(again))["state"] == "stopped"
    first = [e["step"] for e in folder.events() if e["event"] == "metrics" and "loss" in e["values"]]
    assert sum(later < earlier for earlier, later in zip(first, first[1:], strict=False)) <= 1, "went on, not anew"


@pytest.mark.slow
def test_all_processes_exit_when_told_to_stop(toy_dataset, tmp_path):
    folder = together(tmp_path / "run", toy_dataset, **LONG)
    job = launch(folder)
    wait_for(begun(folder, 10))
    processes = ranks_of(job.pid)
    job.stop()
    assert last_state(finish(job))["state"] == "stopped" and folder.can_resume()
    assert all(gone(process.pid) for process in processes.values())


@pytest.mark.slow
def test_when_the_worker_is_killed_none_of_them_stays(toy_dataset, tmp_path):
    folder = together(tmp_path / "run", toy_dataset, **LONG)
    job = launch(folder)
    wait_for(begun(folder, 1))
    family = psutil.Process(job.pid).children(recursive=True)
    os.kill(job.pid, signal.SIGKILL)
    wait_for(lambda: all(gone(process.pid) for process in family))
    assert folder.state() is State.FAILED and folder.has_checkpoint()


@pytest.mark.slow
def test_one_that_hangs_is_found_out(toy_dataset, tmp_path):
    folder = together(tmp_path / "run", toy_dataset, **LONG)
    job = launch(folder)
    wait_for(begun(folder, 10))
    job._heartbeat.limit = 4.0  # not from the start: there is no heartbeat while torch is imported
    processes = ranks_of(job.pid)
    processes[1].suspend()
    events = finish(job, 60)
    assert any(event.get("silent") for event in events)
    assert "no heartbeat" in last_state(events)["message"]
    wait_for(lambda: all(gone(process.pid) for process in processes.values()))


@pytest.mark.slow
def test_a_mistake_in_the_data_is_one_sentence(toy_dataset, tmp_path):
    content = json.loads(toy_dataset.read_text(encoding="utf-8"))
    for split in ("training", "validation"):
        for entry in content[split]:
            entry["image"], entry["label"] = (str(toy_dataset.parent / entry[key]) for key in ("image", "label"))
    content["training"][0]["image"] = "not_there.nii.gz"
    dataset = tmp_path / "data.json"
    dataset.write_text(json.dumps(content), encoding="utf-8")
    job = launch(together(tmp_path / "run", dataset))
    sentence = failure(finish(job))
    assert "not_there.nii.gz" in sentence and job.exit_code == 2


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"action": "apply", "device": "all"}, "Only training runs on several devices"),
        ({"action": "evaluate", "processes": 2}, "Only training runs on several devices"),
        ({"processes": -1}, "number of processes"),
        ({"processes": 65}, "number of processes"),
    ],
)
def test_requests_that_are_refused(changes, sentence):
    job = replace(Job("segment", "train", "unet", dataset="x"), **changes)
    with pytest.raises(UserError, match=sentence):
        job.validate()


def test_a_process_that_waits_for_others_sends_no_heartbeat(tmp_path):
    folder = JobFolder(tmp_path)
    folder.events_file.touch()
    os.utime(folder.events_file, (1, 1))
    stop = StopRequest(folder)
    assert not stop.asked() and folder.events_file.stat().st_mtime == 1
    assert not stop() and folder.events_file.stat().st_mtime > 1
    folder.stop_file.touch()
    time.sleep(0.11)
    assert stop.asked()


# --- several computers ------------------------------------------------------------------------------------------------

# A cluster of two nodes, both this computer: srun starts its command once for each node.
SCONTROL = "#!/bin/sh\necho localhost\necho localhost\n"
SRUN = '#!/bin/sh\n"$@" &\nfirst=$!\n"$@"\nlast=$?\nwait $first || exit $?\nexit $last\n'


def cluster_environment(tmp_path: Path) -> dict[str, str]:
    import socket

    for name, text in (("scontrol", SCONTROL), ("srun", SRUN)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(stat.S_IRWXU)
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    return dict(
        os.environ, PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}", PYTHON=sys.executable, PORT=str(port),
        SLURM_JOB_ID="7", SLURM_JOB_NODELIST="node[1-2]", SLURM_JOB_NUM_NODES="2", OMP_NUM_THREADS="1",
        SLURM_SUBMIT_DIR=str(SCRIPTS.parents[1]),
    )  # fmt: skip


@pytest.mark.slow
def test_two_computers_through_slurms_script(alone, toy_dataset, tmp_path):
    folder = JobFolder(tmp_path / "run")
    arguments = ["--dataset", toy_dataset, "--method", "unet", "--output", folder.path, "--seed", "3", "--prepare"]
    for key, value in SETTINGS.items():
        arguments += ["--set", f"{key}={','.join(map(str, value)) if isinstance(value, list) else value}"]
    made = script("train", *arguments)
    assert made.returncode == 0 and "train_rank.py" in made.stdout, made.stderr
    assert folder.state() is State.QUEUED
    environment = cluster_environment(tmp_path)
    line = ["bash", str(SCRIPTS / "train_slurm.sh"), str(folder.path)]
    ended = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=240)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert folder.state() is State.DONE
    alike(folder.path, alone)
    again = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=240)
    assert again.returncode != 0 and "there is nothing to resume" in again.stderr
    assert json.loads(folder.manifest_file.read_text())["device"]["processes"] == 2


@pytest.mark.parametrize("arguments", [[], ["nowhere"]])
def test_without_torchs_launcher_or_a_job_it_says_what_to_do(arguments, tmp_path):
    environment = dict(os.environ, RANK="0") if arguments else os.environ
    command = [sys.executable, str(SCRIPTS / "train_rank.py"), str(tmp_path / "nowhere")]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ended.returncode == 2
    assert ("train --prepare" if arguments else "torchrun") in ended.stderr and "Traceback" not in ended.stderr
