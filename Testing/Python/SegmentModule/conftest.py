"""What tests share: the open panel with a small dataset and a trained run, and commands that must be refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import toy_cases

MODULE = Path(__file__).resolve().parents[3] / "SegmentModule" / "SegmentModule.py"


class Panel:
    """The open module with what a person does at it, and what he sees."""

    def __init__(self, host, dataset: Path):
        self.host = host
        self.dataset = dataset
        self.widget = None
        self.open()

    def open(self) -> None:
        self.widget = self.host.load_module(MODULE)

    @property
    def ui(self):
        return self.widget.ui

    @property
    def parameters(self):
        return self.widget._parameterNode

    def section(self, name: str):
        return getattr(self.widget, f"{name}Section")

    def status(self, name: str) -> str:
        return self.section(name).status.text

    def is_busy(self, name: str) -> bool:
        return self.section(name).monitor.is_busy()

    def wait(self, name: str, seconds: float = 120) -> str:
        """Let the event loop turn until the section's job has ended; its status then."""
        assert self.host.process_events(seconds, lambda: not self.is_busy(name)), self.status(name)
        return self.status(name)

    def wait_for_status(self, name: str, text: str, seconds: float = 120) -> None:
        assert self.host.process_events(seconds, lambda: text in self.status(name)), self.status(name)

    def choose_training(self, **changes) -> None:
        """Fill in the Train section; ``changes`` are parameters that differ from the toy training."""
        self.ui.trainDatasetPathLineEdit.currentPath = str(self.dataset)
        self.parameters.trainingParameters = json.dumps({"unet": toy_cases.TRAINING | changes})

    def run_folder(self) -> Path:
        return Path(self.ui.trainRunFolderPathLineEdit.currentPath)

    def choose_model(self, combo_box, run: Path) -> None:
        row = combo_box.findData(str(run))
        assert row > 0, [combo_box.itemText(number) for number in range(combo_box.count)]
        combo_box.currentIndex = row

    def curve(self, name: str) -> list[tuple[float, float]]:
        """The points of one series of the training's chart."""
        chart = self.parameters.trainingChart
        series = [chart.GetNthPlotSeriesNode(number) for number in range(chart.GetNumberOfPlotSeriesNodes())]
        table = next(node for node in series if node.GetName() == name).GetTableNode().GetTable()
        return [
            (table.GetColumn(0).GetValue(n), table.GetColumn(1).GetValue(n)) for n in range(table.GetNumberOfRows())
        ]


@pytest.fixture(scope="session")
def dataset(tmp_path_factory) -> Path:
    return toy_cases.write_toy_dataset(tmp_path_factory.mktemp("dataset"))


@pytest.fixture(scope="session")
def trained_run(dataset, tmp_path_factory) -> Path:
    """A run with a model that knows the toy images; copy it where a test changes it."""
    from MedDeepLib.jobs import Job, JobFolder, launch

    folder = tmp_path_factory.mktemp("trained") / "run"
    job = Job("segment", "train", "unet", toy_cases.TRAINING, dataset=str(dataset), threads=1)
    running = launch(JobFolder.create(folder, job))
    assert running.wait(timeout=120) == 0, running.folder.log_file.read_text(encoding="utf-8")
    return folder


@pytest.fixture
def runs_folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("MEDDEEP_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path / "runs"


@pytest.fixture
def panel(host, dataset, runs_folder) -> Panel:
    return Panel(host, dataset)


@pytest.fixture
def panel_with_model(host, dataset, runs_folder, trained_run) -> Panel:
    """The panel, with a trained model in the runs folder."""
    import shutil

    shutil.copytree(trained_run, runs_folder / "trained")
    panel = Panel(host, dataset)
    panel.run = runs_folder / "trained"
    return panel


def everything_in(folder: Path) -> dict[str, bytes]:
    """What lies below ``folder``, save the cache that torch makes for itself among temporary files."""
    files = [file for file in sorted(folder.rglob("*")) if not file.name.startswith("torchinductor")]
    return {str(file): file.read_bytes() if file.is_file() else b"" for file in files}


@pytest.fixture
def refused(segment, tmp_path, monkeypatch):
    """Runs the script, which must refuse, and returns the sentence."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))

    def run(*arguments) -> str:
        before = everything_in(tmp_path)
        code, _, errors = segment(*arguments)
        lines = [line for line in errors.splitlines() if line.startswith("Error:")]
        assert code == 2, errors
        assert len(lines) == 1 and "Traceback" not in errors
        assert lines[0].endswith(".")
        assert everything_in(tmp_path) == before, "something was written"
        return lines[0]

    return run


@pytest.fixture
def apply(refused, toy_run, tmp_path):
    def run(*images, model=toy_run, output=tmp_path / "out.seg.nrrd", options=()) -> str:
        return refused("apply", "--model", model, "--input", *images, "--output", output, "--device", "cpu", *options)

    return run


@pytest.fixture
def train(refused, tmp_path):
    def run(dataset, *options) -> str:
        settings = [f"{key}={value}" for key, value in toy_cases.TRAINING.items() if not isinstance(value, list)]
        settings += ["features=8,16,16", "patch_size=32,32,16"]
        flags = [argument for setting in settings for argument in ("--set", setting)]
        where = ("--output", tmp_path / "run")
        return refused("train", "--dataset", dataset, "--method", "unet", *where, "--device", "cpu", *flags, *options)

    return run
