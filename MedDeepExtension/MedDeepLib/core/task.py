"""A task: its cases, the outputs of its models, and their evaluation. The library knows tasks only through this."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from MedDeepLib.data.slots import Case, ListReader, Slot

if TYPE_CHECKING:
    from MedDeepLib.core.method import Prediction
    from MedDeepLib.data.dataset import Dataset

Row = dict[str, Any]


@dataclass(frozen=True)
class Metric:
    """One number of a report: ``Metric(direction=1, chance=0.5)`` is an AUC.

    Attributes:
        unit: "mm", "ml", "%", or "" for a ratio.
        direction: +1 where more is better, -1 where less is better, 0 where neither (a volume).
        chance: the value of a model that has learned nothing, None where that is unknown.
        across_groups: whether its mean over several structures or classes is meaningful; that of volumes is not.
        pooled: whether it is one number of all cases together, from :meth:`Evaluation.pooled`, instead of a mean over
            cases.
    """

    unit: str = ""
    direction: int = 0
    chance: float | None = None
    across_groups: bool = True
    pooled: bool = False


class Evaluation(Protocol):
    """How predictions of a task are compared with the targets of its cases. A task that counts lesions::

        class Counting:
            metrics = {"count_error": Metric(direction=-1)}
            group = "lesion type"
            judged = "cases with boxes"

            def cases(self, dataset):
                return [case for case in dataset.test if "boxes" in case.targets]

            def rows(self, prediction, case, dataset):
                from MyModuleLib.worker.counting import count_errors  # torch is imported by the worker only

                return count_errors(prediction, case.files("boxes"))

            def pooled(self, rows):
                return {}

    Attributes:
        metrics: by the names of the rows' columns, the most important one first: it is the headline of a report.
        group: the column that names what a row is about: "structure", "class"; the summary has a line for each.
        judged: what can be evaluated, for messages: "cases with labels", "pairs".
    """

    @property
    def metrics(self) -> Mapping[str, Metric]: ...

    @property
    def group(self) -> str: ...

    @property
    def judged(self) -> str: ...

    def cases(self, dataset: Dataset) -> Sequence[Case]:
        """The test cases of a dataset that can be evaluated."""
        ...

    def rows(self, prediction: Prediction, case: Case, dataset: Dataset) -> Iterable[Row]:
        """Metrics of one case, one row for each structure, lesion or answer; None where one does not exist.

        ``dataset`` is the one that the case is from: it names the classes. Raises UserError when the prediction
        cannot be compared with the case's targets.
        """
        ...

    def pooled(self, rows: Sequence[Row]) -> Mapping[str, float]:
        """Metrics that no single case has (AUC, FROC), of the rows of many cases; the report bootstraps them over
        patients. NaN where the rows do not allow one."""
        ...


@dataclass(frozen=True)
class Task:
    """The declaration of a module, made once in its ``task.py``; dataset reading, command lines, cohorts, manifests,
    model metadata and the panels' choosers follow from it.

    Attributes:
        name: "segment"; also the name of its command line.
        title: the module's name for people.
        inputs, targets: of a case.
        outputs: what an application writes; the first one always, the others on request.
        shared: entries of a dataset that all cases share (the atlas of a registration).
        readers: of lists in formats that only this task has (COCO, LUNA16); each is asked before the common ones.
        forms: where cases come in several forms (a pair, a single image), the slots that each form needs. A case has
            the first form of which it names a slot. Without forms it needs the required inputs and targets.
        any_form: whether a model is applied to cases of the form that it was trained on, whichever that is (an image, a
            table); otherwise to those of the first form.
        evaluation: how models are evaluated.
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
    any_form: bool = False
    readers: tuple[ListReader, ...] = ()
    output_ending: str = ""

    def slot(self, name: str) -> Slot:
        """The input, target or output with this name. Raises KeyError when there is none."""
        return {slot.name: slot for slot in (*self.outputs, *self.targets, *self.inputs)}[name]

    @property
    def applied(self) -> tuple[Slot, ...]:
        """The inputs of an application: those of the first form, which it needs, and those that no other form names.

        With ``any_form`` all of them: what a model needs of these depends on its training, see :meth:`inputs_of`.
        """
        if not self.forms or self.any_form:
            return self.inputs
        first, others = self.forms[0], {name for form in self.forms[1:] for name in form}
        return tuple(
            replace(slot, required=slot.required or slot.name in first)
            for slot in self.inputs
            if slot.name in first or slot.name not in others
        )

    def inputs_of_model(self, used: Sequence[str]) -> tuple[Slot, ...]:
        """The inputs of a model. With ``any_form`` those named by ``used``, all of which it needs."""
        if not self.any_form:
            return self.applied
        return tuple(replace(slot, required=True) for slot in self.inputs if slot.name in used)

    @property
    def finds_classes(self) -> bool:
        """Whether its models find the classes of the dataset, judging by the kind of the first output."""
        return self.outputs[0].kind in ("labels", "points", "boxes", "class")
