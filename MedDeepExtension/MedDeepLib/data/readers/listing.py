"""The raw content of a list of cases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SPLITS = ("training", "validation", "test")


@dataclass(frozen=True)
class Entry:
    """One case as it is listed.

    Attributes:
        content: the entry's values by slot name, and ``name``, ``patient`` and ``site``. A ``Path`` or a ``Source`` is
            used as it is, text is relative to ``folder``. Anything but a mapping is an error in the list.
        where: file and line, for messages.
        folder: base of relative file names.
    """

    content: Any
    where: str
    folder: Path


@dataclass(frozen=True)
class Listing:
    """A list of cases, as read from a file or folder.

    Attributes:
        where: the list, as the start of a message: "The dataset cohort.json".
        splits: the entries of the training, validation and test cases.
        shared: entries that all cases share, by their names.
        says_labels: whether the list itself defines its label values, in ``labels``.
        labels: that definition, not checked yet.
        names_labels: whether this kind of list can define them, and so must if there are label maps.
        classes, channels: their names, as far as the list gives them.
        notes: what was ignored, in sentences.
    """

    name: str
    where: str
    path: Path
    splits: Mapping[str, list[Entry]]
    description: str = ""
    shared: Mapping[str, Entry] = field(default_factory=dict)
    says_labels: bool = False
    labels: Any = None
    names_labels: bool = False
    classes: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
