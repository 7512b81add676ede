"""Groups of patients that must stay in one fold: those that share a case."""

from __future__ import annotations

from collections.abc import Iterable

from MedDeepLib.data.slots import Case


def patient_groups(cases: Iterable[Case]) -> dict[str, str]:
    """The group of each patient; patients who share a case, or a chain of cases, are in one group.

    A group is named after the alphabetically first patient that its cases count for, so that a
    patient without shared cases is a group of that name.
    """
    cases = list(cases)
    above: dict[str, str] = {}

    def root(patient: str) -> str:
        above.setdefault(patient, patient)
        while above[patient] != patient:
            above[patient] = patient = above[above[patient]]
        return patient

    for case in cases:
        for patient in case.patients:
            above[root(patient)] = root(case.patient)
    names: dict[str, str] = {}
    for case in cases:
        if case.patients:
            group = root(case.patient)
            names[group] = min(names.get(group, case.patient), case.patient)
    return {patient: names[root(patient)] for patient in above}
