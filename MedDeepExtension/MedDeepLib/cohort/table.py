"""``summary.csv``: the state of every case of a cohort, for readers who have no other view of it."""

from __future__ import annotations

import csv
import json
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from MedDeepLib.cohort.case_list import CohortCase
from MedDeepLib.data.files import atomic_path
from MedDeepLib.errors import UserError

SUMMARY = "summary.csv"
DONE, BEFORE, FAILED, DUPLICATE, OPEN = "done", "done before", "failed", "duplicate", "not done yet"
_REASON_IF_OPEN = "It was stopped before this case was done: run the same command again to continue."
_WRITE_SECONDS = 5.0
_COLUMNS = ("line", "case", "patient", "input", "output", "state", "reason", "seconds", "image", "device", "worker")


class Table:
    """A row for every case, in the order of the list; the file exists from the start and is always complete."""

    def __init__(self, path: Path, cases: Sequence[CohortCase]):
        """Raises UserError when it cannot be written."""
        self.path = path
        self._rows = [_row(case) for case in cases]
        self._place = {case.line: place for place, case in enumerate(cases)}
        self._metrics: dict[str, None] = {}
        self._written = 0.0
        self.write()

    def set(self, case: CohortCase, outcome: dict[str, Any]) -> None:
        """Record the state of a case, and write the file if it has not been written for some time."""
        failed = outcome["state"] == "failed"
        remarks = (*outcome.get("warnings", ()), outcome.get("words", ""))
        metrics = {_title(name, outcome["unit"]): _plain(value) for name, value in outcome.get("summary", {}).items()}
        self._metrics |= dict.fromkeys(metrics)
        self._rows[self._place[case.line]] |= metrics | {
            "state": FAILED if failed else BEFORE if outcome["state"] == "kept" else DONE,
            "reason": outcome.get("reason", "") or " ".join(filter(None, remarks)),
            "output": "" if failed else case.output,
            "seconds": "" if failed else f"{outcome['seconds']:.2f}",
            "image": outcome.get("grid", ""),
            "device": outcome.get("device", ""),
            "worker": "" if outcome["state"] == "kept" else outcome.get("worker", ""),
        }
        if time.monotonic() - self._written > _WRITE_SECONDS:
            try:
                self.write()
            except UserError:
                self._written = time.monotonic()  # a spreadsheet may have it open; the final write counts

    def write(self) -> None:
        """Raises UserError when the file cannot be written."""
        with atomic_path(self.path, ".csv") as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [*_COLUMNS, *self._metrics], restval="")
            writer.writeheader()
            writer.writerows(self._rows)
        self._written = time.monotonic()

    def counts(self) -> dict[str, int]:
        """The number of cases in each state; empty states are omitted."""
        found = Counter(row["state"] for row in self._rows)
        return {state: found[state] for state in (DONE, BEFORE, FAILED, DUPLICATE, OPEN) if found[state]}

    def failures(self, most: int) -> list[dict[str, str]]:
        """The first ``most`` cases that failed, each with its reason."""
        failed = [row for row in self._rows if row["state"] == FAILED]
        return [{"input": row["case"], "message": row["reason"]} for row in failed[:most]]


def in_words(counts: dict[str, int]) -> str:
    """The counts in a sentence: "188 of 200 cases are done (12 of them were before), 10 failed, 2 are duplicates." """
    done = counts.get(DONE, 0) + counts.get(BEFORE, 0)
    total = sum(counts.values())
    text = f"{done} of {total} case{'s are' if total > 1 else ' is'} done"
    if counts.get(BEFORE):
        text += f" ({counts[BEFORE]} of them {'were' if counts[BEFORE] > 1 else 'was'} before)"
    if counts.get(FAILED):
        text += f", {counts[FAILED]} failed"
    if counts.get(DUPLICATE):
        text += f", {counts[DUPLICATE]} {'are duplicates' if counts[DUPLICATE] > 1 else 'is a duplicate'}"
    if counts.get(OPEN):
        text += f", {counts[OPEN]} {'are' if counts[OPEN] > 1 else 'is'} not done yet"
    return text + "."


def _row(case: CohortCase) -> dict[str, Any]:
    state = OPEN if not case.problem else DUPLICATE if case.duplicate else FAILED
    return {
        "line": case.line,
        "case": case.name,
        "patient": case.patient,
        "input": " ; ".join(case.files),
        "output": "",
        "state": state,
        "reason": case.problem or _REASON_IF_OPEN,
    }


def _title(name: str, unit: str) -> str:
    return f"{name} ({unit})" if unit else name


def _plain(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, (dict, list)) else value
