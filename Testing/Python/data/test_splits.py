"""Folds: every patient is held out once and never on both sides, sites are spread, and order is irrelevant."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from MedDeepLib.data.dataset import Dataset, with_validation
from MedDeepLib.data.patients import patient_groups
from MedDeepLib.data.slots import Case, Slot, Source
from MedDeepLib.data.splits import patient_folds, site_folds
from MedDeepLib.errors import UserError

LABEL = (Slot("label", "labels", required=False),)


def case(patient: str, number: int = 1, site: str = "", label: bool = True) -> Case:
    name = f"{patient}-{number}"
    targets = {"label": Source("labels", (Path(f"{name}.seg.nrrd"),))} if label else {}
    return Case(name, {"image": Source("image", (Path(f"{name}.nrrd"),))}, targets, (patient,), site)


def dataset(training, validation=(), test=()) -> Dataset:
    return Dataset("cohort", ("MR",), training=tuple(training), validation=tuple(validation), test=tuple(test))


def cohort(seed: int) -> Dataset:
    """A random cohort: 6 to 40 patients of one to four sites, one to three cases each, some for validation or test."""
    generator = random.Random(seed)
    splits: tuple[list[Case], ...] = ([], [], [])
    for number in range(generator.randint(6, 40)):
        site = generator.choice(["Basel", "Bern", "Chur", "Genf"][: generator.randint(1, 4)])
        split = 0 if number < 4 else generator.choice([0, 0, 0, 1, 2])
        splits[split].extend(case(f"P{number}", n, site) for n in range(generator.randint(1, 3)))
    for cases in splits:
        generator.shuffle(cases)
    return dataset(*splits)


def patients(cases) -> set[str]:
    return {case.patient for case in cases}


def pooled(data: Dataset) -> set[Case]:
    return {*data.training, *data.validation}


@pytest.mark.parametrize("seed", range(40))
def test_every_patient_is_held_out_once_and_never_trained_on_meanwhile(seed):
    data = cohort(seed)
    count = random.Random(seed).randint(2, min(7, len(patients(pooled(data)))))
    folds = patient_folds(data, count, seed, LABEL)
    assert [fold.name for fold in folds] == [f"fold {n + 1}" for n in range(count)]
    held_out = [case for fold in folds for case in fold.dataset.test]
    assert len(held_out) == len(set(held_out)) and set(held_out) == pooled(data)
    for fold in folds:
        assert fold.dataset.test and not fold.dataset.validation
        assert {*fold.dataset.training, *fold.dataset.test} == pooled(data)
        assert not patients(fold.dataset.training) & patients(fold.dataset.test)
        assert not patients(fold.dataset.cases()) & patients(data.test), "the dataset's own test cases stay unseen"


@pytest.mark.parametrize("seed", range(40))
def test_sites_and_patients_are_spread_evenly(seed):
    data = cohort(seed)
    site_of = {case.patient: case.site for case in pooled(data)}
    folds = [patients(fold.dataset.test) for fold in patient_folds(data, 3, seed, LABEL)]
    assert max(map(len, folds)) - min(map(len, folds)) <= 1
    for site in set(site_of.values()):
        counts = [sum(site_of[patient] == site for patient in fold) for fold in folds]
        assert max(counts) - min(counts) <= 1, (site, counts)


@pytest.mark.parametrize("seed", range(10))
def test_the_order_of_the_cases_and_their_split_mean_nothing(seed):
    data = cohort(seed)
    cases = list(pooled(data))
    random.Random(seed + 1).shuffle(cases)
    other = dataset(cases[1::2], cases[::2], data.test)
    assert patient_folds(other, 4, seed, LABEL) == patient_folds(data, 4, seed, LABEL)
    assert patient_folds(data, 4, seed, LABEL) != patient_folds(data, 4, seed + 1, LABEL)


def test_dealing_is_random():
    """Two patients of a site share one of two folds half of the time, whatever their names."""
    data = dataset([case(f"P{number}", site="Basel") for number in range(8)])
    together = Counter()
    for seed in range(200):
        fold = patients(patient_folds(data, 2, seed, LABEL)[0].dataset.test)
        together.update(other for other in fold if "P0" in fold)
        together.update(other for other in {f"P{n}" for n in range(8)} - fold if "P0" not in fold)
    assert together["P0"] == 200
    assert all(50 < together[f"P{number}"] < 120 for number in range(1, 8)), together  # 3 of 7: about 86


@pytest.mark.parametrize("seed", range(20))
def test_every_site_is_held_out_whole(seed):
    data = cohort(seed)
    sites = sorted({case.site for case in pooled(data)})
    if len(sites) < 2:
        data = replace(data, training=(*data.training, case("Z", site="Zug")))
        sites = sorted([*sites, "Zug"])
    folds = site_folds(data, LABEL)
    assert [fold.name for fold in folds] == sites
    for fold in folds:
        assert {case.site for case in fold.dataset.test} == {fold.name}
        assert {case.site for case in fold.dataset.training} == set(sites) - {fold.name}
        assert {*fold.dataset.training, *fold.dataset.test} == pooled(data)


def test_a_patient_seen_at_two_sites_is_in_one_fold():
    data = dataset([case("A", 1, "Bern"), case("A", 2, "Basel"), case("B", 1, "Bern")])
    for fold in patient_folds(data, 2, 0, LABEL):
        assert not patients(fold.dataset.training) & patients(fold.dataset.test)
    with pytest.raises(UserError, match=r"The patient 'A' has cases from two sites \(Bern, Basel\)"):
        site_folds(data, LABEL)


@pytest.mark.parametrize(
    "cases, count, words",
    [
        ([], 2, "has no training cases"),
        ([case("A", 1), case("A", 2)], 2, "needs at least two patients, but cohort has one to train on."),
        ([case("A"), case("B"), case("C")], 5, "5 folds cannot be made of the 3 patients that cohort has to train on"),
        ([case("A"), case("B", label=False)], 2, "The case B-1 has no label"),
    ],
)
def test_cohorts_that_cannot_be_dealt_by_patient(cases, count, words):
    with pytest.raises(UserError) as caught:
        patient_folds(dataset(cases, test=[case("T")]), count, 0, LABEL)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "cases, words",
    [
        ([], "has no training cases"),
        ([case("A", site="Bern"), case("B")], 'The case B-1 has no site: give every case of cohort a "site"'),
        ([case("A", site="Bern"), case("B", site="Bern")], "All cases of cohort come from one site (Bern)"),
        ([case("A", site="Bern"), case("B", site="Basel", label=False)], "The case B-1 has no label"),
    ],
)
def test_cohorts_that_cannot_be_dealt_by_site(cases, words):
    with pytest.raises(UserError) as caught:
        site_folds(dataset(cases), LABEL)
    assert words in str(caught.value)


# --- patients who share cases, and classes ----------------------------------------------------------------------------


def pair(fixed: str, moving: str, site: str = "") -> Case:
    sources = {side: Source("image", (Path(f"{who}.nrrd"),)) for side, who in (("fixed", fixed), ("moving", moving))}
    label = {"fixed_label": Source("labels", (Path(f"{fixed}.seg.nrrd"),))}
    return Case(f"{fixed} and {moving}", sources, label, tuple(dict.fromkeys((fixed, moving))), site)


PAIR_LABEL = (Slot("fixed_label", "labels", required=False),)


def everybody(cases) -> set[str]:
    return {patient for case in cases for patient in case.patients}


@pytest.mark.parametrize("seed", range(30))
def test_joined_patients_are_held_out_together(seed):
    generator = random.Random(seed)
    names = [f"P{n}" for n in range(24)]
    cases = [pair(generator.choice(names[n : n + 3]), names[n]) for n in range(0, 24, 3)]  # chains of up to 3
    cases += [pair(*generator.sample(names[:6], 2)), pair(names[1], names[2])]
    folds = patient_folds(dataset(cases), 3, seed, PAIR_LABEL)
    assert sorted(case.name for fold in folds for case in fold.dataset.test) == sorted(case.name for case in cases)
    for fold in folds:
        assert not everybody(fold.dataset.training) & everybody(fold.dataset.test)


def test_joined_patients_are_one_in_the_count():
    cases = [pair("A", "B"), pair("B", "C"), pair("D", "D")]
    assert patient_groups(cases) == {"A": "A", "B": "A", "C": "A", "D": "D"}
    assert len(patient_folds(dataset(cases), 2, 0, PAIR_LABEL)) == 2
    with pytest.raises(UserError, match="3 folds cannot be made of the 2 groups of joined patients"):
        patient_folds(dataset(cases), 3, 0, PAIR_LABEL)


def test_validation_takes_joined_patients_together():
    cases = [pair("A", "B"), pair("B", "C"), pair("D", "D"), pair("E", "D"), pair("F", "F")]
    for seed in range(20):
        split = with_validation(dataset(cases), 0.3, seed)
        assert split.validation and not everybody(split.training) & everybody(split.validation)
    assert with_validation(dataset(cases[:2]), 0.5, 0) == dataset(cases[:2]), "all are joined"


def test_joined_patients_of_two_sites_cannot_be_left_out_by_site():
    cases = [pair("A", "B", "Bern"), pair("B", "C", "Basel"), pair("D", "D", "Bern")]
    with pytest.raises(UserError, match=r"who are joined \(A, B, C\) have cases from two sites \(Bern, Basel\)"):
        site_folds(dataset(cases), PAIR_LABEL)


@pytest.mark.parametrize("seed", range(20))
def test_classes_are_spread_evenly(seed):
    slots = (Slot("class", "class"),)
    generator = random.Random(seed)
    answers = {f"P{n}": generator.choice(["a", "a", "a", "b"]) for n in range(30)}
    cases = [replace(case(who), targets={"class": Source("class", value=answers[who])}) for who in answers]
    for count in (2, 3, 5):
        folds = [patients(fold.dataset.test) for fold in patient_folds(dataset(cases), count, seed, slots)]
        for answer in "ab":
            counts = [sum(answers[patient] == answer for patient in fold) for fold in folds]
            assert max(counts) - min(counts) <= 1


def test_any_target_is_enough_to_be_judged():
    slots = (Slot("label", "labels", required=False), Slot("landmarks", "points", required=False))
    marked = replace(case("B", label=False), targets={"landmarks": Source("points", (Path("b.csv"),))})
    assert len(patient_folds(dataset([case("A"), marked]), 2, 0, slots)) == 2
    with pytest.raises(UserError, match=r"The case C-1 has nothing to evaluate with \(label, landmarks\)"):
        patient_folds(dataset([case("A"), case("C", label=False)]), 2, 0, slots)


def test_the_folds_of_old_datasets_are_the_folds_they_always_were():
    """Runs that are resumed must find their folds again."""
    cases = [case(f"P{n}", site=["Basel", "Bern", "Chur"][n % 3]) for n in range(10)]
    held_out = [sorted(patients(fold.dataset.test)) for fold in patient_folds(dataset(cases), 3, 5, LABEL)]
    assert held_out == [["P0", "P5", "P6", "P7"], ["P3", "P4", "P8"], ["P1", "P2", "P9"]]
    split = with_validation(dataset(cases), 0.3, 5)
    assert sorted(patients(split.validation)) == ["P1", "P2", "P3"]
