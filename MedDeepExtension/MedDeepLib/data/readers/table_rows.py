"""One table as a dataset: a row for each case, whose numbers are the features of the case.

    patient,site,class,volume,age
    P1,Basel,benign,3.1,61

The column of the target has the name of the task's slot ("class", "value"); ``split``, ``name``, ``patient`` and
``site`` may be there as in other lists. All further columns with numbers are features. Where columns have other names,
a JSON file names them::

    {"table": "features.csv", "class": "diagnosis", "patient": "subject", "site": "centre", "ignore": ["scan date"]}
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from MedDeepLib.data.delimited import Line, decoded, read_lines
from MedDeepLib.data.readers.listing import SPLITS, Entry, Listing
from MedDeepLib.data.slots import VALUES, CaseSlots, Slot, Source
from MedDeepLib.data.sources.numbers import is_missing
from MedDeepLib.data.sources.table import TableRow, read_table
from MedDeepLib.errors import UserError

_TABLES = (".csv", ".tsv")
_IDENTITY = ("split", "name", "patient", "site")
_MOST_NAMED = 5
_FEWEST_PER_VALUE = 2


def read_table_rows(path: Path, slots: CaseSlots) -> Listing | None:
    """The listing of a table, or of a JSON file that names one; None for any other list.

    A list with a column for the files of an input is another list.

    Raises a UserError that names the file and the faulty line when the table cannot be read.
    """
    slot = next((slot for slot in slots.inputs if slot.kind == "table"), None)
    if slot is None or not path.is_file():
        return None
    if path.suffix.lower() == ".json":
        named = _description(path, slots)
        return None if named is None else _listing(path, path.parent / named.pop("table"), slot, slots, named)
    if path.suffix.lower() not in _TABLES:
        return None
    lines = read_lines(path, f"The dataset {path.name}")
    header = {cell.lower() for cell in lines[0].cells} if lines else set()
    files = {one.name for one in slots.inputs if one.kind not in VALUES}
    targets = {one.name for one in slots.targets if one.kind in VALUES}
    if header & files or not header & targets:
        return None
    return _listing(path, path, slot, slots, {})


def _description(path: Path, slots: CaseSlots) -> dict[str, Any] | None:
    """The content of a JSON file that names a table; None where it is another list, or none at all."""
    try:
        content = json.loads(decoded(path.read_bytes()))
    except (OSError, ValueError, RecursionError):
        return None  # the reader of lists says what is wrong
    if not isinstance(content, dict) or not isinstance(content.get("table"), str) or any(s in content for s in SPLITS):
        return None
    names = [slot.name for slot in slots.targets if slot.kind in VALUES]
    known = {"table", "ignore", "features", "description", "classes", "title", *_IDENTITY, *names}
    unknown = [key for key in content if key not in known]
    if unknown:
        raise UserError(
            f'The dataset {path.name} has the unknown entry "{unknown[0]}": it names a "table", and the columns of '
            f"{', '.join((*names, *_IDENTITY))}."
        )
    return content


def _listing(path: Path, table: Path, slot: Slot, slots: CaseSlots, named: Mapping[str, Any]) -> Listing:
    if not table.is_file():
        raise UserError(f"The dataset {path.name} names the table {table}, which does not exist.")
    where = f"The dataset {path.name}"
    header, *lines = read_lines(table, where)
    if not lines:
        raise UserError(f"{where} has no rows: there must be one for each case below the header.")
    targets = [one.name for one in slots.targets if one.kind in VALUES]
    columns = {key: _column(header, str(named.get(key) or key), key in named, where) for key in (*_IDENTITY, *targets)}
    if all(columns[name] is None for name in targets):
        raise UserError(f"{where} has no column {' or '.join(targets)}: name one, or rename the column of the answer.")
    read = read_table(table)
    features, notes = _features(read.columns, header, lines, columns, named, where)
    splits: dict[str, list[Entry]] = {split: [] for split in SPLITS}
    for row, line in enumerate(lines):
        said = {key: line.cells[place] for key, place in columns.items() if place is not None}
        content: dict[str, Any] = {key: cell for key, cell in said.items() if not is_missing(cell) and key != "split"}
        split = said.get("split") or "training"
        if split not in SPLITS:
            raise UserError(
                f"{table.name}, line {line.number}: the split '{split}' must be one of {', '.join(SPLITS)}."
            )
        content.setdefault("name", f"row {row + 1}")
        content[slot.name] = Source(slot.kind, (table.resolve(),), TableRow(row, features))
        splits[split].append(Entry(content, f"{table.name}, line {line.number}", table.parent))
    notes += _without_target(splits, targets, where)
    return Listing(
        name=str(named.get("title") or table.stem),
        where=where,
        path=path,
        splits=_with_unique_names(splits),
        description=str(named.get("description", "")),
        classes=tuple(map(str, named.get("classes", ()))),
        notes=tuple(notes),
    )


def _column(header: Line, name: str, must: bool, where: str) -> int | None:
    """The place of a column, whose name may differ in upper and lower case. Raises UserError for a missing one."""
    places = [place for place, cell in enumerate(header.cells) if cell == name]
    places = places or [place for place, cell in enumerate(header.cells) if cell.lower() == name.lower()]
    if not places and must:
        raise UserError(f"{where} has no column '{name}': its columns are {_some(header.cells)}.")
    return places[0] if places else None


def _features(
    numeric: tuple[str, ...],
    header: Line,
    lines: list[Line],
    columns: Mapping[str, int | None],
    named: Mapping[str, Any],
    where: str,
) -> tuple[tuple[str, ...], list[str]]:
    """The columns of the features, and what is to be said of the others."""
    taken = {header.cells[place] for place in columns.values() if place is not None}
    ignored = [str(name) for name in named.get("ignore", ())]
    wanted = [str(name) for name in named.get("features", ())]
    for name in (*ignored, *wanted):
        _column(header, name, True, where)
    rest = [name for name in header.cells if name not in taken and name not in ignored]
    rest = [name for name in rest if name in wanted] if wanted else rest
    numbers = [name for name in rest if name in numeric]
    counted = [name for name in numbers if name not in wanted and _is_count(name, header, lines)]
    features = tuple(name for name in numbers if name not in counted)
    if not features:
        raise UserError(f"{where} has no column with numbers besides class, patient and site: add the features.")
    notes = []
    texts = [name for name in rest if name not in numeric]
    if texts:
        notes.append(
            f"{where}: {_some(texts)} {'holds' if len(texts) == 1 else 'hold'} text and {_was(texts)} left out of the "
            "features: write numbers to use them."
        )
    if counted:
        notes.append(
            f"{where}: {_some(counted)} {'looks' if len(counted) == 1 else 'look'} like a number that identifies the "
            f"case and {_was(counted)} left out of the features."
        )
    return features, notes


def _is_count(name: str, header: Line, lines: list[Line]) -> bool:
    """Whether a column is a running number, or has a whole number of its own in every row and is called an id."""
    cells = [line.cells[header.cells.index(name)] for line in lines]
    if len(cells) < _FEWEST_PER_VALUE + 1 or not all(cell.isdecimal() for cell in cells):
        return False
    numbers = [int(cell) for cell in cells]
    called = name.lower() in ("id", "index", "subject", "subject_id", "patient_id", "case", "case_id", "unnamed: 0")
    running = numbers in (list(range(len(numbers))), list(range(1, len(numbers) + 1)))
    return running or called


def _without_target(splits: Mapping[str, list[Entry]], targets: list[str], where: str) -> list[str]:
    entries = [entry for entries in splits.values() for entry in entries]
    lacking = [entry for entry in entries if not any(name in entry.content for name in targets)]
    if len(lacking) == len(entries):
        raise UserError(f"{where} has an empty column {' and '.join(targets)}: no case has an answer to learn.")
    if not lacking:
        return []
    lines = _some([entry.where.rpartition(" ")[2] for entry in lacking])
    return [f"{where}: {len(lacking)} of {len(entries)} rows have no {' or '.join(targets)} (line {lines})."]


def _with_unique_names(splits: dict[str, list[Entry]]) -> dict[str, list[Entry]]:
    """Names as they are; a row whose name another one has gets its number too."""
    counts = Counter(entry.content["name"] for entries in splits.values() for entry in entries)

    def named(entry: Entry) -> Entry:
        content, source = entry.content, next(v for v in entry.content.values() if isinstance(v, Source))
        if counts[content["name"]] == 1:
            return entry
        return replace(entry, content=content | {"name": f"{content['name']}, row {source.value.row + 1}"})

    return {split: [named(entry) for entry in entries] for split, entries in splits.items()}


def _some(names: list[str] | tuple[str, ...]) -> str:
    return ", ".join(names[:_MOST_NAMED]) + (", ..." if len(names) > _MOST_NAMED else "")


def _was(names: list[str]) -> str:
    return "was" if len(names) == 1 else "were"
