"""Tables of figures, and means with intervals over patients."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from MedDeepLib.errors import UserError
from MedDeepLib.evaluation.report import read_table, summarise, write_report


def row(patient: str, structure: str, dice, case=None, site="") -> dict:
    return {"case": case or patient, "patient": patient, "site": site, "structure": structure, "dice": dice}


def line(summary, structure: str) -> dict:
    return next(entry for entry in summary if entry["structure"] == structure)


def test_means_are_over_patients_not_over_cases():
    rows = [row("A", "liver", 0.2, "A1"), row("A", "liver", 0.4, "A2"), row("B", "liver", 0.9)]
    found = line(summarise(rows), "liver")
    assert found["patients"] == 2 and found["dice"] == pytest.approx((0.3 + 0.9) / 2)


def test_all_structures_together():
    rows = [row("A", "liver", 1.0), row("A", "spleen", 0.5), row("B", "liver", 0.8), row("B", "spleen", None)]
    summary = summarise(rows)
    assert [entry["structure"] for entry in summary] == ["liver", "spleen", "all structures"]
    assert line(summary, "spleen")["dice"] == 0.5, "what does not exist is no zero"
    assert line(summary, "all structures")["dice"] == pytest.approx((0.75 + 0.8) / 2)


def test_an_interval_needs_five_patients():
    few = line(summarise([row(str(n), "liver", 0.5 + n / 10) for n in range(4)]), "liver")
    assert (few["dice_low"], few["dice_high"]) == (None, None)
    many = line(summarise([row(str(n), "liver", 0.5 + n / 10) for n in range(5)]), "liver")
    assert 0.5 < many["dice_low"] < many["dice"] < many["dice_high"] < 0.9


def test_the_interval_holds_what_it_promises():
    """Of 60 experiments with 25 patients each, about 95 % have the true mean in their interval."""
    random = np.random.default_rng(0)
    inside = 0
    for experiment in range(60):
        rows = [row(str(n), "liver", float(value)) for n, value in enumerate(random.normal(0.7, 0.1, 25))]
        found = line(summarise(rows, seed=experiment), "liver")
        inside += found["dice_low"] <= 0.7 <= found["dice_high"]
    assert 50 <= inside <= 60


def test_the_same_seed_gives_the_same_interval():
    rows = [row(str(n), "liver", n / 10) for n in range(9)]
    assert summarise(rows, 3) == summarise(rows, 3) != summarise(rows, 4)


def test_equal_figures_have_no_interval():
    found = line(summarise([row(str(n), "liver", 1.0) for n in range(8)]), "liver")
    assert (found["dice"], found["dice_low"], found["dice_high"]) == (1.0, None, None)


def test_the_files(tmp_path):
    rows = [row("A", 'liver, "left"', 0.123456, site="Zürich"), row("B", 'liver, "left"', None)]
    summary = write_report(tmp_path / "new" / "report.csv", rows)
    assert sorted(file.name for file in (tmp_path / "new").iterdir()) == ["report.csv", "report.summary.csv"]
    with (tmp_path / "new" / "report.csv").open(newline="", encoding="utf-8") as file:
        read = list(csv.DictReader(file))
    assert read[0] == {"case": "A", "patient": "A", "site": "Zürich", "structure": 'liver, "left"', "dice": "0.1235"}
    assert read[1]["dice"] == ""
    header, lines = read_table(tmp_path / "new" / "report.summary.csv")
    assert header[:3] == ["structure", "patients", "dice"] and len(lines) == len(summary) == 2


def test_a_report_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        write_report(tmp_path / "file" / "report.csv", [row("A", "liver", 1.0)])
