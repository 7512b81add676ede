"""Warm workers: real processes whose work is replaced by something small."""

from __future__ import annotations

import pytest
from MedDeepLib.jobs import Job, JobFolder, WarmWorkers
from toy_cases import image_item
from warm_plays import ACTIONS


@pytest.fixture
def plays(tmp_path, monkeypatch):
    """Makes job folders with a scripted play."""
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "sitecustomize.py").write_text(ACTIONS, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))
    monkeypatch.setenv("PLAY", "1")
    count = 0

    def make(play: str, device: str = "cpu") -> JobFolder:
        nonlocal count
        count += 1
        items = (image_item("output.nrrd", "image.nrrd"),)
        job = Job("segment", "apply", model=play, items=items, device=device)
        return JobFolder.create(tmp_path / f"{play} {count}", job)

    return make


@pytest.fixture
def start():
    """Makes WarmWorkers that are ended with the test."""
    started = []

    def make(**options) -> WarmWorkers:
        started.append(WarmWorkers(**options))
        return started[-1]

    yield make
    for workers in started:
        workers.close()
