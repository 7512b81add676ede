"""Checkpoints survive full disks and damaged files, and never execute code from a file."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from MedDeepLib.errors import CannotWrite, Stopped, UserError
from MedDeepLib.training.checkpoint import CheckpointStore
from toy_stages import equal, run, weights

IDENTITY = {"method": "toy", "parameters": {"steps": 5}, "seed": 1}


def content(step: int, size: int = 1000) -> dict:
    return {"progress": {"step": step}, "networks": {"n": {"w": torch.full((size,), float(step))}}}


@pytest.fixture
def store(tmp_path) -> CheckpointStore:
    return CheckpointStore(tmp_path, IDENTITY)


def step_of(loaded) -> int | None:
    return loaded["progress"]["step"] if loaded else None


def damage_nothing(file: Path) -> None:
    pass


def truncate(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def empty(file: Path) -> None:
    os.truncate(file, 0)


def flip_a_byte_of_a_weight(file: Path) -> None:
    data = bytearray(file.read_bytes())
    place = data.find(torch.full((8,), 2.0).numpy().tobytes()) + 10
    assert place > 10
    data[place] ^= 0x40
    file.write_bytes(bytes(data))


def replace_by_text(file: Path) -> None:
    file.write_text("not a checkpoint", encoding="utf-8")


def replace_by_something_else(file: Path) -> None:
    torch.save([1, 2, 3], file)


def of_another_version(file: Path) -> None:
    torch.save({"format": 99, "identity": IDENTITY}, file)


DAMAGES = [truncate, empty, flip_a_byte_of_a_weight, replace_by_text, replace_by_something_else, of_another_version]


def test_nothing_there(store):
    assert store.load() is None


def test_the_last_one_is_loaded(store):
    store.save(content(1))
    store.save(content(2))
    loaded = store.load()
    assert step_of(loaded) == 2 and torch.equal(loaded["networks"]["n"]["w"], torch.full((1000,), 2.0))


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_one_gives_way_to_the_one_before(store, tmp_path, damage):
    store.save(content(1))
    store.save(content(2))
    damage(tmp_path / "checkpoint.pt")
    assert step_of(store.load()) == 1


def test_a_missing_one_gives_way_to_the_one_before(store, tmp_path):
    """Killed after the old checkpoint was renamed and before the new one took its place."""
    store.save(content(1))
    os.replace(tmp_path / "checkpoint.pt", tmp_path / "checkpoint.previous.pt")
    assert step_of(store.load()) == 1


@pytest.mark.parametrize("damage", DAMAGES)
def test_both_damaged_is_refused(store, tmp_path, damage):
    store.save(content(2))
    store.save(content(2))
    damage(tmp_path / "checkpoint.pt")
    damage(tmp_path / "checkpoint.previous.pt")
    with pytest.raises(UserError, match="is damaged and cannot be read: delete checkpoint.pt and"):
        store.load()


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_best_weights_are_refused_not_replaced_in_silence(store, tmp_path, damage):
    store.save_best(0, content(2))
    assert step_of(store.load_best(0)) == 2
    damage(tmp_path / "best.0.pt")
    with pytest.raises(UserError, match="are missing or damaged"):
        store.load_best(0)


def test_resuming_a_training_from_the_checkpoint_before(tmp_path):
    """The older one is loaded, and the training resumed from it ends with the same weights."""
    expected = weights(run(tmp_path / "undisturbed"))
    with pytest.raises(Stopped):
        run(tmp_path / "damaged", stop_after=30)
    truncate(tmp_path / "damaged" / "checkpoint.pt")
    assert equal(weights(run(tmp_path / "damaged")), expected)


def test_nothing_in_a_checkpoint_is_executed(store, tmp_path):
    class Payload:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "executed"),))

    torch.save({"format": 1, "identity": IDENTITY, "payload": Payload()}, tmp_path / "checkpoint.pt")
    with pytest.raises(UserError, match="cannot be read"):
        store.load()
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("PytorchStreamWriter failed writing file data/0")],
)
def test_a_full_disk_keeps_the_last_good_checkpoint(store, tmp_path, monkeypatch, error):
    store.save(content(1))
    store.save_best(0, content(1))

    def full(data, file):
        file.write(b"half")
        raise error

    monkeypatch.setattr(torch, "save", full)
    for save in (lambda: store.save(content(2)), lambda: store.save_best(0, content(2))):
        with pytest.raises(CannotWrite) as caught:
            save()
        assert "the disk is full" in str(caught.value) and "last good checkpoint is kept" in str(caught.value)
    assert step_of(store.load()) == step_of(store.load_best(0)) == 1
    assert sorted(file.name for file in tmp_path.iterdir()) == ["best.0.pt", "checkpoint.pt"]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MB; only root can make one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if not sys.platform.startswith("linux") or not shutil.which("mount") or subprocess.run(mount).returncode:
        pytest.skip("needs the right to mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_really_full(small_disk):
    store = CheckpointStore(small_disk, IDENTITY)
    store.save(content(1, size=60_000))
    with pytest.raises(CannotWrite, match="the disk is full"):
        for step in range(2, 9):
            store.save(content(step, size=60_000))
            (small_disk / f"other{step}").write_bytes(bytes(200_000))
    loaded = store.load()
    assert loaded is not None and not list(small_disk.glob("*.part"))


def test_other_errors_than_of_the_disk_are_reported_unchanged(store, tmp_path):
    gone = CheckpointStore(tmp_path / "gone", IDENTITY)
    with pytest.raises(CannotWrite) as caught:
        gone.save(content(1))
    assert "the disk is full" not in str(caught.value)
    assert "does not exist" in str(caught.value) or "No such file" in str(caught.value)
