"""The interface of a method towards the worker's side, which knows no method."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, Protocol

from MedDeepLib.core import Context
from MedDeepLib.data.slots import Case

from ClassifyModuleLib.worker.inputs import Input, Read
from ClassifyModuleLib.worker.networks.classifier import Classifier


class CaseMethod(Protocol):
    """What is used of a :class:`~ClassifyModuleLib.method.ClassificationMethod`; see there."""

    @property
    def parameters(self) -> Any: ...

    def network(self, plan: dict[str, Any], outputs: int) -> Classifier: ...

    def input(self, slot: str) -> Input: ...

    def slot_of(self, cases: Iterable[Case]) -> str: ...

    def evidence(
        self, predictor: Any, inputs: Read, prediction: Any, context: Context, wanted: Collection[str]
    ) -> dict[str, Any]: ...
