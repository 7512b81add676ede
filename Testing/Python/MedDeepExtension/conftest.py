"""Fixtures for the home panel: the open panel with user actions, and jobs in its runs folder."""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from pathlib import Path

import pytest
import toy_cases
from replay import ReplayLauncher, ReplayWorker, recorded, step

MODULE = Path(__file__).resolve().parents[3] / "MedDeepExtension" / "MedDeepExtension.py"
OLD = 1.7e9


@pytest.fixture(autouse=True)
def without_released_models(monkeypatch):
    """Hide the released models, which are in every list: each test defines the models that exist."""
    from MedDeepLib.jobs import models

    monkeypatch.setattr(models, "released_models", dict)


class Panel:
    """The open module, with the actions of a user and what the panel shows. Resumed jobs are replayed."""

    def __init__(self, host, launcher: ReplayLauncher):
        self.host, self.launcher = host, launcher
        self.widget = None

    def open(self) -> None:
        """Open the panel as in a new session; returns before the first refresh."""
        self.widget = self.host.load_module(MODULE)
        self.widget.logic.launcher = self.launcher

    def close(self) -> None:
        self.host.unload_module(self.widget)

    @property
    def ui(self):
        return self.widget.ui

    @property
    def home(self):
        return self.widget.home

    @property
    def parameters(self):
        return self.widget._parameterNode

    def settle(self, seconds: float = 300) -> None:
        """Run the event loop until no work is pending."""
        assert self.host.process_events(seconds, lambda: not self.home.is_busy())

    def look(self) -> None:
        """Refresh now, as the timer does once a second."""
        self.settle()
        self.home._look_at_all()
        self.settle()

    def wait(self, condition, seconds: float = 300):
        assert self.host.process_events(seconds, condition), self.status("jobs")

    def status(self, section: str) -> str:
        return getattr(self.home, section).status.text

    def choose(self, section: str, path: Path) -> None:
        """Click on the row of a job or a model."""
        self.settle()
        table = getattr(self.home, section).table
        getattr(self.ui, f"{section}Table").selectRow(table.row_keys().index(str(path)))
        self.settle()

    def row(self, section: str, path: Path) -> dict[str, str]:
        """The table row of a job or a model, by column title; a progress bar is given as its value."""
        widget, keys = getattr(self.ui, f"{section}Table"), getattr(self.home, section).table.row_keys()
        found: dict[str, str] = defaultdict(str)  # empty for one that is not listed yet
        if str(path) not in keys:
            return found
        row = keys.index(str(path))
        for column in range(widget.columnCount):
            bar = widget.cellWidget(row, column)
            title = widget.horizontalHeaderItem(column).text()
            found[title] = bar.value if bar is not None else widget.item(row, column).text()
        return found

    def text(self, name: str) -> str:
        """The text of a label, without markup and zero-width spaces."""
        from PySide6 import QtGui

        document = QtGui.QTextDocument()
        document.setHtml(getattr(self.ui, name).text)
        return document.toPlainText().replace("\u200b", "")


@pytest.fixture
def runs_folder(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "runs"
    monkeypatch.setenv("MEDDEEP_RUNS", str(folder))
    monkeypatch.setenv("MEDDEEP_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    folder.mkdir()
    return folder


@pytest.fixture
def launcher() -> ReplayLauncher:
    return ReplayLauncher(train=recorded("segment_train"))


@pytest.fixture
def closed_panel(host, runs_folder, launcher) -> Panel:
    """The panel, not open yet."""
    return Panel(host, launcher)


@pytest.fixture
def panel(closed_panel) -> Panel:
    """The open panel, after its first refresh."""
    closed_panel.open()
    closed_panel.settle()
    return closed_panel


@pytest.fixture
def asked(panel):
    """The panel with dialogs enabled; the tests answer them."""
    panel.host.start(testing=False)
    yield panel
    panel.host.start(testing=True)


@pytest.fixture
def make_job(runs_folder):
    """Makes jobs as a worker leaves them, each a day newer than the one before."""
    made = []

    def make(name: str, *events: tuple[str, dict], action: str = "train", **files: str):
        from MedDeepLib.jobs import Job, JobFolder
        from MedDeepLib.jobs.events import EventWriter
        from toy_cases import image_item

        what = {"method": "unet"} if action == "train" else {"model": "trained"}
        if action == "apply":
            what["items"] = (image_item("result.seg.nrrd", "head.nrrd"),)
        folder = JobFolder.create(runs_folder / name, Job("segment", action, dataset="list.json", **what))
        writer = EventWriter(folder.events_file)
        for event, fields in events:
            writer(event, **fields)
        writer.close()
        for file, text in files.items():
            (folder.path / file.replace("_", ".")).write_text(text, encoding="utf-8")
        made.append(folder)
        os.utime(folder.job_file, (OLD + 86400 * len(made),) * 2)
        return folder

    return make


@pytest.fixture
def running(runs_folder, toy_dataset):
    """Starts real trainings as another program would; any that still run after the test are killed."""
    from MedDeepLib.jobs import Job, JobFolder, launch

    jobs = []

    def start(name: str = "training", **changes):
        job = Job("segment", "train", "unet", toy_cases.TRAINING | changes, dataset=str(toy_dataset), device="cpu")
        jobs.append(launch(JobFolder.create(runs_folder / name, job)))
        return jobs[-1]

    yield start
    for job in jobs:
        job.kill()


@pytest.fixture
def trained(runs_folder, toy_run) -> Path:
    """A run with a model, in the runs folder."""
    shutil.copytree(toy_run, runs_folder / "trained")
    os.utime(runs_folder / "trained" / "job.json", (OLD, OLD))
    return runs_folder / "trained"


def new_training(folder: Path):
    """The folder of a recorded training."""
    from MedDeepLib.jobs import Job, JobFolder

    parameters = toy_cases.TRAINING | {"steps": 60, "validate_every": 20}
    return JobFolder.create(folder, Job("segment", "train", "unet", parameters, dataset="list.json", device="cpu"))


@pytest.fixture
def elsewhere(runs_folder):
    """Starts replays as another program would; ``play_until(...)`` emits their events."""

    def start(name: str) -> ReplayWorker:
        return ReplayLauncher(train=recorded("segment_train")).launch(new_training(runs_folder / name))

    return start


@pytest.fixture
def interrupted(runs_folder, launcher):
    """A training that was killed after a checkpoint, as if the computer had been switched off."""
    folder = new_training(runs_folder / "killed")
    launcher.hold(step(30))
    worker = launcher.launch(folder)
    worker.play()
    worker.kill()
    os.utime(folder.job_file, (OLD, OLD))
    return folder
