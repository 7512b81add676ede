"""The tests' shared folders: made once for several processes, and changes to them are detected."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path

import pytest
from shared_folders import SharedFolders


def make(folder: Path) -> Path:
    with (folder.parent / "made.txt").open("a", encoding="utf-8") as file:
        file.write("made\n")
    time.sleep(0.2)
    (folder / "inner").mkdir()
    (folder / "inner" / "file.txt").write_text("content", encoding="utf-8")
    return folder / "inner"


def use(root: Path) -> None:
    assert (SharedFolders(root)("thing", make) / "file.txt").read_text(encoding="utf-8") == "content"


def test_made_once_for_several_processes(tmp_path):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=use, args=(tmp_path,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert (tmp_path / "made.txt").read_text(encoding="utf-8") == "made\n"


def test_what_was_left_half_made_is_made_again(tmp_path):
    def interrupted(folder: Path) -> Path:
        (folder / "half").touch()
        raise OSError("The disk is full.")

    shared = SharedFolders(tmp_path)
    with pytest.raises(OSError, match="full"):
        shared("thing", interrupted)
    assert [file.name for file in shared("thing", make).parent.iterdir()] == ["inner"]


def test_changes_are_seen(tmp_path):
    shared = SharedFolders(tmp_path)
    inner = shared("thing", make)
    assert shared.changed() == []
    (inner / "file.txt").write_text("other", encoding="utf-8")
    (inner / "new.txt").touch()
    assert shared.changed() == ["thing/inner/file.txt", "thing/inner/new.txt"]
