"""Folds for a cross-validation: every case is held out once, and never by a fold that trains on its patient.

What is dealt out are the training and validation cases. A dataset's own test cases are left alone: they stay unseen
for the one evaluation at the end of all choices.
"""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass, replace

from MedDeepLib.data.dataset import Case, Dataset
from MedDeepLib.errors import UserError


@dataclass(frozen=True)
class Fold:
    """One share of the cases to judge a model by, and the rest to train it on.

    Attributes:
        name: of the fold among the others: "fold 2", or the site that is held out.
        dataset: its test cases are those held out, its training cases all others. It has no validation cases: a
            method sets some of the training patients aside, as it does for any dataset without.
    """

    name: str
    dataset: Dataset


def patient_folds(dataset: Dataset, count: int, seed: int) -> list[Fold]:
    """Deal the patients out at random, those of every site evenly, and hold out one share after the other.

    The same seed deals the same patients the same way, in whatever order the dataset lists them.

    Raises UserError when there are fewer patients than folds, or a case has no label.
    """
    cases = _cases_to_deal(dataset)
    sites: dict[str, str] = {}
    for case in cases:
        sites.setdefault(case.patient, case.site)
    if len(sites) < 2:
        raise UserError(f"A cross-validation needs two patients at least, but {dataset.name} has one to train on.")
    if not 2 <= count <= len(sites):
        raise UserError(
            f"{count} folds cannot be made of the {len(sites)} patients that {dataset.name} has to train on: ask for 2 "
            f"to {len(sites)} folds, or add patients."
        )
    generator = random.Random(seed)
    dealt: list[str] = []
    for site in sorted(set(sites.values())):
        patients = sorted(patient for patient, of_site in sites.items() if of_site == site)
        generator.shuffle(patients)
        dealt += patients
    folds = []
    for number in range(count):
        chosen = set(dealt[number::count])
        name = f"{dataset.name}, fold {number + 1} of {count}"
        folds.append(Fold(f"fold {number + 1}", _held_out(dataset, name, cases, chosen)))
    return folds


def site_folds(dataset: Dataset) -> list[Fold]:
    """Hold out one site after the other, which is how a model is judged that is to be used in a new centre.

    Raises UserError when there are fewer than two sites, a case has no site or no label, or a patient has two sites.
    """
    cases = _cases_to_deal(dataset)
    site_of: dict[str, str] = {}
    for case in cases:
        if not case.site:
            raise UserError(
                f'The case {case.name} has no site: give every case of {dataset.name} a "site", or cross-validate by '
                "patient."
            )
        if site_of.setdefault(case.patient, case.site) != case.site:
            raise UserError(
                f"The patient '{case.patient}' has cases from two sites ({site_of[case.patient]}, {case.site}), so "
                "that no site can be held out without him: take one of them out, or cross-validate by patient."
            )
    sites = sorted(set(site_of.values()))
    if len(sites) < 2:
        raise UserError(
            f"All cases of {dataset.name} come from one site ({sites[0]}): leaving a site out needs two at least; "
            "cross-validate by patient instead."
        )
    folds = []
    for site in sites:
        patients = {patient for patient, of_site in site_of.items() if of_site == site}
        folds.append(Fold(site, _held_out(dataset, f"{dataset.name} without {site}", cases, patients)))
    return folds


def _cases_to_deal(dataset: Dataset) -> tuple[Case, ...]:
    """Training and validation cases, in an order that does not depend on the file's."""
    cases = sorted(dataset.training + dataset.validation, key=lambda case: (case.patient, case.name, case.images))
    if not cases:
        raise UserError(f"The dataset {dataset.path} has no training cases.")
    for case in cases:
        if case.label is None:
            raise UserError(
                f"The case {case.name} has no label, but a cross-validation holds out every case once and compares: "
                "add the label, or take the case out of the dataset."
            )
    return tuple(cases)


def _held_out(dataset: Dataset, name: str, cases: tuple[Case, ...], patients: Collection[str]) -> Dataset:
    return replace(
        dataset,
        name=name,
        training=tuple(case for case in cases if case.patient not in patients),
        validation=(),
        test=tuple(case for case in cases if case.patient in patients),
    )
