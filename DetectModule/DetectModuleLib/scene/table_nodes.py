"""Findings as a table node, a row for each, which is saved with the scene.

The columns are those of a CSV file of findings, so that a table which is saved from Slicer can be read as such. All
of them are text: Slicer saves numbers with six digits only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from MedDeepLib.data.sources.boxes import Box
from MedDeepLib.errors import UserError
from MedDeepLib.scene import nodes

from DetectModuleLib.findings import REVIEWS, Finding

_TEXT = ("name", "class", "score", "review")
_PLACE = ("r", "a", "s", "size_r", "size_a", "size_s")
_AXES = tuple(f"axis{number}_{letter}" for number in (1, 2, 3) for letter in "ras")
_COLUMNS = (*_TEXT, *_PLACE, *_AXES)


def write_table(findings: Sequence[Finding], node: Any = None, name: str = "findings") -> Any:
    """Replace the rows of a table node, or make one."""
    facts = list(dict.fromkeys(fact for finding in findings for fact in finding.facts if fact not in _COLUMNS))
    rows = [_row(finding, facts) for finding in findings]
    return nodes.table_from_rows(name, [*_COLUMNS, *facts], rows, node)


def update_row(node: Any, number: int, finding: Finding) -> None:
    """Replace one row; its finding has no other facts than before."""
    table = node.GetTable()
    for column, text in enumerate(_row(finding, ())):
        table.GetColumn(column).SetValue(number, text)
    table.Modified()


def read_table(node: Any) -> list[Finding]:
    """The findings of a table node. Raises UserError when somebody has made something else of it."""
    table = node.GetTable()
    columns = {table.GetColumnName(number): table.GetColumn(number) for number in range(table.GetNumberOfColumns())}
    missing = [name for name in _COLUMNS if name not in columns]
    if missing:
        raise UserError(f"The table '{node.GetName()}' holds no findings any more: the column '{missing[0]}' is gone.")
    facts = [name for name in columns if name not in _COLUMNS]
    rows = [
        {name: str(column.GetValue(number)) for name, column in columns.items()}
        for number in range(table.GetNumberOfRows())
    ]
    try:
        return [_finding(row, facts) for row in rows]
    except ValueError as error:
        raise UserError(f"The table '{node.GetName()}' cannot be read as findings: {error}.") from None


def _row(finding: Finding, facts: Sequence[str]) -> list[str]:
    box = finding.box
    numbers = (*box.center, *box.size, *box.axes.T.ravel())
    own = [_text(finding.facts.get(fact)) for fact in facts]
    return [box.name, box.class_name, _text(box.score), finding.review, *map(_text, numbers), *own]


def _finding(row: dict[str, str], facts: Sequence[str]) -> Finding:
    place = np.array([float(row[name]) for name in _PLACE])
    axes = np.array([float(row[name]) for name in _AXES]).reshape(3, 3).T
    score = float(row["score"]) if row["score"] else None
    box = Box(place[:3], place[3:], axes, row["name"], row["class"], score)
    review = row["review"] if row["review"] in REVIEWS else ""
    return Finding(box, review=review, facts={fact: float(row[fact]) for fact in facts if row[fact]})


def _text(number: Any) -> str:
    return "" if number is None else repr(float(number))
