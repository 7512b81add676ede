"""Tables of metrics: one row per case and structure (or whatever the task's rows are about), and a summary with
confidence intervals."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from types import NoneType
from typing import Any

from MedDeepLib.core.task import Evaluation, Metric
from MedDeepLib.data.files import atomic_path
from MedDeepLib.evaluation.intervals import mean_with_interval, pooled_with_intervals

_IDENTITY = ("fold", "case", "patient", "site")
_GROUPS = {"sites": "site", "folds": "fold"}  # tables of groups by name, and the column that names a row's group
TABLES = ("summary", *_GROUPS)
_USUAL_GROUP = "structure"

Line = dict[str, Any]


def write_report(
    path: Path, rows: list[Line], seed: int = 0, evaluation: Evaluation | None = None
) -> dict[str, list[Line]]:
    """Write ``path`` (all rows) and the tables made of it beside it, e.g. ``<name>.summary.csv``.

    Args:
        rows: of all cases, each with "case", "patient", "site", the evaluation's group, and metrics; they need not all
            have the same metrics. Columns with text are kept in the rows and left out of the summary.
        evaluation: of the task; without one, rows are about a "structure" and every column with numbers is a metric.

    Returns:
        The tables by name: "summary", and "sites" or "folds" where the rows come from several of them.

    Raises UserError when the files cannot be written.
    """
    tables = {"summary": summarise(rows, seed, evaluation)}
    for name, column in _GROUPS.items():
        if len({row.get(column, "") for row in rows}) > 1:
            tables[name] = summarise_groups(rows, column, tables["summary"], seed, evaluation)
    _write(path, rows)
    for name in TABLES:
        file = table_path(path, name)
        if name in tables:
            _write(file, tables[name])
        else:
            file.unlink(missing_ok=True)  # of an earlier report under this name
    return tables


def table_path(report: Path, name: str) -> Path:
    """The path of the table ``name`` of a report."""
    return report.with_name(f"{report.stem}.{name}.csv")


def summarise(rows: list[Line], seed: int = 0, evaluation: Evaluation | None = None) -> list[Line]:
    """Mean of each metric per structure, and over all structures, with a 95 % interval over patients.

    The interval is a bootstrap (BCa) over patients' means; with fewer than five patients it is left out, since it would
    be misleading. Pooled metrics (an AUC) come last; they are recomputed from the rows of resampled patients.
    """
    return _summarise(rows, _metric_columns(rows, evaluation), seed, evaluation)


def _summarise(rows: list[Line], metrics: list[str], seed: int, evaluation: Evaluation | None) -> list[Line]:
    column = _group(evaluation)
    groups = list(dict.fromkeys(row.get(column, "") for row in rows))
    lines = [
        _summary_line([row for row in rows if row.get(column, "") == name], metrics, name, seed, evaluation)
        for name in groups
    ]
    return [*lines, _overall(rows, metrics, seed, evaluation)]


def overall(rows: list[Line], seed: int = 0, evaluation: Evaluation | None = None) -> Line:
    """The last line of :func:`summarise`, over all structures."""
    return _overall(rows, _metric_columns(rows, evaluation), seed, evaluation)


def _overall(rows: list[Line], metrics: list[str], seed: int, evaluation: Evaluation | None) -> Line:
    column = _group(evaluation)
    declared: Mapping[str, Metric] = evaluation.metrics if evaluation else {}
    # A mean volume over different organs is meaningless.
    meaningless = [
        name for name in metrics if not (declared[name].across_groups if name in declared else name[-3:] != "_ml")
    ]
    without = [row | dict.fromkeys(meaningless) for row in rows]
    return _summary_line(without, metrics, _everything(column), seed, evaluation, rows)


def summarise_groups(
    rows: list[Line], column: str, summary: list[Line], seed: int = 0, evaluation: Evaluation | None = None
) -> list[Line]:
    """The summary of every value of ``column``, such as every site, and how far each mean is from that of all rows.

    ``summary`` is that of all rows.

    That difference is the ``..._minus_pooled`` of a metric: -0.1 for Dice means that the site is worse by that amount.
    A row without an entry belongs to the group "(none)".
    """
    about = _group(evaluation)
    metrics = _metric_columns(rows, evaluation)
    whole_lines = {line[about]: line for line in summary}
    groups: dict[str, list[Line]] = {}
    for row in rows:
        groups.setdefault(row.get(column) or "(none)", []).append(row)
    lines = []
    for group, rows_of_group in groups.items():
        for line in _summarise(rows_of_group, metrics, seed, evaluation):
            whole, compared = whole_lines[line[about]], dict[str, Any]({column: group})
            for name, value in line.items():
                compared[name] = value
                if name.endswith("_high"):
                    metric = name.removesuffix("_high")
                    known = line[metric] is not None and whole.get(metric) is not None
                    compared[f"{metric}_minus_pooled"] = line[metric] - whole[metric] if known else None
            lines.append(compared)
    return lines


def metrics_of(line: Line) -> list[str]:
    """The names of the metrics in a line of a summary: the columns with an interval."""
    return [name for name in line if f"{name}_low" in line]


def readable(name: str, lines: list[Line]) -> list[tuple[str, ...]]:
    """A table reduced to the essentials for people: a header, and a line for every structure or group.

    Metrics without meaning over several structures are left out, and so are the structures of a group: the file has
    them. Groups show the difference to the pooled metric in place of an interval.
    """
    column = _GROUPS.get(name)
    about = next(key for key in lines[0] if key != column)
    everything = _everything(about)
    whole = [line for line in lines if line[about] == everything]
    metrics = [name for name in metrics_of(whole[0]) if any(line.get(name) is not None for line in whole)]
    note = " (minus pooled)" if column else ""
    table = [(column or about, "patients", *(metric + note for metric in metrics))]
    for line in lines:
        if column is None:
            cells = [metric_in_words(line, metric) for metric in metrics]
        elif line[about] == everything:
            cells = [_with_difference(line, metric) for metric in metrics]
        else:
            continue
        table.append((line[column or about], str(line["patients"]), *cells))
    return table


def metric_in_words(line: Line, metric: str) -> str:
    """A mean with its interval: "0.87 (0.81 to 0.92)"."""
    if line.get(metric) is None:
        return "-"
    low, high = line[f"{metric}_low"], line[f"{metric}_high"]
    interval = "" if low is None or high is None else f" ({_short(low)} to {_short(high)})"
    return _short(line[metric]) + interval


def headline(line: Line, metrics: Mapping[str, Metric] | None = None) -> str:
    """The key metric of a line of a summary: "mean dice 0.87 (0.81 to 0.92) over 12 patients".

    It is the first of the task's ``metrics`` that has a value, or the first one of the line.
    """
    metrics = metrics or {}
    patients = f"{line['patients']} patient{'s' if line['patients'] > 1 else ''}"
    present = [name for name in metrics_of(line) if line[name] is not None]
    name = next((name for name in (*metrics, *present) if name in present), None)
    if name is None:
        return f"no metrics of {patients}"
    mean = "" if name in metrics and metrics[name].pooled else "mean "
    return f"{mean}{name} {metric_in_words(line, name)} over {patients}"


def read_table(path: Path) -> tuple[list[str], list[list[str]]]:
    """Column names and rows of a report, as text."""
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    return header, rows


def _group(evaluation: Evaluation | None) -> str:
    return evaluation.group if evaluation else _USUAL_GROUP


def _everything(group: str) -> str:
    return f"all {group}{'es' if group.endswith('s') else 's'}"


def _columns(rows: Sequence[Line]) -> list[str]:
    """Every column that a row has, in the order in which they appear."""
    return list(dict.fromkeys(name for row in rows for name in row))


def _metric_columns(rows: Sequence[Line], evaluation: Evaluation | None) -> list[str]:
    """The columns with numbers, or with nothing, that the task declares as metrics: others are what pooled metrics are
    computed from."""
    names = [name for name in _columns(rows) if name not in (*_IDENTITY, _group(evaluation))]
    if evaluation is not None:
        names = [name for name in names if name in evaluation.metrics and not evaluation.metrics[name].pooled]
    return [name for name in names if all(isinstance(row.get(name), (Real, NoneType)) for row in rows)]


def _summary_line(
    rows: list[Line],
    metrics: list[str],
    name: str,
    seed: int,
    evaluation: Evaluation | None,
    whole_rows: list[Line] | None = None,
) -> Line:
    line: Line = {_group(evaluation): name, "patients": len({row["patient"] for row in rows})}
    for metric in metrics:
        values = [(row["patient"], row.get(metric)) for row in rows]
        line[metric], line[f"{metric}_low"], line[f"{metric}_high"] = mean_with_interval(values, seed)
    if evaluation is not None and rows:
        for metric, found in pooled_with_intervals(whole_rows or rows, evaluation.pooled, seed).items():
            line[metric], line[f"{metric}_low"], line[f"{metric}_high"] = found
    return line


def _with_difference(line: Line, metric: str) -> str:
    if line.get(metric) is None:
        return "-"
    difference = line[f"{metric}_minus_pooled"]
    return f"{_short(line[metric])} ({_short(difference, '+') if difference is not None else '-'})"


def _short(value: float, sign: str = "") -> str:
    return f"{value:{sign}.0f}" if abs(value) >= 1000 else f"{round(value, 3):{sign}.3g}"


def _write(path: Path, rows: list[Line]) -> None:
    with atomic_path(path, ".csv") as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, _columns(rows), restval="")
        writer.writeheader()
        writer.writerows({key: _text(value) for key, value in row.items()} for row in rows)


def _text(value: Any) -> Any:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else value
