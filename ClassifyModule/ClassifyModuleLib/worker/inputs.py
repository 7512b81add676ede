"""How the inputs of a model are read: what is learned of the training cases, and how a further case follows it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from MedDeepLib.core import Context
from MedDeepLib.data.slots import Case, Source
from MedDeepLib.errors import UserError

from ClassifyModuleLib.worker.data import Inputs

Arrays = Mapping[str, torch.Tensor]


@dataclass(eq=False)
class Read:
    """One input as a network takes it.

    Attributes:
        tensor: (N, ...) float32; N is 1, or the rows of a table.
        names: of the N cases; empty where there is only one.
        notes: what was guessed, ignored or is outside the training range, for each of the N cases.
        grid: of an image, for a heat map.
    """

    tensor: torch.Tensor
    names: tuple[str, ...] = ()
    notes: tuple[tuple[str, ...], ...] = ((),)
    grid: Any = None


@dataclass(eq=False)
class Learned:
    """What :meth:`Input.learn` finds out.

    Attributes:
        plan: JSON values by which further cases are read; part of the model.
        arrays: numbers for the same purpose, too many for JSON.
        messages, warnings: for the user.
        data: whatever else reading the training cases needs.
    """

    plan: dict[str, Any]
    arrays: dict[str, torch.Tensor] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    data: Any = None


class Input(Protocol):
    """Reads one kind of input."""

    def learn(self, cases: Sequence[Case], context: Context) -> Learned:
        """What reading needs to know of the training cases. Raises UserError when one of them does not fit."""
        ...

    def load(self, cases: Sequence[Case], learned: Learned, context: Context, cache: Any) -> Inputs:
        """The inputs of training or validation cases."""
        ...

    def read(self, inputs: Mapping[str, Source], plan: Mapping[str, Any], arrays: Arrays) -> Read:
        """The input of one case of an application or an evaluation.

        Raises UserError when it does not fit the model.
        """
        ...


def needed(inputs: Mapping[str, Source], slot: str) -> Source:
    """The source of the input that the model needs. Raises UserError when there is none."""
    source = inputs.get(slot)
    if source is None or not source.files:
        given = ", ".join(inputs) or "nothing"
        raise UserError(f"The model was trained on the input '{slot}', but {given} is given: name it.")
    return source


def one_by_one(
    cases: Sequence[Case], load: Callable[[Case], np.ndarray], context: Context, stopped: type[Exception]
) -> list[np.ndarray]:
    """``load`` of each case, with progress."""
    found = []
    for number, case in enumerate(cases, start=1):
        if context.stop_requested():
            raise stopped
        found.append(load(case))
        if number % 50 == 0 or number == len(cases):
            context.report("progress", step=number, total=len(cases), remaining=None)
    return found
