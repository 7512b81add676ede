"""A task: what its cases hold, what its models give, and how they are judged. The library knows tasks only by this."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from MedDeepLib.data.slots import Case, Slot

if TYPE_CHECKING:
    from MedDeepLib.core.method import Prediction

Row = dict[str, Any]


@dataclass(frozen=True)
class Metric:
    """One number of a report.

    Attributes:
        unit: "mm", "ml", "%", or "" for a ratio.
        direction: +1 where more is better, -1 where less is better, 0 where neither (a volume).
        chance: what a model that has learned nothing reaches, None where that is unknown.
    """

    unit: str = ""
    direction: int = 0
    chance: float | None = None


class Evaluation(Protocol):
    """How predictions of a task are compared with the targets of its cases.

    Attributes:
        metrics: by the names of the rows' columns, in the order of a report; the first is the headline.
        group: the column that names what a row is about: "structure", "class"; the summary has a line for each.
    """

    metrics: Mapping[str, Metric]
    group: str

    def cases(self, dataset: Any) -> Sequence[Case]:
        """The test cases of a dataset that can be judged."""

    def rows(self, prediction: Prediction, case: Case) -> Iterable[Row]:
        """Metrics of one case, one row for each structure, lesion or answer."""

    def pooled(self, rows: Sequence[Row]) -> Mapping[str, float]:
        """Metrics that no single case has (AUC, FROC), of the rows of all cases; bootstrapped over patients by the
        report."""


@dataclass(frozen=True)
class Task:
    """What a module declares, once, in its ``task.py``; dataset reading, command lines, cohorts, manifests, model
    metadata and the panels' choosers follow from it.

    Attributes:
        name: "segment"; also the name of its command line.
        title: the module's name for people.
        inputs, targets: of a case.
        outputs: what an application writes; the first one always, the others where they are asked for.
        shared: entries of a dataset that all cases share (the atlas of a registration).
        forms: where cases differ in what they are made of (a pair, a single image), the slots that each form needs.
            A case has the first form of which it names a slot. Without forms it needs the required inputs and targets.
        evaluation: how models are judged.
        output_ending: of the first output where only a folder is named.
    """

    name: str
    title: str
    inputs: tuple[Slot, ...]
    targets: tuple[Slot, ...]
    outputs: tuple[Slot, ...]
    evaluation: Evaluation | None = None
    shared: tuple[str, ...] = ()
    forms: tuple[tuple[str, ...], ...] = ()
    output_ending: str = ""

    def slot(self, name: str) -> Slot:
        """The input, target or output with this name. Raises KeyError when there is none."""
        return {slot.name: slot for slot in (*self.outputs, *self.targets, *self.inputs)}[name]
