"""The uninterrupted training with which all others are compared."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import fault_tools
import pytest


@dataclass(frozen=True)
class Undisturbed:
    """Its run folder, its duration from the first read of data to the end, and the dataset."""

    run: Path
    seconds: float
    dataset: Path


@pytest.fixture(scope="session")
def undisturbed(toy_dataset, shared) -> Undisturbed:
    from MedDeepLib.jobs import JobFolder, launch

    def train(place: Path) -> Path:
        folder = JobFolder.create(place / "run", fault_tools.training_job(toy_dataset))
        job = launch(folder)
        fault_tools.wait_for(lambda: reading(folder))
        began = time.monotonic()
        assert fault_tools.last_state(fault_tools.finish(job))["state"] == "done"
        (place / "seconds.txt").write_text(str(time.monotonic() - began), encoding="utf-8")
        return folder.path

    run = shared("undisturbed", train)
    seconds = float((run.parent / "seconds.txt").read_text(encoding="utf-8"))
    return Undisturbed(run, seconds, toy_dataset)


def reading(folder) -> bool:
    return any(event.get("phase") == "Reading the dataset" for event in folder.events())


@pytest.fixture
def tally(request):
    """Records what a test has counted, for the log of the run; see the tests' common conftest.py."""

    def tell(sentence: str) -> None:
        request.node.user_properties.append(("tally", sentence))

    return tell
