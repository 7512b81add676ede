"""Tables of metrics, and means with confidence intervals over patients."""

from __future__ import annotations

import csv
import re

import numpy as np
import pytest
from MedDeepLib.core import Metric
from MedDeepLib.errors import UserError
from MedDeepLib.evaluation.report import (
    headline,
    metrics_of,
    overall,
    read_table,
    readable,
    summarise,
    summarise_groups,
    table_path,
    write_report,
)


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
    """In about 95 % of 60 experiments with 25 patients each, the interval contains the true mean."""
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
    rows = [row("A", 'liver, "left"', 0.123456, site="Zürich"), row("B", 'liver, "left"', None, site="Zürich")]
    tables = write_report(tmp_path / "new" / "report.csv", rows)
    assert sorted(file.name for file in (tmp_path / "new").iterdir()) == ["report.csv", "report.summary.csv"]
    with (tmp_path / "new" / "report.csv").open(newline="", encoding="utf-8") as file:
        read = list(csv.DictReader(file))
    assert read[0] == {"case": "A", "patient": "A", "site": "Zürich", "structure": 'liver, "left"', "dice": "0.1235"}
    assert read[1]["dice"] == ""
    header, lines = read_table(tmp_path / "new" / "report.summary.csv")
    assert header[:3] == ["structure", "patients", "dice"] and len(lines) == len(tables["summary"]) == 2
    assert list(tables) == ["summary"], "one site is no group"


def by_site() -> list[dict]:
    """Ten patients of Basel with good results; five of Bern and one without a site with bad ones."""
    places = ["Basel"] * 10 + ["Bern"] * 5 + [""]
    return [
        row(f"P{number}", structure, (0.9 if site == "Basel" else 0.6) + number / 800, site=site)
        for number, site in enumerate(places)
        for structure in ("liver", "spleen")
    ]


def test_every_site_is_compared_with_the_whole():
    rows = by_site()
    lines = summarise_groups(rows, "site", summarise(rows))
    assert [(entry["site"], entry["structure"]) for entry in lines] == [
        (site, structure) for site in ("Basel", "Bern", "(none)") for structure in ("liver", "spleen", "all structures")
    ]
    alone = summarise([entry for entry in rows if entry["site"] == "Bern"])
    bern = [entry for entry in lines if entry["site"] == "Bern"]
    whole = line(summarise(rows), "all structures")["dice"]
    assert whole == pytest.approx((10 * 0.9 + 6 * 0.6 + sum(range(16)) / 800) / 16)
    for expected, found in zip(alone, bern, strict=True):
        assert found.items() >= expected.items(), "mean and interval are those of the site alone"
        assert found["dice_minus_pooled"] == pytest.approx(expected["dice"] - whole) and found["dice_minus_pooled"] < 0
    assert sum(entry["dice_minus_pooled"] * entry["patients"] for entry in lines) == pytest.approx(0)


def test_a_table_for_each_site_lies_beside_the_report(tmp_path):
    rows = by_site()
    tables = write_report(tmp_path / "report.csv", rows)
    assert list(tables) == ["summary", "sites"]
    header, lines = read_table(table_path(tmp_path / "report.csv", "sites"))
    assert header == ["site", "structure", "patients", "dice", "dice_low", "dice_high", "dice_minus_pooled"]
    assert len(lines) == 9
    write_report(tmp_path / "report.csv", [{**entry, "site": ""} for entry in rows])
    assert not table_path(tmp_path / "report.csv", "sites").exists(), "of the report before"


def test_folds_are_a_group_too(tmp_path):
    rows = [{"fold": f"fold {number % 2 + 1}"} | entry for number, entry in enumerate(by_site()[::2])]
    tables = write_report(tmp_path / "report.csv", rows)
    assert list(tables) == ["summary", "sites", "folds"]
    assert [(entry["fold"], entry["patients"]) for entry in tables["folds"][::2]] == [("fold 1", 8), ("fold 2", 8)]
    assert read_table(tmp_path / "report.csv")[0] == ["fold", "case", "patient", "site", "structure", "dice"]


def test_tables_for_people():
    rows = [entry | {"volume_ml": 1234.5, "hd95_mm": None} for entry in by_site()]
    summary = readable("summary", summarise(rows))
    assert [len(entry) for entry in summary] == [3] * 4, "neither volumes of everything nor what has no value"
    assert summary[0] == ("structure", "patients", "dice")
    assert summary[1][:2] == ("liver", "16") and re.fullmatch(r"0\.797 \(0\.\d+ to 0\.\d+\)", summary[1][2])
    assert readable("sites", summarise_groups(rows, "site", summarise(rows))) == [
        ("site", "patients", "dice (minus pooled)"),
        ("Basel", "10", "0.906 (+0.109)"),
        ("Bern", "5", "0.615 (-0.182)"),
        ("(none)", "1", "0.619 (-0.178)"),
    ]


def test_the_headline():
    assert re.fullmatch(r"mean dice 0\.797 \(0\.\d+ to 0\.\d+\) over 16 patients", headline(overall(by_site())))
    assert headline(overall([row("A", "liver", 0.5)])) == "mean dice 0.5 over 1 patient"
    assert headline(overall([row("A", "liver", None)])) == "no metrics of 1 patient"


def test_a_report_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        write_report(tmp_path / "file" / "report.csv", [row("A", "liver", 1.0)])


# --- reports of other tasks -------------------------------------------------------------------------------------------


class Screening:
    """One row per case: a score, whether the patient is ill, and a reader's remark."""

    metrics = {
        "AUC": Metric(direction=1, chance=0.5, pooled=True),
        "error": Metric(direction=-1),
        "diameter_mm": Metric("mm"),
    }
    group = "class"
    judged = "cases with a class"

    def pooled(self, rows):
        ill, well = ([row["score"] for row in rows if row.get("ill") is state] for state in (True, False))
        assert len({row["case"] for row in rows}) == len(rows), "a patient who is drawn twice counts as two"
        pairs = [(a > b) + 0.5 * (a == b) for a in ill for b in well]
        return {"AUC": float(np.mean(pairs)) if pairs else float("nan")}


def screened(count: int = 40) -> list[dict]:
    random = np.random.default_rng(1)
    rows = []
    for number in range(count):
        ill = number % 2 == 0
        score = float(random.normal(1.0 if ill else 0.0))
        row = {"case": f"c{number}", "patient": f"p{number}", "site": "", "class": "nodule", "note": "seen", "ill": ill}
        rows.append(row | {"score": score, "error": abs(score - ill)})
    return rows


def test_text_and_missing_columns_are_no_errors(tmp_path):
    rows = [*screened(6), {"case": "late", "patient": "late", "site": "A", "class": "nodule", "diameter_mm": 3.5}]
    tables = write_report(tmp_path / "report.csv", rows, 0, Screening())
    header, lines = read_table(tmp_path / "report.csv")
    assert header[-1] == "diameter_mm" and lines[0][-1] == "" and lines[-1][header.index("note")] == ""
    assert "note" not in tables["summary"][0] and tables["summary"][0]["diameter_mm"] == 3.5
    assert list(tables) == ["summary", "sites"]
    assert readable("sites", tables["sites"])[0][:2] == ("site", "patients")
    (alone,) = [entry for entry in tables["sites"] if entry["site"] == "A" and entry["class"] == "nodule"]
    assert alone["error"] is None and alone["error_minus_pooled"] is None


def test_pooled_metrics_are_resampled_over_patients():
    rows = screened()
    summary = summarise(rows, 3, Screening())
    assert [entry["class"] for entry in summary] == ["nodule", "all classes"]
    nodule, everything = summary
    assert 0.6 < nodule["AUC"] < 0.95 and nodule["AUC_low"] < nodule["AUC"] < nodule["AUC_high"] < 1
    assert nodule["AUC_high"] - nodule["AUC_low"] < 0.35
    assert everything["AUC"] == nodule["AUC"] and everything["patients"] == 40
    assert summarise(rows, 3, Screening()) == summary, "the same seed gives the same interval"
    assert headline(everything, Screening.metrics).startswith("AUC 0.")
    assert headline(everything).startswith("mean error"), "without a task: the first column"


def test_a_pooled_metric_that_the_rows_do_not_allow():
    one_class = [entry for entry in screened() if entry["ill"]]
    (nodule, _) = summarise(one_class, 0, Screening())
    assert nodule["AUC"] is None and nodule["AUC_low"] is None
    assert headline(nodule, Screening.metrics).startswith("mean error")
    few = summarise(screened(4), 0, Screening())[0]
    assert few["AUC"] is not None and few["AUC_low"] is None, "an interval needs five patients"


def test_what_pooled_metrics_are_made_of_is_no_metric_itself():
    class Counting:
        metrics = {"hits": Metric(direction=1), "sensitivity": Metric(direction=1, pooled=True)}
        group = "class"

        def pooled(self, rows):
            return {"sensitivity": sum(row["found"] for row in rows) / len(rows)}

    rows = [{"case": n, "patient": n, "site": "", "class": "a", "hits": n, "found": n % 2} for n in range(4)]
    (of_class, everything) = summarise(rows, evaluation=Counting())
    assert metrics_of(of_class) == metrics_of(everything) == ["hits", "sensitivity"]
    assert of_class["sensitivity"] == 0.5
