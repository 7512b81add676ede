"""Tables of figures: one row per case and structure, and a summary with confidence intervals."""

from __future__ import annotations

import csv
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from MedDeepLib.data.files import atomic_path

_TEXT_COLUMNS = ("fold", "case", "patient", "site", "structure")
_GROUPS = {"sites": "site", "folds": "fold"}  # tables of groups by name, and the column that says who belongs to which
TABLES = ("summary", *_GROUPS)
_EVERYTHING = "all structures"
_FEWEST_FOR_INTERVAL = 5

Line = dict[str, Any]


def write_report(path: Path, rows: list[Line], seed: int = 0) -> dict[str, list[Line]]:
    """Write ``path`` (all rows) and the tables made of it beside it, e.g. ``<name>.summary.csv``.

    Returns:
        The tables by name: "summary", and "sites" or "folds" where the rows come from several of them.

    Raises UserError when the files cannot be written.
    """
    tables = {"summary": summarise(rows, seed)}
    for name, column in _GROUPS.items():
        if len({row.get(column, "") for row in rows}) > 1:
            tables[name] = summarise_groups(rows, column, tables["summary"], seed)
    _write(path, rows)
    for name in TABLES:
        file = table_path(path, name)
        if name in tables:
            _write(file, tables[name])
        else:
            file.unlink(missing_ok=True)  # of an earlier report under this name
    return tables


def table_path(report: Path, name: str) -> Path:
    """Where the table ``name`` of a report lies."""
    return report.with_name(f"{report.stem}.{name}.csv")


def summarise(rows: list[Line], seed: int = 0) -> list[Line]:
    """Mean of each figure per structure, and over all structures, with a 95 % interval over patients.

    The interval is a bootstrap (BCa) over patients' means; with fewer than five patients it is left out, since it
    would promise more than so few cases can say.
    """
    structures = list(dict.fromkeys(row["structure"] for row in rows))
    summary = [_summary_line([row for row in rows if row["structure"] == name], name, seed) for name in structures]
    return [*summary, overall(rows, seed)]


def overall(rows: list[Line], seed: int = 0) -> Line:
    """The last line of :func:`summarise`, over all structures."""
    # A mean volume of different organs says nothing.
    volumes = [key for key in (rows[0] if rows else {}) if key.endswith("_ml")]
    return _summary_line([row | dict.fromkeys(volumes) for row in rows], _EVERYTHING, seed)


def summarise_groups(rows: list[Line], column: str, summary: list[Line], seed: int = 0) -> list[Line]:
    """The summary of every site, or whatever ``column`` says, and how far each mean is from that of all rows.

    ``summary`` is that of all rows.

    That difference is the ``..._minus_pooled`` of a figure: -0.1 for Dice says that the site fares worse by so much.
    A row without an entry belongs to the group "(none)".
    """
    pooled = {line["structure"]: line for line in summary}
    groups: dict[str, list[Line]] = {}
    for row in rows:
        groups.setdefault(row[column] or "(none)", []).append(row)
    lines = []
    for group, rows_of_group in groups.items():
        for line in summarise(rows_of_group, seed):
            whole, compared = pooled[line["structure"]], {column: group}
            for name, value in line.items():
                compared[name] = value
                if name.endswith("_high"):
                    figure = name.removesuffix("_high")
                    difference = None if line[figure] is None else line[figure] - whole[figure]
                    compared[f"{figure}_minus_pooled"] = difference
            lines.append(compared)
    return lines


def figures_of(line: Line) -> list[str]:
    """The names of the figures in a line of a summary: those with an interval."""
    return [name for name in line if f"{name}_low" in line]


def readable(name: str, lines: list[Line]) -> list[tuple[str, ...]]:
    """The most important of a table for people: a header, and a line for every structure or group.

    Figures that mean nothing over several structures are left out, and so are the structures of a group: the file has
    them. Groups show the difference to the pooled figure in place of an interval.
    """
    column = _GROUPS.get(name)
    whole = [line for line in lines if line["structure"] == _EVERYTHING]
    figures = [name for name in figures_of(whole[0]) if any(line[name] is not None for line in whole)]
    note = " (minus pooled)" if column else ""
    table = [(column or "structure", "patients", *(figure + note for figure in figures))]
    for line in lines:
        if column is None:
            cells = [figure_in_words(line, figure) for figure in figures]
        elif line["structure"] == _EVERYTHING:
            cells = [_with_difference(line, figure) for figure in figures]
        else:
            continue
        table.append((line[column or "structure"], str(line["patients"]), *cells))
    return table


def figure_in_words(line: Line, figure: str) -> str:
    """A mean with its interval: "0.87 (0.81 to 0.92)"."""
    if line[figure] is None:
        return "-"
    low, high = line[f"{figure}_low"], line[f"{figure}_high"]
    interval = "" if low is None or high is None else f" ({_short(low)} to {_short(high)})"
    return _short(line[figure]) + interval


def headline(line: Line) -> str:
    """The first figure of a line of a summary: "mean dice 0.87 (0.81 to 0.92) over 12 patients"."""
    patients = f"{line['patients']} patient{'s' if line['patients'] > 1 else ''}"
    figure = next((figure for figure in figures_of(line) if line[figure] is not None), None)
    return f"mean {figure} {figure_in_words(line, figure)} over {patients}" if figure else f"no figures of {patients}"


def read_table(path: Path) -> tuple[list[str], list[list[str]]]:
    """Column names and rows of a report, as text."""
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    return header, rows


def _summary_line(rows: list[Line], name: str, seed: int) -> Line:
    line: Line = {"structure": name, "patients": len({row["patient"] for row in rows})}
    for figure in rows[0] if rows else ():
        if figure not in _TEXT_COLUMNS:
            line[figure], line[f"{figure}_low"], line[f"{figure}_high"] = _mean(rows, figure, seed)
    return line


def _with_difference(line: Line, figure: str) -> str:
    if line[figure] is None:
        return "-"
    return f"{_short(line[figure])} ({_short(line[f'{figure}_minus_pooled'], '+')})"


def _short(value: float, sign: str = "") -> str:
    return f"{value:{sign}.0f}" if abs(value) >= 1000 else f"{round(value, 3):{sign}.3g}"


def _mean(rows: list[Line], figure: str, seed: int) -> tuple[float | None, float | None, float | None]:
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


def _write(path: Path, rows: list[Line]) -> None:
    columns = list(rows[0]) if rows else []
    with atomic_path(path, ".csv") as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows({key: _text(value) for key, value in row.items()} for row in rows)


def _text(value: Any) -> Any:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else value
