"""Shared fixtures: the command line of classification."""

from __future__ import annotations

from pathlib import Path

import pytest
from toy_classes import FAST


@pytest.fixture
def classify(monkeypatch, capsys, tmp_path):
    """The command line of Scripts/classify.py with the worker in this process: exit code, standard output, errors."""
    from MedDeepLib.cli import command_line
    from toy_cases import finished_job

    monkeypatch.setenv("MEDDEEP_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(command_line, "launch", finished_job)

    def run(*arguments) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            code = command_line.main("classify", [str(argument) for argument in arguments])
        except SystemExit as leaving:  # argparse, for bad usage and help
            code = leaving.code
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def train(classify):
    """``train(dataset, method, run, *more)``: the same for a training on the CPU."""

    def run(dataset: Path, method: str, folder: Path, *more) -> tuple[int, str, str]:
        arguments = ("--dataset", dataset, "--method", method, "--output", folder, *FAST)
        return classify("train", *arguments, *more)

    return run
