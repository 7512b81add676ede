"""Dataset lists in CSV: a line for each case, a column for each slot."""

from __future__ import annotations

import re
from pathlib import Path

from MedDeepLib.data.delimited import read_lines
from MedDeepLib.data.readers.listing import SPLITS, Entry, Listing
from MedDeepLib.data.slots import CaseSlots
from MedDeepLib.errors import UserError

_FREE = "image"  # further columns of this slot may have any suffix: image2, imageT1, image_flair


def read_csv(path: Path, slots: CaseSlots) -> Listing:
    """Read a CSV list. Raises UserError when it is not valid, or a line names an unknown split."""
    lines = read_lines(path, f"The dataset {path.name}")
    header = [cell.lower() for cell in lines[0].cells] if lines else []
    columns = {slot.name: columns_of(slot.name, header, slots) for slot in slots.inputs + slots.targets if slot.many}
    splits: dict[str, list[Entry]] = {split: [] for split in SPLITS}
    too_long = []
    for line in lines[1:]:
        row = {name: cell for name, cell in zip(header, line.cells, strict=False) if name}
        where = f"{path.name}, line {line.number}"
        if any(line.cells[len(header) :]):
            too_long.append(line.number)
        split = row.pop("split", "") or "training"
        if split not in SPLITS:
            raise UserError(f"{where}: the split '{split}' must be one of {', '.join(SPLITS)}.")
        files = {slot: [row[name] for name in names if row.get(name)] for slot, names in columns.items()}
        taken = {name for names in columns.values() for name in names}
        content = {name: cell for name, cell in row.items() if name not in taken} | files
        splits[split].append(Entry(content, where, path.parent))
    return Listing(
        name=path.stem,
        where=f"The dataset {path.name}",
        path=path,
        splits=splits,
        notes=_notes(path, header, too_long),
    )


def columns_of(slot: str, header: list[str], slots: CaseSlots) -> list[str]:
    """The columns of a slot that takes several files, in the order of their numbers: "image", "image2", ..."""
    others = {one.name for one in slots.inputs + slots.targets} - {slot}
    others |= {f"{one.name}_patient" for one in slots.inputs}
    pattern = re.compile(re.escape(slot) + (".*" if slot == _FREE else r"\d*"))
    found = {name for name in header if pattern.fullmatch(name) and name not in others}
    return sorted(found, key=lambda name: (len(name), name))


def _notes(path: Path, header: list[str], too_long: list[int]) -> tuple[str, ...]:
    notes = []
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        notes.append(f"The dataset {path.name} has the column '{twice[0]}' twice: the last one was read.")
    if too_long:
        notes.append(
            f"The dataset {path.name}, line {too_long[0]}: there are more cells than the {len(header)} columns; "
            f"the extra cells were ignored{' (in other lines too)' if len(too_long) > 1 else ''}."
        )
    return tuple(notes)
