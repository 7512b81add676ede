"""What cases are trained towards: a class or a value; which cases have one, and what is wrong with classes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from MedDeepLib.errors import UserError

if TYPE_CHECKING:
    from MedDeepLib.data.dataset import Dataset
    from MedDeepLib.data.slots import Case

KINDS = ("class", "value")


def answer_kind(dataset: Dataset) -> str:
    """ "class", or "value" where no case of the dataset has a class."""
    return next((kind for kind in KINDS if any(kind in case.targets for case in dataset.cases())), KINDS[0])


def answered(cases: Iterable[Case], kind: str) -> list[Case]:
    """The cases that have a class, or a value."""
    return [case for case in cases if kind in case.targets]


def check_classes(dataset: Dataset, fewest: int) -> None:
    """Raise UserError when there are too few classes to learn, or one class is written in two ways."""
    written: dict[str, str] = {}
    for name in dataset.classes:
        known = written.setdefault(" ".join(name.replace("_", " ").casefold().split()), name)
        if known != name:
            raise UserError(
                f"The classes '{known}' and '{name}' of the dataset {dataset.name} seem to be one class in two "
                "spellings: write it in one way."
            )
    found = {case.targets["class"].value for case in answered(dataset.training, "class")}
    if len(found) < fewest:
        raise UserError(
            f"All training cases of the dataset {dataset.name} have the class '{min(found)}': a model needs cases of "
            "two classes at least to tell them apart."
        )
