"""Classification of tables from the command line: what is said, what is refused, what is written."""

from __future__ import annotations

import csv
import json
import re

import pytest
from toy_classes import FAST, write_table

QUICK = ("--set", "steps=60", "--set", "hidden=8")


@pytest.fixture
def dataset(tmp_path):
    return write_table(tmp_path / "table.csv")


def rows_of(file):
    with file.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_train_apply_and_evaluate(train, classify, dataset, tmp_path):
    lines = dataset.read_text(encoding="utf-8").splitlines()
    for number in range(1, 20):
        lines[number] = ",".join([*lines[number].split(",")[:2], "", *lines[number].split(",")[3:]])
    split = ["split," + lines[0], *(f"{'test' if n > 45 else 'training'},{line}" for n, line in enumerate(lines[1:]))]
    dataset.write_text("\n".join(split) + "\n", encoding="utf-8")
    code, shown, errors = train(dataset, "mlp", tmp_path / "run", *QUICK)
    assert code == 0, errors
    assert "is right in" in shown + errors and "lack values in f0" in shown + errors
    # One row of a table is one answer, many rows are many.
    header = lines[0].split(",")[2:]
    new = tmp_path / "new.csv"
    new.write_text(",".join(["name", *header]) + "\nA,1,1,0,0,0,0\nB,1,-1,0,0,0,0\nC,900,1,0,0,,0\n", encoding="utf-8")
    applied = ("apply", "--model", tmp_path / "run", "--table", new, "--output", tmp_path / "answer.csv", *FAST[:4])
    code, shown, errors = classify(*applied)
    assert code == 0, errors
    answers = rows_of(tmp_path / "answer.csv")
    assert [row["case"] for row in answers] == ["A", "B", "C"]
    for row in answers:
        assert abs(float(row["probability_benign"]) + float(row["probability_malignant"]) - 1) < 1e-3
        assert row["nearest"].count("row") == 3
    assert "f0 900" in answers[2]["notes"] and "f4 is missing" in answers[2]["notes"]
    new.write_text(",".join(header) + "\n1,1,0,0,0,0\n", encoding="utf-8")
    code, shown, errors = classify(*applied[:-5], tmp_path / "answer.json", *FAST[:4])
    answer = json.loads((tmp_path / "answer.json").read_text(encoding="utf-8"))
    assert code == 0 and answer["called"] in ("benign", "malignant") and len(answer["nearest"]) == 3, errors
    # A column of the model is missing; an input that the model does not take.
    new.write_text("f0,f1,F2,f3,f4\n1,1,0,0,0\n", encoding="utf-8")
    code, _, errors = classify(*applied)
    assert code == 2 and "no column f2, f5 ('F2' is spelled differently)" in errors
    code, _, errors = classify(*applied, "--input", new)
    assert code == 2 and "--table" in errors
    # Metrics with their chance levels, and none for a test set of one case.
    evaluated = ("evaluate", "--model", tmp_path / "run", "--dataset", dataset, "--output", tmp_path / "report.csv")
    code, shown, errors = classify(*evaluated, *FAST)
    assert code == 0, errors
    summary = rows_of(tmp_path / "report.summary.csv")[-1]
    assert 0 <= float(summary["auc"]) <= 1 and float(summary["balanced_accuracy_chance"]) == 0.5
    row, *_ = rows_of(tmp_path / "report.csv")
    assert {"truth", "predicted", "probability_benign", "probability_malignant"} <= set(row)
    split[47:] = [split[47]]
    dataset.write_text("\n".join(split) + "\n", encoding="utf-8")
    code, shown, errors = classify(*evaluated, *FAST)
    assert code == 0 and "There is one test case, too few for metrics" in errors, errors
    (row,) = rows_of(tmp_path / "report.csv")
    assert row["probability_benign"] and not row["accuracy"] and not row["brier"]


def test_a_value_comes_with_an_interval(train, classify, tmp_path):
    lines = ["value,a,b", *(f"{3 * (n % 17) + 50},{n % 17},{n % 5}" for n in range(60))]
    (tmp_path / "ages.csv").write_text("\n".join(lines), encoding="utf-8")
    code, shown, errors = train(tmp_path / "ages.csv", "mlp", tmp_path / "run", *QUICK)
    assert code == 0, errors
    (tmp_path / "new.csv").write_text("a,b\n8,2\n", encoding="utf-8")
    inputs = ("--table", tmp_path / "new.csv", "--output", tmp_path / "answer.json", *FAST[:4])
    code, _, errors = classify("apply", "--model", tmp_path / "run", *inputs)
    answer = json.loads((tmp_path / "answer.json").read_text(encoding="utf-8"))
    assert code == 0 and answer["interval"][0] <= answer["value"] <= answer["interval"][1], errors


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("malignant", "benign", "All training cases of the dataset table have the class 'benign'"),
        ("P7,([bm])", lambda found: f"P7,{found[1].upper()}", "one class in two spellings"),
        (",f0,", ",f1,", "has the column 'f1' twice"),
    ],
)
def test_bad_tables_are_refused(train, dataset, tmp_path, old, new, words):
    dataset.write_text(re.sub(old, new, dataset.read_text(encoding="utf-8")), encoding="utf-8")
    code, shown, errors = train(dataset, "mlp", tmp_path / "run", *QUICK)
    assert code == 2 and words in errors, errors


def test_a_class_with_one_patient_is_warned_of(train, dataset, tmp_path):
    dataset.write_text(dataset.read_text(encoding="utf-8") + "P99,rare,1,1,1,1,1,1\n", encoding="utf-8")
    code, shown, errors = train(dataset, "mlp", tmp_path / "run", "--set", "steps=2")
    assert code == 0 and "The class rare has one patient only" in shown + errors, errors
    code, shown, errors = train(dataset, "cnn", tmp_path / "other")
    assert code == 2 and "takes an image, but the case row 1 has a table" in errors
