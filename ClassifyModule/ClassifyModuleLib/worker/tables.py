"""Rows of tables as input: columns by name, missing values, and one scale for all features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from MedDeepLib.core import Context
from MedDeepLib.data.slots import Case, Source
from MedDeepLib.data.sources.table import Table, TableRow, read_table
from MedDeepLib.errors import Stopped, UserError

from ClassifyModuleLib.worker.data import Arrays, Inputs
from ClassifyModuleLib.worker.inputs import Arrays as ArraysByName
from ClassifyModuleLib.worker.inputs import Learned, Read, needed, one_by_one

_NO_FEATURES = ("class", "value", "patient", "site", "name", "split", "case")
_KNOTS = 101
_LEAST_SHARE = 0.002  # of the training cases that lie beyond the ends of the scale
_MOST_NAMED = 4
_MANY_FEATURES_PER_CASE = 0.5


class TableInput:
    """A row of numbers with named columns.

    Attributes:
        scaling: "zscore", or "ranks": the share of training cases with a lower value, as a normal score (van der
            Waerden 1952). Ranks do not care about outliers and skewed features.
    """

    slot = "table"

    def __init__(self, scaling: str, noise: float):
        self._scaling, self._noise = scaling, noise

    def learn(self, cases: Sequence[Case], context: Context) -> Learned:
        columns = _columns_of(cases[0])
        values = np.stack(one_by_one(cases, lambda case: _row_of(case, columns), context, Stopped))
        learned = Learned({}, data=values)
        missing = np.isnan(values)
        without = [name for name, column in zip(columns, missing.T, strict=True) if column.all()]
        median = np.array([np.median(column[~np.isnan(column)]) if name not in without else np.nan
                           for name, column in zip(columns, values.T, strict=True)])  # fmt: skip
        filled = np.where(missing, median, values)
        constant = [
            name
            for name, column in zip(columns, filled.T, strict=True)
            if name not in without and np.ptp(column) <= 1e-12 * max(1.0, float(np.abs(column).max()))
        ]
        kept = [place for place, name in enumerate(columns) if name not in {*without, *constant}]
        if not kept:
            raise UserError("No feature differs between the training cases: there is nothing to learn from the table.")
        if without or constant:
            learned.messages.append(
                f"{_some([*without, *constant])} {'has' if len(without) + len(constant) == 1 else 'have'} no value or "
                "one and the same value in all training cases and will be left out."
            )
        incomplete = [columns[place] for place in kept if missing[:, place].any()]
        if incomplete:
            count = int(missing[:, kept].any(1).sum())
            learned.messages.append(
                f"{count} of {len(cases)} training cases lack values in {_some(incomplete)}: the median of the other "
                "training cases takes their place."
            )
        if len(kept) > _MANY_FEATURES_PER_CASE * len(cases):
            learned.warnings.append(
                f"There are {len(kept)} features for {len(cases)} training cases: some will tell the classes apart by "
                "chance. Trust metrics on other patients only, and leave features out if you can."
            )
        filled = filled[:, kept]
        learned.plan = {
            "columns": [columns[place] for place in kept],
            "median": median[kept].tolist(),
            "low": filled.min(0).tolist(),
            "high": filled.max(0).tolist(),
            "scaling": self._scaling,
            "mean": filled.mean(0).tolist(),
            "scale": filled.std(0).tolist(),
        }
        if self._scaling == "ranks":
            knots = np.quantile(filled, np.linspace(0, 1, min(_KNOTS, len(filled))), axis=0)
            learned.arrays["knots"] = torch.from_numpy(knots)
        return learned

    def load(self, cases: Sequence[Case], learned: Learned, context: Context, cache: Any) -> Inputs:
        columns = learned.plan["columns"]
        values = np.array([_row_of(case, columns) for case in cases]).reshape(len(cases), len(columns))
        return Arrays(_scaled(values, learned.plan, learned.arrays), self._noise)

    def read(self, inputs: Mapping[str, Source], plan: Mapping[str, Any], arrays: ArraysByName) -> Read:
        source = needed(inputs, self.slot)
        table, rows = _table_and_rows(source)
        values = _values(table, source.files[0], plan["columns"])[rows]
        names = tuple(f"row {row + 1}" for row in rows) if len(rows) > 1 else ()
        for name, texts in table.texts.items():
            if len(rows) > 1 and name.lower() in ("name", "case", "patient") and len(set(texts)) == len(texts):
                names = tuple(texts[row] for row in rows)
        notes = tuple(_notes(row, plan) for row in values)
        return Read(_scaled(values, plan, arrays), names, notes)


def _columns_of(case: Case) -> tuple[str, ...]:
    (source,) = (case.inputs["table"],)
    if isinstance(source.value, TableRow):
        return source.value.columns
    columns = _known_table(source.files[0]).columns
    return tuple(name for name in columns if name.lower() not in _NO_FEATURES)


def _row_of(case: Case, columns: Sequence[str]) -> np.ndarray:
    source = case.inputs["table"]
    table, rows = _table_and_rows(source)
    if len(rows) != 1:
        raise UserError(
            f"The table {source.files[0].name} of the case {case.name} has {len(rows)} rows: a case has one row; for a "
            "table with a row for each case, name the table itself as the dataset."
        )
    return _values(table, source.files[0], columns)[rows[0]]


def _table_and_rows(source: Source) -> tuple[Table, list[int]]:
    table = _known_table(source.files[0])
    return table, [source.value.row] if isinstance(source.value, TableRow) else list(range(len(table.values)))


def _values(table: Table, file: Path, columns: Sequence[str]) -> np.ndarray:
    """The columns of the model (rows, features). Raises UserError that names those which the table lacks."""
    missing = [name for name in columns if name not in table.columns]
    if missing:
        text = [name for name in missing if name in table.texts]
        similar = {name.casefold(): name for name in table.columns}
        hint = next((f" ('{similar[name.casefold()]}' is spelled differently)" for name in missing
                     if name.casefold() in similar), "")  # fmt: skip
        what = f"no numbers in {_some(text)}" if text else f"no column {_some(missing)}"
        raise UserError(f"The table {file.name} has {what}{hint}, which the model needs: add it, or rename the column.")
    return table.values[:, [table.columns.index(name) for name in columns]]


def _scaled(values: np.ndarray, plan: Mapping[str, Any], arrays: ArraysByName) -> torch.Tensor:
    """Values (N, features), some of them NaN, as the network takes them."""
    values = np.where(np.isnan(values), np.array(plan["median"]), values)
    if plan["scaling"] == "ranks":
        from scipy.special import ndtri

        knots = arrays["knots"].numpy()
        shares = np.empty_like(values)
        places = np.linspace(0, 1, len(knots))
        for column, edges in enumerate(knots.T):
            # From both sides, so that a value which many cases share lies in the middle of its shares.
            below = np.interp(values[:, column], edges, places)
            above = 1 - np.interp(-values[:, column], -edges[::-1], places)
            shares[:, column] = (below + above) / 2
        scaled = ndtri(np.clip(shares, _LEAST_SHARE, 1 - _LEAST_SHARE))
    else:
        scaled = (values - np.array(plan["mean"])) / np.array(plan["scale"])
    return torch.from_numpy(scaled.astype(np.float32))


def _notes(row: np.ndarray, plan: Mapping[str, Any]) -> tuple[str, ...]:
    columns, notes = plan["columns"], []
    missing = [name for name, value in zip(columns, row, strict=True) if np.isnan(value)]
    if missing:
        notes.append(f"{_some(missing)} {'is' if len(missing) == 1 else 'are'} missing: the training median was taken.")
    outside = [
        f"{name} {value:.4g} ({low:.4g} to {high:.4g})"
        for name, value, low, high in zip(columns, row, plan["low"], plan["high"], strict=True)
        if value < low - 0.1 * (high - low) or value > high + 0.1 * (high - low)
    ]
    if outside:
        notes.append(f"Outside the range of the training cases: {_some(outside)}.")
    return tuple(notes)


def _known_table(file: Path) -> Table:
    """A table, read once while it does not change."""
    try:
        state = file.stat()
    except OSError:
        return read_table(file)
    return _read(file, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=8)
def _read(file: Path, size: int, modified: int) -> Table:
    return read_table(file)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST_NAMED]) + (
        f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    )
