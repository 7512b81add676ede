"""A task without images that the library does not know works like all others.

Its cases are a table and a number, its stages make items and fit arrays, and its key metric is computed from all
cases together; see toy_tasks/OutcomeModuleLib.
"""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch
from MedDeepLib.bundles.model import open_model
from MedDeepLib.data.formats.tensor_file import load_tensors
from toy_commands import TASKS, toy_command

FAST = ("--device", "cpu", "--threads", "1")


@pytest.fixture
def outcome(monkeypatch, tmp_path, capsys):
    with toy_command("outcome", monkeypatch, tmp_path / "runs", capsys) as run:
        yield run


@pytest.fixture
def dataset(tmp_path):
    """48 patients of three sites; relapse is more likely with age and tumour size."""
    random = np.random.default_rng(5)
    rows = ["split,features,age,outcome,patient,site"]
    for number in range(48):
        volume, noise, age = random.normal(10, 3), random.normal(), random.uniform(30, 80)
        relapse = (volume - 10) / 3 + (age - 55) / 20 + random.normal(0, 0.4) > 0
        (tmp_path / f"{number}.csv").write_text(f"volume,noise\n{volume},{noise}\n", encoding="utf-8")
        split = "test" if number >= 32 else "training"
        answer = "relapse" if relapse else "none"
        rows.append(f"{split},{number}.csv,{age:.1f},{answer},p{number},{'ABC'[number % 3]}")
    (tmp_path / "list.csv").write_text("\n".join(rows), encoding="utf-8")
    return tmp_path / "list.csv"


def summary_of(report) -> list[dict[str, str]]:
    with report.with_name(f"{report.stem}.summary.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def arrays_of(run) -> dict[str, torch.Tensor]:
    return open_model(run, "outcome").load_weights()["regression"]


def train(outcome, dataset, run, *more):
    return outcome("train", "--dataset", dataset, "--method", "bagging", "--output", run, "--seed", 3, *FAST, *more)


def test_the_task_is_small():
    files = (TASKS / "OutcomeModuleLib").rglob("*.py")
    assert sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files) < 150


def test_train_evaluate_and_apply(outcome, dataset, tmp_path):
    code, _, errors = train(outcome, dataset, tmp_path / "run")
    assert code == 0, errors
    report = tmp_path / "report.csv"
    code, shown, errors = outcome("evaluate", "--model", tmp_path / "run", "--dataset", dataset, "--output", report)
    assert code == 0 and "auc" in shown, errors
    line = summary_of(report)[-1]
    low, auc, high = (float(line[name]) for name in ("auc_low", "auc", "auc_high"))
    assert low < auc <= high and auc > 0.85, "chance is .5"
    answer = tmp_path / "answer.json"
    inputs = ("--features", tmp_path / "0.csv", "--age", 79, "--output-answer", answer)
    code, _, errors = outcome("apply", "--model", tmp_path / "run", *inputs, *FAST)
    assert code == 0, errors
    assert 0 <= json.loads(answer.read_text(encoding="utf-8"))["relapse"] <= 1


def test_a_stopped_training_is_resumed_to_the_same_arrays(outcome, dataset, tmp_path, monkeypatch):
    """Existing items are not made again, and the arrays are equal to the last bit."""
    assert train(outcome, dataset, tmp_path / "whole")[0] == 0
    from MedDeepLib.worker.process import StopRequest

    items = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(StopRequest, "__call__", lambda stop: len(list(items.glob("items*/*.pt"))) >= 7)
        assert train(outcome, dataset, tmp_path / "run")[0] == 130
    made = {file: file.stat().st_mtime_ns for file in items.glob("items*/*.pt")}
    assert 7 <= len(made) < 20
    assert load_tensors(next(iter(made)))["item"]["features"].shape == (32, 3)
    from MedDeepLib.jobs import JobFolder

    JobFolder(tmp_path / "run").forget_worker()  # this process is still alive
    kept = list(made.items())
    assert outcome("train", "--resume", tmp_path / "run")[0] == 0
    assert all(not file.exists() or file.stat().st_mtime_ns == moment for file, moment in kept)
    first, second = arrays_of(tmp_path / "whole"), arrays_of(tmp_path / "run")
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_cross_validation_by_patient_and_by_site(outcome, dataset, tmp_path):
    arguments = ("--dataset", dataset, "--method", "bagging", *FAST)
    for name, folds in (("five", ("--folds", 4)), ("sites", ("--by-site",))):
        code, shown, errors = outcome("crossvalidate", *arguments, *folds, "--output", tmp_path / name)
        assert code == 0, errors
        assert float(summary_of(tmp_path / name / "metrics.csv")[-1]["auc"]) > 0.8
    assert "minus pooled" in shown


def test_a_cohort(outcome, dataset, tmp_path):
    assert train(outcome, dataset, tmp_path / "run")[0] == 0
    (tmp_path / "cohort.csv").write_text("features,age\n0.csv,40\n1.csv,70\n", encoding="utf-8")
    arguments = ("--inputs", tmp_path / "cohort.csv", "--output-dir", tmp_path / "out", *FAST)
    code, shown, errors = outcome("apply", "--model", tmp_path / "run", *arguments)
    assert code == 0 and "2 of 2 cases are done" in shown, errors
    assert sorted(file.name for file in (tmp_path / "out").glob("*.json")) == ["0.json", "1.json"]


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("volume,noise", "size,noise", "0.csv has no column 'volume', which the model needs"),
        ("volume,noise", "volume", "0.csv"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_in_a_sentence(outcome, dataset, tmp_path, old, new, words):
    assert train(outcome, dataset, tmp_path / "run")[0] == 0
    table = tmp_path / "0.csv"
    table.write_text(table.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    inputs = ("--features", table, "--age", 50, "--output-answer", tmp_path / "o.json")
    code, _, errors = outcome("apply", "--model", tmp_path / "run", *inputs, *FAST)
    assert code == 2 and words in errors and not (tmp_path / "o.json").exists()
