"""What a list of cases says, before anything is made of it."""

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
        content: what the list says by the names of slots, or as ``name``, ``patient`` and ``site``. A ``Path`` is
            taken as it is, text is relative to ``folder``. Anything but a mapping is a mistake of the list's.
        where: file and line, for messages.
        folder: that file names are relative to.
    """

    content: Any
    where: str
    folder: Path


@dataclass(frozen=True)
class Listing:
    """A list of cases as it stands in a file or folder.

    Attributes:
        where: what the list is, at the beginning of a message: "The dataset cohort.json".
        splits: the entries of the training, validation and test cases.
        shared: entries that all cases share, by their names.
        says_labels: whether the list itself says what its label values mean, in ``labels``.
        labels: what stands there; it is not checked yet.
        names_labels: whether this kind of list could say it, so that it must where label maps have to be understood.
        classes, channels: their names, as far as the list gives them.
        notes: what was not read, in sentences.
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
