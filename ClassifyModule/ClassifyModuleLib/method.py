"""The base of the classification methods: data, training, reference cases, application. A method adds its network."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from MedDeepLib.core import Context, Method, Prepared
from MedDeepLib.errors import UserError

from ClassifyModuleLib.answers import answer_kind, answered, check_classes
from ClassifyModuleLib.parameters import ApplyParameters, ClassificationParameters

if TYPE_CHECKING:
    from MedDeepLib.core import TrainedModel
    from MedDeepLib.core.stages import Stage
    from MedDeepLib.data.dataset import Dataset
    from MedDeepLib.data.slots import Case

    from ClassifyModuleLib.worker.inputs import Input, Read
    from ClassifyModuleLib.worker.networks.classifier import Classifier
    from ClassifyModuleLib.worker.prediction import CasePredictor, ClassPrediction

_FEWEST_CLASSES = 2


class ClassificationMethod(Method):
    """A network that gives a whole case the scores of the classes, or a value.

    A method declares its ``Parameters`` (derived from :class:`ClassificationParameters`), says what it ``takes``, and
    builds its network. Reading, missing values, balance, validation, temperature, nearest cases and the distance from
    the training data are here.
    """

    task = "classify"
    Parameters: ClassVar[type] = ClassificationParameters
    ApplyParameters: ClassVar[type] = ApplyParameters
    output_endings = (".json", ".csv")
    takes: ClassVar[tuple[str, ...]] = ("image",)
    """The inputs that it can be trained on; a model has the first one that all cases have."""

    @abstractmethod
    def network(self, plan: dict[str, Any], outputs: int) -> Classifier:
        """The untrained network for inputs as ``plan`` (see :meth:`prepare`) describes them.

        ``outputs`` is the number of classes, or 1 for a value.
        """

    @abstractmethod
    def input(self, slot: str) -> Input:
        """How the input of this slot is read, and what is learned of the training cases for that."""

    def slot_of(self, cases: Iterable[Case]) -> str:
        """The input that a model for these cases has. Raises UserError when they do not share one."""
        cases = list(cases)
        for slot in self.takes:
            if all(slot in case.inputs for case in cases):
                return slot
        lacking = next(case for case in cases if not any(slot in case.inputs for slot in self.takes))
        raise UserError(
            f"{self.title} takes {_a(self.takes)}, but the case {lacking.name} has {_a(lacking.inputs)}: choose "
            "another method, or add it."
        )

    def check(self, dataset: Dataset) -> None:
        kind = answer_kind(dataset)
        cases = answered(dataset.training, kind)
        if not cases:
            raise UserError(
                f'The dataset {dataset.name} has nothing to learn: give its training cases a "class" or a "value".'
            )
        if kind == "class":
            check_classes(dataset, _FEWEST_CLASSES)
        cases = [*cases, *answered(dataset.validation, kind)]
        self.slot_of(cases)
        with_region = [case for case in cases if "region" in case.inputs]
        if with_region and len(with_region) < len(cases):
            lacking = next(case for case in cases if "region" not in case.inputs)
            raise UserError(
                f"The case {lacking.name} has no region, but others have: add it, or leave the regions out of all."
            )

    def used_inputs(self, dataset: Dataset) -> tuple[str, ...]:
        cases = answered([*dataset.training, *dataset.validation], answer_kind(dataset))
        slot = self.slot_of(cases)
        return (slot, "region") if slot == "image" and "region" in cases[0].inputs else (slot,)

    def prepare(self, context: Context) -> Prepared:
        from ClassifyModuleLib.worker.preparing import prepare

        return prepare(self, context)

    def stages(self, prepared: Prepared, context: Context) -> Iterable[Stage]:
        from ClassifyModuleLib.worker.reference import reference_stage
        from ClassifyModuleLib.worker.training import class_stage, untrained

        network = untrained(self, prepared, context)
        yield class_stage(self.name, network, self.parameters, prepared, context)
        yield reference_stage(network, prepared, context)
        prepared.data.remove()

    def evidence(
        self,
        predictor: CasePredictor,
        inputs: Read,
        prediction: ClassPrediction,
        context: Context,
        wanted: Collection[str],
    ) -> dict[str, Any]:
        """The optional outputs among ``wanted`` that show what the answer rests on, by their names."""
        return {}

    def predictor(self, model: TrainedModel, context: Context, options: Any) -> CasePredictor:
        from ClassifyModuleLib.worker.prediction import CasePredictor

        return CasePredictor(self, model, context, options)


def _a(names: Iterable[str]) -> str:
    """Names of inputs in words: "an image or a table"."""
    words = [f"{'an' if name[0] in 'aeiou' else 'a'} {name}" for name in names]
    return " or ".join(words) if words else "nothing"
