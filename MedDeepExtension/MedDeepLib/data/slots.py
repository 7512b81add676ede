"""The parts of a case: slots declare the inputs and targets of a task, sources say where they come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

KINDS = ("image", "labels", "points", "boxes", "table", "matrix", "signals", "class", "value", "transform")
VALUES = ("class", "value")  # kinds written in the list itself; all others are files


@dataclass(frozen=True)
class Slot:
    """One input, target or output of a task.

    Attributes:
        name: the key in a dataset, the flag on the command line, the column of a cohort's list: one word for all.
        kind: one of ``KINDS``.
        many: whether it takes several files, e.g. an image per channel.
        required: whether a case without it is an error.
        help: a description, for a command line or a tooltip.
        classless: of a target: whether what it holds says nothing of the classes that models find.
        made_from: of an output: the optional input that it is made from; that input has no other use.
    """

    name: str
    kind: str
    many: bool = False
    required: bool = True
    help: str = ""
    made_from: str = ""
    classless: bool = False

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"slot '{self.name}' has the kind '{self.kind}', which is not one of {', '.join(KINDS)}")


@dataclass(frozen=True)
class Source:
    """Where one input or target comes from: files, or the value itself (a class, a number, boxes of the list)."""

    kind: str
    files: tuple[Path, ...] = ()
    value: Any = None


ListReader = Callable[[Path, "CaseSlots"], Any]
"""Reads a list in a format of others: ``reader(path, slots)`` returns a ``Listing``, or None for any other format."""


class CaseSlots(Protocol):
    """The slots by which a dataset is read; a task has them."""

    @property
    def inputs(self) -> tuple[Slot, ...]: ...

    @property
    def targets(self) -> tuple[Slot, ...]: ...

    @property
    def outputs(self) -> tuple[Slot, ...]: ...

    @property
    def shared(self) -> tuple[str, ...]: ...

    @property
    def forms(self) -> tuple[tuple[str, ...], ...]: ...

    @property
    def readers(self) -> tuple[ListReader, ...]: ...


@dataclass(frozen=True)
class Case:
    """One case of a dataset.

    Attributes:
        name: unique within the dataset.
        inputs, targets: sources by the names of the task's slots; a slot that the list leaves out is not there.
        patients: those that it shows; the first is the one it counts for in reports. A registration pair may show two,
            who are then dealt to folds together.
        site: the centre it comes from; empty if unknown.
    """

    name: str
    inputs: Mapping[str, Source] = field(default_factory=dict)
    targets: Mapping[str, Source] = field(default_factory=dict)
    patients: tuple[str, ...] = ()
    site: str = ""

    def __hash__(self) -> int:
        return hash((self.name, self.patients, self.site, self.all_files))

    def files(self, slot: str) -> tuple[Path, ...]:
        """The files of an input or target; none where the case does not have it."""
        source = self.inputs.get(slot) or self.targets.get(slot)
        return source.files if source else ()

    @property
    def patient(self) -> str:
        """The patient that it counts for in reports; empty if unknown."""
        return self.patients[0] if self.patients else ""

    @property
    def all_files(self) -> tuple[Path, ...]:
        """All of its sources, in the order of the slots."""
        return tuple(file for source in (*self.inputs.values(), *self.targets.values()) for file in source.files)
