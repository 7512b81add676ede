"""Findings as a table: a line each, in RAS mm, for spreadsheets and statistics."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from MedDeepLib.data.delimited import read_lines
from MedDeepLib.data.files import atomic_path
from MedDeepLib.data.sources.boxes import read_boxes
from MedDeepLib.errors import UserError

from DetectModuleLib.findings.finding import REVIEWS, Finding

_PLACE = ("r", "a", "s", "size_r", "size_a", "size_s")
_AXES = tuple(f"axis{number}_{letter}" for number in (1, 2, 3) for letter in "ras")
_TEXT = ("name", "class", "score", "review")
_OTHERS = ("center_r", "center_a", "center_s", "diameter", "diameter_mm")


def write(path: Path, findings: Sequence[Finding]) -> None:
    """Write findings, with the axes of their boxes if one of them is turned. Raises UserError when it cannot be."""
    turned = any(not np.allclose(finding.box.axes, np.eye(3), atol=1e-9) for finding in findings)
    facts = list(dict.fromkeys(name for finding in findings for name in finding.facts))
    taken = [name for name in facts if name.lower() in (*_TEXT, *_PLACE, *_AXES, *_OTHERS)]
    if taken:
        raise ValueError(f"a fact cannot be called '{taken[0]}', which is another column")
    with atomic_path(path, ".csv") as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*_TEXT, *_PLACE, *(_AXES if turned else ()), *facts])
        for finding in findings:
            box = finding.box
            axes = box.axes.T.ravel() if turned else ()
            numbers = [repr(float(value)) for value in (*box.center, *box.size, *axes)]
            score = "" if box.score is None else repr(float(box.score))
            own = [repr(float(finding.facts[name])) if name in finding.facts else "" for name in facts]
            writer.writerow([box.name, box.class_name, score, finding.review, *numbers, *own])


def read(path: Path) -> list[Finding]:
    """The lines of a table; further columns with numbers are facts. Raises UserError when it cannot be read."""
    boxes = read_boxes(path)
    header, *lines = read_lines(path, f"The file {path}")
    lowered = [cell.lower() for cell in header.cells]
    known = (*_TEXT, *_PLACE, *_AXES, *_OTHERS)
    found = []
    for box, line in zip(boxes, lines, strict=True):
        row = dict(zip(lowered, line.cells, strict=False))
        review = row.get("review", "").lower()
        if review not in REVIEWS:
            raise UserError(f"{path}, line {line.number}: the review '{review}' must be accepted, rejected or empty.")
        facts = {}
        for name, cell in zip(header.cells, line.cells, strict=False):
            if name.lower() not in known and _is_number(cell):
                facts[name] = float(cell)
        found.append(Finding(box, review=review, facts=facts))
    return found


def _is_number(cell: str) -> bool:
    try:
        return bool(np.isfinite(float(cell)))
    except ValueError:
        return False
