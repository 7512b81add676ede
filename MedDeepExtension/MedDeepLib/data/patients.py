"""Which patients have to stay together: those whom one case shows."""

from __future__ import annotations

from collections.abc import Iterable

from MedDeepLib.data.slots import Case


def patient_groups(cases: Iterable[Case]) -> dict[str, str]:
    """The name of the group of each patient; patients who are joined by a case, or by a chain of cases, share one.

    A group is called by the first, in the order of the alphabet, of the patients whom its cases count for, so that a
    patient who is joined with nobody is a group of that name.
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
