"""A task declares its slots; the command line, jobs and cohorts follow from them, without any image."""

from __future__ import annotations

import csv
import json

import pytest
from toy_commands import toy_command


@pytest.fixture
def grade(monkeypatch, tmp_path, capsys):
    """The command line of a task in a separate folder: exit code, standard output, errors."""
    for name, numbers in (("a", "3\n7\n"), ("b", "1\n"), ("bad", "many\n")):
        (tmp_path / f"{name}.txt").write_text(numbers, encoding="utf-8")
    with toy_command("grade", monkeypatch, tmp_path / "runs", capsys) as run:
        yield run


def test_flags_are_the_slots(grade):
    code, printed, _ = grade("apply", "--help")
    assert code == 0
    words = " ".join(printed.split())
    for flag in ("--findings FILE", "--age VALUE", "--note VALUE", "--map FILE", "--output-answer FILE"):
        assert flag in words
    assert "columns findings, age" in words and "sizes of what was found" in words and "(rule)" in words


def test_apply_to_a_table_and_a_number(grade, tmp_path):
    first = ("--findings", tmp_path / "a.txt", "--age", 63, "--output-answer", tmp_path / "a.json")
    second = ("--findings", tmp_path / "a.txt", "--age", 20, "--output-answer", tmp_path / "b.json")
    code, printed, errors = grade("apply", "--model", "rule", *first, *second, "--device", "cpu")
    assert code == 0, errors
    assert "Grade high." in printed and "Grade low." in printed
    answers = [json.loads((tmp_path / name).read_text(encoding="utf-8"))["grade"] for name in ("a.json", "b.json")]
    assert answers == ["high", "low"]


ONE = ["--findings", "a", "--age", "1", "--output-answer", "o.json"]


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--findings", "a.txt"], "apply needs --findings, --age and --output-answer, or --inputs and --output-dir"),
        (["--findings", "a", "--age", "old", "--output-answer", "o.json"], "invalid float value: 'old'"),
        ([*ONE, "--findings", "b"], "2 of --findings and 1 of --age"),
        (["--findings", "a", "--age", "1", "--output-answer", "o.nrrd"], "must end in one of .json"),
        (["--findings", "bad.txt", "--age", "1", "--output-answer", "o.json"], "cannot be read"),
        ([*ONE, "--output-volume", "v.nrrd"], "name it with --map"),
        ([*ONE, "--map", "i.nrrd"], "no effect without"),
    ],
)
def test_bad_usage(grade, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    code, _, errors = grade("apply", "--model", "rule", *arguments, "--device", "cpu")
    assert code == 2 and words in errors and "Traceback" not in errors
    assert not (tmp_path / "o.json").exists()


def test_a_cohort_of_tables(grade, tmp_path):
    rows = ["findings,age,note,case", "a.txt,63,,old", "a.txt,20,,", "b.txt,20,relapse,again"]
    rows += ["b.txt,x,,", "bad.txt,5,,"]
    (tmp_path / "list.csv").write_text("\n".join(rows), encoding="utf-8")
    output = tmp_path / "out"
    arguments = ("--inputs", tmp_path / "list.csv", "--output-dir", output, "--device", "cpu", "--threads", 1)
    code, printed, errors = grade("apply", "--model", "rule", *arguments)
    assert code == 2 and "3 of 5 cases are done, 2 failed" in printed, errors
    with (output / "summary.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert [line["case"] for line in lines] == ["old", "a", "again", "b", "bad"]
    assert [line["grade"] for line in lines] == ["high", "low", "high", "", ""]
    assert "no number in the column 'age'" in lines[3]["reason"] and "cannot be read" in lines[4]["reason"]
    assert json.loads((output / "old.json").read_text(encoding="utf-8")) == {"grade": "high", "largest": 7.0}
    assert (output / "old.json").read_bytes() != (output / "a.json").read_bytes(), "the age is part of the address"
