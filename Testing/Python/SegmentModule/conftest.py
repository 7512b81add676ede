"""Shared fixtures: the open panel with a small dataset and a trained run, and commands that must be refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import toy_cases
from module_panel import ModulePanel
from replay import recorded_run


class Panel(ModulePanel):
    """The open module with the toy dataset."""

    def __init__(self, host, dataset: Path):
        self.dataset = dataset
        super().__init__(host, "SegmentModule")

    def choose_training(self, **changes) -> None:
        """Fill in the Train section; ``changes`` are parameters that differ from the toy training."""
        self.ui.trainDatasetPathLineEdit.currentPath = str(self.dataset)
        self.parameters.trainingParameters = json.dumps({"unet": toy_cases.TRAINING | changes})


@pytest.fixture(scope="session")
def dataset(toy_dataset) -> Path:
    return toy_dataset


@pytest.fixture(scope="session")
def trained_run(toy_run) -> Path:
    """A run with a model trained on the toy images; tests that change it work on a copy."""
    return toy_run


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
    shutil.copytree(trained_run, runs_folder / "trained")
    panel = Panel(host, dataset)
    panel.run = runs_folder / "trained"
    return panel


@pytest.fixture
def panel_with_recorded_model(host, dataset, runs_folder) -> Panel:
    """The same with an untrained model; jobs with it can only be replayed."""
    panel = Panel(host, dataset)
    panel.run = recorded_run("segment_train", runs_folder / "trained")
    panel.widget.enter()  # lists the models again
    return panel


def everything_in(folder: Path) -> dict[str, bytes]:
    """Everything below ``folder``, except the cache that torch makes among temporary files."""
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
