"""Folds for a cross-validation: every case is held out once, by a fold that does not train on its patients.

The folds use the training and validation cases. A dataset's own test cases are left alone: they stay unseen
for the one evaluation at the end of all choices.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from MedDeepLib.data.dataset import Dataset
from MedDeepLib.data.patients import patient_groups
from MedDeepLib.data.slots import Case, Slot
from MedDeepLib.errors import UserError


@dataclass(frozen=True)
class Fold:
    """One share of the cases for testing, and the rest for training.

    Attributes:
        name: of the fold among the others: "fold 2", or the site that is held out.
        dataset: its test cases are those held out, its training cases all others. It has no validation cases: a
            method sets some of the training patients aside, as for any dataset without them.
    """

    name: str
    dataset: Dataset


def patient_folds(dataset: Dataset, count: int, seed: int, targets: Sequence[Slot]) -> list[Fold]:
    """Deal the patients into folds at random, those of every site and class evenly, and hold out each fold once.

    Patients who share a case are held out together. The same seed gives the same folds,
    whatever order the dataset lists them.

    Args:
        targets: of the task; a case must have one of them to be evaluated.

    Raises UserError when there are fewer patients than folds, or a case cannot be evaluated.
    """
    cases = _cases_to_deal(dataset, targets)
    group_of = patient_groups(cases)
    groups = _cases_of_groups(cases, group_of)
    many = "patients" if len(groups) == len({case.patient for case in cases}) else "groups of joined patients"
    if len(groups) < 2:
        raise UserError(f"A cross-validation needs at least two {many}, but {dataset.name} has one to train on.")
    if not 2 <= count <= len(groups):
        raise UserError(
            f"{count} folds cannot be made of the {len(groups)} {many} that {dataset.name} has to train on: ask for 2 "
            f"to {len(groups)} folds, or add patients."
        )
    strata: dict[tuple[str, str], list[str]] = {}
    for group, own in groups.items():
        strata.setdefault((own[0].site, _class_of(own, targets)), []).append(group)
    generator = random.Random(seed)
    dealt: list[str] = []
    for stratum in sorted(strata):
        members = sorted(strata[stratum])
        generator.shuffle(members)
        dealt += members
    folds = []
    for number in range(count):
        name = f"{dataset.name}, fold {number + 1} of {count}"
        folds.append(Fold(f"fold {number + 1}", _held_out(dataset, name, cases, group_of, dealt[number::count])))
    return folds


def site_folds(dataset: Dataset, targets: Sequence[Slot]) -> list[Fold]:
    """Hold out one site after the other: tests how well a model works in a new centre.

    Args:
        targets: as for :func:`patient_folds`.

    Raises UserError when there are fewer than two sites, a case has no site or cannot be evaluated, or a patient, or
    patients who share a case, have two sites.
    """
    cases = _cases_to_deal(dataset, targets)
    for case in cases:
        if not case.site:
            raise UserError(
                f'The case {case.name} has no site: give every case of {dataset.name} a "site", or cross-validate by '
                "patient."
            )
    group_of = patient_groups(cases)
    groups = _cases_of_groups(cases, group_of)
    site_of: dict[str, str] = {}
    for group, own in groups.items():
        other = next((case for case in own if case.site != own[0].site), None)
        if other is not None:
            patients = sorted({patient for case in own for patient in case.patients})
            who = f"The patient '{group}' has" if len(patients) == 1 else f"Patients who are joined ({_some(patients)})"
            raise UserError(
                f"{who}{' have' if len(patients) > 1 else ''} cases from two sites ({own[0].site}, {other.site}), so "
                "that neither site can be held out: remove the cases of one site, or cross-validate by patient."
            )
        site_of[group] = own[0].site
    sites = sorted(set(site_of.values()))
    if len(sites) < 2:
        raise UserError(
            f"All cases of {dataset.name} come from one site ({sites[0]}): leaving a site out needs at least two; "
            "cross-validate by patient instead."
        )
    folds = []
    for site in sites:
        chosen = [group for group, of_site in site_of.items() if of_site == site]
        folds.append(Fold(site, _held_out(dataset, f"{dataset.name} without {site}", cases, group_of, chosen)))
    return folds


def _cases_to_deal(dataset: Dataset, targets: Sequence[Slot]) -> tuple[Case, ...]:
    """Training and validation cases, in an order that does not depend on the file's."""
    cases = sorted(dataset.training + dataset.validation, key=lambda case: (case.patient, case.name, case.all_files))
    if not cases:
        raise UserError(f"The dataset {dataset.path} has no training cases.")
    names = [slot.name for slot in targets]
    for case in cases:
        if names and not any(name in case.targets for name in names):
            lacks = f"no {names[0]}" if len(names) == 1 else f"nothing to evaluate with ({', '.join(names)})"
            raise UserError(
                f"The case {case.name} has {lacks}, but a cross-validation holds out every case once and compares: "
                f"add {'the ' + names[0] if len(names) == 1 else 'one of them'}, or remove the case from the dataset."
            )
    return tuple(cases)


def _cases_of_groups(cases: Sequence[Case], group_of: dict[str, str]) -> dict[str, list[Case]]:
    groups: dict[str, list[Case]] = {}
    for case in cases:
        groups.setdefault(group_of[case.patient], []).append(case)
    return groups


def _class_of(cases: Sequence[Case], targets: Sequence[Slot]) -> str:
    """The most frequent class of the cases; empty if the task does not classify whole cases."""
    names = [slot.name for slot in targets if slot.kind == "class"]
    counts = Counter(str(case.targets[name].value) for case in cases for name in names[:1] if name in case.targets)
    return min(counts, key=lambda name: (-counts[name], name), default="")


def _held_out(
    dataset: Dataset, name: str, cases: Sequence[Case], group_of: dict[str, str], groups: Collection[str]
) -> Dataset:
    return replace(
        dataset,
        name=name,
        training=tuple(case for case in cases if group_of[case.patient] not in groups),
        validation=(),
        test=tuple(case for case in cases if group_of[case.patient] in groups),
    )


def _some(names: Sequence[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
