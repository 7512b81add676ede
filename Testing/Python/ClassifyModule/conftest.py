"""Shared fixtures: the command line of classification, and small tables with a known signal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

FAST = ("--device", "cpu", "--threads", "1", "--seed", "3")


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


def write_table(file: Path, count: int = 60, features: int = 6, seed: int = 1, shuffled: bool = False, **more) -> Path:
    """A table whose class depends on its first two features, not linearly; ``more`` are further columns."""
    random = np.random.default_rng(seed)
    values = random.normal(size=(count, features))
    positive = values[:, 0] * values[:, 1] + 0.3 * random.normal(size=count) > 0
    if shuffled:
        random.shuffle(positive)
    names = [f"f{number}" for number in range(features)]
    lines = [",".join(["patient", "class", *names, *more])]
    for number, row in enumerate(values):
        others = [str(column[number]) for column in more.values()]
        answer = "malignant" if positive[number] else "benign"
        lines.append(",".join([f"P{number}", answer, *(f"{value:.5f}" for value in row), *others]))
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file
