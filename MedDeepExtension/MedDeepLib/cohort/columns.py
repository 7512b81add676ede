"""The columns of a cohort's list, from a task's slots and a model's channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from MedDeepLib.data.slots import Slot
from MedDeepLib.errors import UserError


@dataclass(frozen=True)
class Column:
    """A column of a list: the slot that it fills, and its accepted names."""

    slot: Slot
    names: tuple[str, ...]


def columns_of(slots: Sequence[Slot], channels: Sequence[str], header: Sequence[str] = ()) -> list[Column]:
    """The columns of a list: "image", "image2" for each channel of an image, and one for every other input.

    If a case has one image, the channels' own names are accepted too. An image with unknown channels has
    as many as the ``header`` has.
    """
    images = [slot for slot in slots if slot.kind == "image"]
    columns = []
    for slot in slots:
        count = len(channels) or 1
        while not channels and f"{slot.name}{count + 1}" in header:
            count += 1
        numbered = [slot.name, *(f"{slot.name}{n}" for n in range(2, count + 1))] if slot.many else [slot.name]
        own = channels if slot.kind == "image" and len(images) == 1 and channels else numbered
        pairs = zip(numbered, (name.strip().lower() for name in own), strict=False)
        columns += [Column(slot, tuple(dict.fromkeys(names))) for names in pairs]
    return columns


def check_header(
    path: Path, header: list[str], columns: list[Column], channels: Sequence[str]
) -> list[tuple[str, Slot]]:
    """The columns that the list has, in the order of the slots, each with its slot.

    Raises UserError for a column that is unknown, missing or duplicate.
    """
    known = ["case", "patient", *(name for column in columns for name in column.names)]
    named = [name for name in header if name]
    listed = "case, patient" + "".join(f", {' or '.join(column.names)}" for column in columns)
    for name in named:
        if name not in known:
            raise UserError(f"The list {path} has the unknown column '{name}': the columns are {listed}.")
        if named.count(name) > 1:
            raise UserError(f"The list {path} has the column '{name}' twice: delete one of them.")
    found = []
    for column in columns:
        names = column.names
        present = [name for name in names if name in named]
        if len(present) > 1 or (column.slot.required and not present):
            fault = f"lacks the column '{names[0]}'" if not present else f"has both '{names[0]}' and '{names[1]}'"
            count = f"{len(channels)} images per case ({', '.join(channels)})" if len(channels) > 1 else "an image"
            count = count if column.slot.kind == "image" else f"'{column.slot.name}'"
            raise UserError(f"The list {path} {fault}: the model needs {count}, and the columns are {listed}.")
        found += [(name, column.slot) for name in present]
    return found
