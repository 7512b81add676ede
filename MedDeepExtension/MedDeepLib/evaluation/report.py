"""Tables of figures: one row per case and structure, and a summary with confidence intervals."""

from __future__ import annotations

import csv
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from MedDeepLib.data.files import atomic_path

_TEXT_COLUMNS = ("case", "patient", "site", "structure")
_FEWEST_FOR_INTERVAL = 5


def write_report(path: Path, rows: list[dict[str, Any]], seed: int = 0) -> list[dict[str, Any]]:
    """Write ``path`` (all rows) and ``<name>.summary.csv`` beside it, and return the summary.

    Raises UserError when the files cannot be written.
    """
    summary = summarise(rows, seed)
    _write(path, rows)
    _write(path.with_name(path.stem + ".summary.csv"), summary)
    return summary


def summarise(rows: list[dict[str, Any]], seed: int = 0) -> list[dict[str, Any]]:
    """Mean of each figure per structure, and over all structures, with a 95 % interval over patients.

    The interval is a bootstrap (BCa) over patients' means; with fewer than five patients it is left out, since it
    would promise more than so few cases can say.
    """
    structures = list(dict.fromkeys(row["structure"] for row in rows))
    figures = [key for key in (rows[0] if rows else {}) if key not in _TEXT_COLUMNS]
    summary = []
    for structure in [*structures, "all structures"]:
        chosen = [row for row in rows if structure in (row["structure"], "all structures")]
        line: dict[str, Any] = {"structure": structure, "patients": len({row["patient"] for row in chosen})}
        for figure in figures:
            # A mean volume of different organs says nothing.
            rows_that_count = [] if structure == "all structures" and figure.endswith("_ml") else chosen
            line[figure], line[f"{figure}_low"], line[f"{figure}_high"] = _mean(rows_that_count, figure, seed)
        summary.append(line)
    return summary


def read_table(path: Path) -> tuple[list[str], list[list[str]]]:
    """Column names and rows of a report, as text."""
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    return header, rows


def _mean(rows: list[dict[str, Any]], figure: str, seed: int) -> tuple[float | None, float | None, float | None]:
    by_patient: dict[str, list[float]] = {}
    for row in rows:
        if row[figure] is not None:
            by_patient.setdefault(row["patient"], []).append(row[figure])
    means = np.array([np.mean(values) for values in by_patient.values()])
    if not means.size:
        return None, None, None
    if means.size < _FEWEST_FOR_INTERVAL or np.ptp(means) == 0:
        return float(means.mean()), None, None
    from scipy.stats import bootstrap

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a degenerate resample gives NaN, handled below
        interval = bootstrap((means,), np.mean, rng=np.random.default_rng(seed)).confidence_interval
    low, high = (float(x) if np.isfinite(x) else None for x in interval)
    return float(means.mean()), low, high


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    columns = list(rows[0]) if rows else []
    with atomic_path(path, ".csv") as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows({key: _text(value) for key, value in row.items()} for row in rows)


def _text(value: Any) -> Any:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else value
