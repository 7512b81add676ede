"""Reads the training and validation cases, and says what is to be said of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from MedDeepLib.core import Context, Prepared
from MedDeepLib.data.dataset import Dataset, with_validation
from MedDeepLib.data.slots import Case
from MedDeepLib.errors import UserError
from MedDeepLib.jobs.folder import write_json
from MedDeepLib.training import ranks
from MedDeepLib.training.dense.cache import CaseCache

from ClassifyModuleLib.answers import answer_kind, answered
from ClassifyModuleLib.worker.data import Part, TrainingData
from ClassifyModuleLib.worker.reference import CASES_FILE

if TYPE_CHECKING:
    from ClassifyModuleLib.worker.case_method import CaseMethod

_FEW_CASES = 10  # of a class
_MOST_NAMED = 5


def prepare(method: CaseMethod, context: Context) -> Prepared:
    """The cases as network input, and the plan: what reading and answering need to know of them."""
    settings, kind = method.parameters, answer_kind(context.dataset)
    dataset = _only_answered(context, kind)
    stratum = (lambda case: case.targets["class"].value) if kind == "class" else None
    dataset = with_validation(dataset, settings.validation_fraction, context.seed, stratum)
    training, validation = dataset.training, dataset.validation
    slot = method.slot_of([*training, *validation])
    reader = method.input(slot)
    context.report("phase", phase="Reading the training cases")
    learned = reader.learn(training, context)
    classes = context.dataset.classes if kind == "class" else ()
    answers = [_answers(cases, kind, classes) for cases in (training, validation)]
    counts = np.bincount(answers[0], minlength=len(classes)) if classes else np.ones(1)
    mean, scale = _mean_and_scale(answers[0], kind)
    cache = _cache(method, context)
    parts = [
        Part(reader.load(cases, learned, context, cache), _as_tensor(own, kind, mean, scale), _names(cases))
        for cases, own in zip((training, validation), answers, strict=True)
    ]
    balance = settings.balance if classes else "none"
    data = TrainingData(
        *parts,
        classes=tuple(classes),
        priors=torch.from_numpy(counts / counts.sum()),
        weights=_weights(counts, balance),
        balanced_sampler=balance == "sampler",
        arrays=learned.arrays,
        scale=scale,
        cache=cache,
    )
    if classes:
        _tell_classes(dataset, classes, counts, balance, context)
    if not validation:
        context.report(
            "warning",
            message="There are no validation cases: the last weights are kept, and probabilities are not calibrated.",
        )
    for message in learned.messages:
        context.report("message", message=message)
    for warning in learned.warnings:
        context.report("warning", message=warning)
    if ranks.leads():
        write_json(context.folder / CASES_FILE, {"training": [case.name for case in training]})
    plan = {
        "input": slot,
        "reading": learned.plan,
        "answer": kind,
        "priors": (counts / counts.sum()).tolist() if classes else [],
        "balanced": balance != "none",
        "mean": mean,
        "scale": scale,
    }
    return Prepared({"plan": plan}, data)


def _only_answered(context: Context, kind: str) -> Dataset:
    dataset = context.dataset
    kept = {split: tuple(answered(dataset.cases(split), kind)) for split in ("training", "validation")}
    lacking = [case.name for split in kept for case in dataset.cases(split) if case not in kept[split]]
    if lacking:
        context.report(
            "warning",
            message=f"{len(lacking)} cases have no {kind} and are left out: {_some(lacking)}.",
        )
    return replace(dataset, **kept)


def _answers(cases: Sequence[Case], kind: str, classes: Sequence[str]) -> np.ndarray:
    """Indices of classes (N,) int64, or values (N,) float64."""
    if kind == "value":
        return np.array([case.targets["value"].value for case in cases], float)
    index = {name: number for number, name in enumerate(classes)}
    return np.array([index[case.targets["class"].value] for case in cases], np.int64)


def _as_tensor(answers: np.ndarray, kind: str, mean: float, scale: float) -> torch.Tensor:
    if kind == "class":
        return torch.from_numpy(answers)
    return torch.from_numpy(((answers - mean) / scale).astype(np.float32))


def _mean_and_scale(answers: np.ndarray, kind: str) -> tuple[float, float]:
    if kind == "class":
        return 0.0, 1.0
    if np.ptp(answers) == 0:
        raise UserError(f"All training cases have the value {answers[0]:g}: there is nothing to learn.")
    return float(answers.mean()), float(answers.std())


def _names(cases: Sequence[Case]) -> tuple[str, ...]:
    return tuple(case.name for case in cases)


def _weights(counts: np.ndarray, balance: str) -> torch.Tensor:
    """What a case of each class counts in the loss; over the training cases the mean is 1."""
    present = counts > 0
    weights = np.zeros(len(counts))
    weights[present] = counts.sum() / (present.sum() * counts[present]) if balance == "weights" else 1.0
    return torch.from_numpy(weights.astype(np.float32))


def _tell_classes(dataset: Dataset, classes: Sequence[str], counts: np.ndarray, balance: str, context: Context) -> None:
    """Report how frequent the classes are, what is done about it, and classes with hardly any patient."""
    named = ", ".join(f"{name} {count}" for name, count in zip(classes, counts, strict=True))
    most = int(counts.argmax())
    done = {
        "weights": "rarer classes count more in the loss",
        "sampler": "all classes are shown equally often",
        "none": "nothing is done about it",
    }[balance]
    context.report(
        "message",
        message=f"Training cases by class: {named}; {done}. A model that always says {classes[most]} is right in "
        f"{counts[most] / counts.sum():.0%} of them, so judge by the AUC and the balanced accuracy.",
    )
    cases = [*dataset.training, *dataset.validation]
    patients: dict[str, set[str]] = {name: set() for name in classes}
    for case in cases:
        patients[case.targets["class"].value].add(case.patient)
    trained = Counter(case.targets["class"].value for case in dataset.training)
    for name in classes:
        if not trained[name]:
            context.report("warning", message=f"No training case has the class {name}: the model cannot learn it.")
        elif len(patients[name]) == 1:
            context.report(
                "warning",
                message=f"The class {name} has one patient only: the model will know this patient rather than the "
                "class, and its validation does not show it. Add patients.",
            )
        elif trained[name] < _FEW_CASES:
            context.report(
                "warning",
                message=f"The class {name} has {trained[name]} training case{'s' if trained[name] > 1 else ''}: the "
                "network may memorise them; more patients help it to generalise.",
            )


def _cache(method: Any, context: Context) -> CaseCache | None:
    memory = getattr(method.parameters, "cache_memory", None)
    if memory is None:
        return None
    return CaseCache(context.folder / "cases", int(memory * 1e9))


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST_NAMED]) + (", ..." if len(names) > _MOST_NAMED else "")
