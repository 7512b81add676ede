"""The scripts for devices and jobs: their output, effects and exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from MedDeepLib.cli import devices_command, jobs_command
from MedDeepLib.cli.devices_command import table
from MedDeepLib.devices import Device, Lease, manager
from MedDeepLib.jobs import Job, JobFolder, State
from MedDeepLib.jobs.events import EventWriter
from MedDeepLib.jobs.folder import process_alive
from MedDeepLib.jobs.runs import runs_folder

SCRIPTS = Path(__file__).resolve().parents[3] / "MedDeepExtension" / "Scripts"
CARD = Device("cuda:0", "Card", 8_000_000_000, 7_100_000_000, key="GPU-a")


@pytest.fixture
def runs(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("MEDDEEP_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


def make(runs: Path, name: str = "first") -> JobFolder:
    return JobFolder.create(runs / name, Job("segment", "train", method="unet", dataset="list.json"))


def make_old(runs: Path, name: str = "first") -> JobFolder:
    """Make a job look old, so that it does not count as starting."""
    folder = make(runs, name)
    os.utime(folder.job_file, (1.7e9, 1.7e9))
    return folder


def tell(folder: JobFolder, *events: tuple[str, dict]) -> None:
    writer = EventWriter(folder.events_file)
    for event, fields in events:
        writer(event, **fields)
    writer.close()


@pytest.fixture
def worker(runs):
    """A job with a process that poses as its worker; it ends when asked, or not at all."""
    started = []

    def make_worker(name: str = "first", deaf: bool = False) -> JobFolder:
        folder = make(runs, name)
        code = (
            "import sys, time\n"
            "from MedDeepLib.jobs import JobFolder\n"
            "from MedDeepLib.jobs.events import EventWriter\n"
            "folder = JobFolder(sys.argv[1])\n"
            "folder.register_worker()\n"
            "report = EventWriter(folder.events_file)\n"
            "report('state', state='running')\n"
            "while sys.argv[2] == 'deaf' or not folder.stop_requested():\n"
            "    time.sleep(0.02)\n"
            "report('state', state='stopped')\n"
        )
        environment = dict(os.environ, PYTHONPATH=str(SCRIPTS.parent))
        arguments = [str(folder.path), "deaf" if deaf else "hears"]
        started.append(subprocess.Popen([sys.executable, "-c", code, *arguments], env=environment))
        deadline = time.monotonic() + 20
        while folder.state() is not State.RUNNING:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return folder

    yield make_worker
    for process in started:
        process.kill()
        process.wait(10)


# --- jobs.py ----------------------------------------------------------------------------------------------------------


def test_no_jobs(runs, capsys):
    assert jobs_command.main(["list"]) == 0
    assert capsys.readouterr().out == f"No jobs in {runs}.\n"


def test_the_table_of_jobs(runs, capsys, tmp_path):
    tell(make(runs, "waits"), ("progress", {"step": 3, "total": 10, "remaining": 5}))
    done = make(runs, "done")
    done.write_result({})
    make(runs, "temporary/scene")
    (runs / "damaged").mkdir()
    (runs / "damaged" / "job.json").write_text("{", encoding="utf-8")
    assert jobs_command.main(["list"]) == 0
    heading, *lines = capsys.readouterr().out.splitlines()
    assert heading.split() == ["Job", "What", "State", "Progress", "Begun"]
    rows = {line.split()[0]: line for line in lines}
    assert set(rows) == {"waits", "done", "temporary/scene", "damaged"}
    assert rows["waits"].split()[1:7] == ["train", "unet", "queued", "3", "of", "10"]
    assert "done" in rows["done"].split("unet")[1] and "cannot be read" in rows["damaged"]
    assert jobs_command.main(["list", "--runs", str(tmp_path / "elsewhere")]) == 0
    assert "No jobs in" in capsys.readouterr().out


def test_show_says_what_is_known(runs, capsys):
    folder = make(runs)
    tell(
        folder,
        ("warning", {"message": "Only 2 training cases."}),
        ("metrics", {"stage": "unet", "step": 5, "values": {"loss": 0.25}}),
        ("state", {"state": "failed", "message": "The disk is full.", "kind": "failed", "exit_code": 3}),
    )
    assert jobs_command.main(["show", "first"]) == 0
    text = capsys.readouterr().out
    for words in ("train unet", "failed", "The disk is full.", "Only 2 training cases.", "0.25", str(folder.path)):
        assert words in text
    folder.write_result({"usage": {"seconds": 12.5, "device": "cpu"}})
    assert jobs_command.main(["show", str(folder.path)]) == 0
    assert "12.5" in capsys.readouterr().out


def test_a_job_that_is_not_there(runs, capsys):
    for action in ("show", "stop", "resume", "delete"):
        assert jobs_command.main([action, "nothing"]) == 2
        assert "There is no job 'nothing'" in capsys.readouterr().err


def test_stop_lets_the_worker_end(worker, capsys):
    folder = worker()
    assert jobs_command.main(["stop", "first"]) == 0
    assert capsys.readouterr().out == "Stopped.\n" and folder.state() is State.STOPPED
    assert jobs_command.main(["stop", "first"]) == 2
    assert "there is nothing to stop" in capsys.readouterr().err


def test_stop_ends_a_worker_that_ignores_the_request(worker, capsys):
    folder = worker(deaf=True)
    assert jobs_command.main(["stop", "first", "--grace", "0.3"]) == 3
    assert "was ended" in capsys.readouterr().out
    assert folder.worker_pid() is None and folder.state() is State.FAILED


def test_resume_starts_the_worker_again_and_watches_it(runs, capsys):
    make(runs).job_file.write_text("{", encoding="utf-8")  # the worker reports it
    assert jobs_command.main(["resume", "first"]) == 2
    assert "is not valid JSON" in capsys.readouterr().err
    done = make(runs, "done")
    done.write_result({})
    assert jobs_command.main(["resume", "done"]) == 2
    assert "there is nothing to resume" in capsys.readouterr().err


def test_delete_asks_first(runs, capsys, monkeypatch):
    folder = make_old(runs)
    assert jobs_command.main(["delete", "first"]) == 2
    assert "use --yes" in capsys.readouterr().err and folder.path.exists()
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: "n")
    assert jobs_command.main(["delete", "first"]) == 130 and folder.path.exists()
    monkeypatch.setattr("builtins.input", lambda question: "y")
    assert jobs_command.main(["delete", "first"]) == 0 and not folder.path.exists()


def test_delete_says_what_is_lost(runs, capsys, monkeypatch):
    folder = make_old(runs)
    (folder.path / "checkpoint.pt").touch()
    (folder.path / "anna.nrrd").touch()
    questions = []
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: questions.append(question) or "y")
    assert jobs_command.main(["delete", "first"]) == 0
    assert "the checkpoint to resume from" in questions[0] and "anna.nrrd" in questions[0]
    assert list(runs.iterdir()) == []


def test_show_of_a_damaged_job(runs, capsys):
    make(runs).job_file.write_text("{", encoding="utf-8")
    assert jobs_command.main(["show", "first"]) == 0
    assert "is not valid JSON" in capsys.readouterr().out


def test_a_job_that_nobody_began_is_told_to_stop(runs, capsys):
    make(runs)
    assert jobs_command.main(["stop", "first", "--grace", "0"]) == 0
    assert capsys.readouterr().out in ("It had not started.\n",)


def test_delete_leaves_running_jobs_and_other_folders_alone(worker, runs, capsys):
    folder = worker()
    assert jobs_command.main(["delete", "first", "--yes"]) == 2
    assert "stop it before deleting it" in capsys.readouterr().err and folder.path.exists()
    (runs / "photos").mkdir()
    assert jobs_command.main(["delete", "photos", "--yes"]) == 2 and (runs / "photos").exists()


# --- devices.py -------------------------------------------------------------------------------------------------------


def test_the_table_of_devices(monkeypatch, capsys):
    apple = Device("mps", "Apple GPU", note="It shares the computer's memory.")
    used = manager.Owner(4321, "blender", "", 900_000_000)
    monkeypatch.setattr(manager, "_cuda_devices", lambda: [manager.replace(CARD, owners=(used,)), apple])
    with Lease([CARD], "train unet", application="Slicer") as holder, Lease([CARD], "apply lungs") as waiter:
        assert holder.take() and not waiter.take()
        assert devices_command.main(["list"]) == 0
        heading, card, more, shared, cpu = capsys.readouterr().out.splitlines()[:5]
        assert heading.split() == ["Device", "Name", "Memory", "Held", "by", "Waiting"]
        assert card.startswith("cuda:0  Card") and "7.1 of 8.0 GB free" in card
        assert f"'train unet' (Slicer, process {os.getpid()})" in card
        assert "1. 'apply lungs' (" in card and waiter.ticket.id in card
        assert more.strip() == "(blender, process 4321, 0.9 GB)"
        assert "It shares the computer's memory." in shared and cpu.startswith("cpu")
        with Lease([CARD], "third") as third:
            assert devices_command.main(["move", third.ticket.id, "1"]) == 0
            assert "1. 'third'" in capsys.readouterr().out
    assert devices_command.main(["move", "unknown", "1"]) == 2
    assert "No job with the ticket 'unknown' is waiting" in capsys.readouterr().err


def test_cells_with_several_lines():
    assert table([("a", "b"), ("1", "x\nlong"), ("22", "")]) == "a   b\n1   x\n    long\n22"


# --- as processes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("script", ["devices.py", "jobs.py"])
def test_the_scripts_start_anywhere(script, runs, tmp_path):
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    result = subprocess.run(
        [sys.executable, "-X", "importtime", str(SCRIPTS / script), "list"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    assert ("cpu" in result.stdout) if script == "devices.py" else ("No jobs in" in result.stdout)
    assert "| torch\n" not in result.stderr
    bad = subprocess.run([sys.executable, str(SCRIPTS / script), "nonsense"], capture_output=True, timeout=60)
    assert bad.returncode == 2


def test_the_runs_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("MEDDEEP_RUNS", str(tmp_path))
    assert runs_folder(lambda: "elsewhere") == tmp_path
    monkeypatch.delenv("MEDDEEP_RUNS")
    assert runs_folder(lambda: str(tmp_path / "set")) == tmp_path / "set"
    assert runs_folder().name == "MedDeepExtension"


# --- a clock that was set ---------------------------------------------------------------------------------------------


def test_a_worker_is_known_again_after_the_clock_was_set(worker):
    """On systems that measure from boot, the start time of a process then changes."""
    folder = worker()
    identity = json.loads(folder.worker_file.read_text(encoding="utf-8"))
    for moved in ({"started": identity["started"] - 7200}, {"after_boot": identity["after_boot"] + 7200}):
        folder.worker_file.write_text(json.dumps(identity | moved), encoding="utf-8")
        assert folder.worker_alive() and folder.state() is State.RUNNING
    folder.worker_file.write_text(json.dumps(identity | {"started": 1.0, "after_boot": 1.0e9}), encoding="utf-8")
    assert not folder.worker_alive()
    assert not process_alive(identity["pid"], identity["started"] - 7200)
