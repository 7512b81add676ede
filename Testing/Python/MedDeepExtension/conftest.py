"""What tests of the home panel share: the open panel, what a person does at it, and jobs that lie in its folder."""

from __future__ import annotations

import os
import shutil
import time
from collections import defaultdict
from pathlib import Path

import pytest
import toy_cases

MODULE = Path(__file__).resolve().parents[3] / "MedDeepExtension" / "MedDeepExtension.py"
OLD = 1.7e9


@pytest.fixture(autouse=True)
def without_released_models(monkeypatch):
    """What comes with the extension is in every list; here each test says what there is."""
    from MedDeepLib.jobs import models

    monkeypatch.setattr(models, "released_models", dict)


class Panel:
    """The open module with what a person does at it, and what he sees."""

    def __init__(self, host):
        self.host = host
        self.widget = None

    def open(self) -> None:
        """As in a new session; returns before anything has been looked at."""
        self.widget = self.host.load_module(MODULE)

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

    def settle(self, seconds: float = 20) -> None:
        """Let the event loop turn until nothing is under way."""
        assert self.host.process_events(seconds, lambda: not self.home.is_busy())

    def look(self) -> None:
        """What happens once a second, now."""
        self.settle()
        self.home._look_at_all()
        self.settle()

    def wait(self, condition, seconds: float = 60):
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
        """What the table shows of a job or a model, by the titles of the columns; a progress bar as its value."""
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
        """What a label shows, without marks and the places where long words may be broken."""
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
def closed_panel(host, runs_folder) -> Panel:
    """The panel before it is opened."""
    return Panel(host)


@pytest.fixture
def panel(closed_panel) -> Panel:
    """The open panel, which has looked at everything."""
    closed_panel.open()
    closed_panel.settle()
    return closed_panel


@pytest.fixture
def asked(panel):
    """The panel, which shows real dialogs: tests answer them."""
    panel.host.start(testing=False)
    yield panel
    panel.host.start(testing=True)


@pytest.fixture
def make_job(runs_folder):
    """Makes jobs as a worker has left them, each a day newer than the one before."""
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
    """Starts real trainings as another program would; what still runs after the test is killed."""
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


@pytest.fixture(scope="session")
def killed_run(toy_dataset, tmp_path_factory) -> Path:
    """A training that was killed after a checkpoint, as by a computer that was switched off; nobody may change it."""
    from MedDeepLib.jobs import Job, JobFolder, launch

    parameters = toy_cases.TRAINING | {"steps": 60, "validate_every": 5}
    job = Job("segment", "train", "unet", parameters, dataset=str(toy_dataset), device="cpu", threads=1)
    running = launch(JobFolder.create(tmp_path_factory.mktemp("killed") / "run", job))
    deadline = time.monotonic() + 120
    while not running.folder.has_checkpoint():
        assert time.monotonic() < deadline and running.is_running(), running.folder.log_file.read_text(encoding="utf-8")
        time.sleep(0.02)
    running.kill()
    return running.folder.path


@pytest.fixture
def interrupted(runs_folder, killed_run):
    """A training that was killed, in the runs folder."""
    from MedDeepLib.jobs import JobFolder

    shutil.copytree(killed_run, runs_folder / "killed")
    os.utime(runs_folder / "killed" / "job.json", (OLD, OLD))
    return JobFolder(runs_folder / "killed")
