"""Damaged and foreign checkpoints of a real training: the previous one is used, or there is a clear refusal."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path

import pytest
import torch
from fault_tools import finish, identical, training_job, wait_for
from MedDeepLib.jobs import JobFolder, launch
from toy_cases import failure, run_worker

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")


@pytest.fixture(scope="module")
def killed(undisturbed, tmp_path_factory) -> Path:
    """A run that was killed after its second checkpoint."""
    folder = JobFolder.create(tmp_path_factory.mktemp("killed") / "run", training_job(undisturbed.dataset))
    job = launch(folder)
    wait_for(
        lambda: (folder.path / "checkpoint.previous.pt").exists() and (folder.path / "checkpoint.pt").exists(), 120
    )
    os.kill(job.pid, signal.SIGKILL)
    finish(job)
    assert folder.can_resume()
    return folder.path


def truncated(file: Path) -> None:
    os.truncate(file, file.stat().st_size * 2 // 3)


def emptied(file: Path) -> None:
    os.truncate(file, 0)


def flipped(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0x10
    file.write_bytes(bytes(data))


def removed(file: Path) -> None:
    file.unlink()


def resumed(run: Path, tmp_path: Path) -> tuple[int, list[dict]]:
    """Resume a copy of the run in this process."""
    folder = JobFolder(run)
    before = len(folder.events())
    return run_worker(run), folder.events()[before:]


@pytest.fixture
def run(killed, tmp_path) -> Path:
    shutil.copytree(killed, tmp_path / "run")
    return tmp_path / "run"


def quick_and_slow(quick, *slow) -> list:
    return [quick, *(pytest.param(one, marks=pytest.mark.slow) for one in slow)]


@pytest.mark.parametrize("damage", quick_and_slow(truncated, emptied, flipped, removed))
def test_the_checkpoint_before_serves_and_the_weights_are_the_same(run, tmp_path, undisturbed, damage, tally):
    damage(run / "checkpoint.pt")
    code, events = resumed(run, tmp_path)
    assert code == 0, events[-1]
    same = identical(run, undisturbed.run)
    tally(f"checkpoint {damage.__name__}, 1 resumed, weights identical: {same}")
    assert same


@pytest.mark.parametrize("damage", quick_and_slow(flipped, truncated, emptied))
def test_when_both_are_damaged_nothing_is_made_up(run, tmp_path, damage):
    damage(run / "checkpoint.pt")
    damage(run / "checkpoint.previous.pt")
    code, events = resumed(run, tmp_path)
    assert code == 2 and "is damaged and cannot be read: delete checkpoint.pt and" in failure(events)
    assert not (run / "model").exists()


@pytest.mark.parametrize("change", [{"method": "segresnet"}, {"seed": 4}, {"parameters": {}}])
def test_a_checkpoint_of_another_training_is_refused(run, tmp_path, change):
    for name in ("checkpoint.pt", "checkpoint.previous.pt"):
        content = torch.load(run / name, weights_only=True)
        content["identity"] |= change
        torch.save(content, run / name)
    code, events = resumed(run, tmp_path)
    assert code == 2 and "was made with other settings" in failure(events)
    assert not (run / "model").exists()


def test_a_loss_that_is_not_a_number_ends_with_a_remedy_and_a_sound_checkpoint(toy_dataset, tmp_path, segment):
    run, settings = tmp_path / "run", training_job(toy_dataset).parameters
    settings |= {"learning_rate": 1e30, "validate_every": 1, "features": "4,8,8", "patch_size": "16,16,16"}
    flags = [argument for key, value in settings.items() for argument in ("--set", f"{key}={value}")]
    where = ("--output", run, "--device", "cpu")
    code, _, said = segment("train", "--dataset", toy_dataset, "--method", "unet", *where, *flags)
    assert code == 3, said
    errors = [line for line in said.splitlines() if line.startswith("Error:")]
    assert len(errors) == 1 and "Traceback" not in said
    assert "The loss became nan" in errors[0] and "try a lower learning rate" in errors[0]
    assert not (run / "model").exists()
    networks = torch.load(run / "checkpoint.pt", weights_only=True)["networks"]
    assert all(torch.isfinite(value).all() for state in networks.values() for value in state.values())
