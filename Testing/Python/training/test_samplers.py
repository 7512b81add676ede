"""Rules that choose the case of a sample: how often each is chosen, depending only on seed and number."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from MedDeepLib.training.samplers import ClassBalanced, EachOnce, ErrorWeighted

CLASSES = ["rare"] * 3 + ["common"] * 40 + ["some"] * 7


@pytest.mark.parametrize("count", [1, 2, 7, 50])
def test_each_once_before_any_comes_again(count):
    rule = EachOnce(count, 3)
    rounds = [[rule(n + count * r) for n in range(count)] for r in range(4)]
    assert all(sorted(each) == list(range(count)) for each in rounds)
    assert count < 7 or len({tuple(each) for each in rounds}) == 4


def test_classes_come_equally_often_and_their_cases_too():
    rule = ClassBalanced(CLASSES, 1)
    drawn = [rule(number) for number in range(3 * 120)]
    assert Counter(CLASSES[index] for index in drawn) == {"rare": 120, "common": 120, "some": 120}
    times = Counter(drawn)
    assert {times[index] for index in range(3)} == {40}
    assert {times[index] for index in range(3, 43)} == {3}
    assert max(times[i] for i in range(43, 50)) - min(times[i] for i in range(43, 50)) <= 1


def test_cases_are_drawn_in_proportion_to_their_errors():
    rule = ErrorWeighted(range(10, 20), 2)
    assert max(Counter(rule(n) for n in range(5000)).values()) < 620
    errors = np.zeros(10)
    errors[3], errors[7] = 1.0, 3.0
    rule.update(errors)
    times = Counter(rule(n) for n in range(5000))
    assert set(times) == {13, 17} and times[17] / times[13] == pytest.approx(3, rel=0.1)
    rule.update(torch.zeros(10))
    assert len(set(map(rule, range(200)))) == 10


def test_wanted_cases_have_their_share():
    rule = ErrorWeighted([5, 6, 7], 2, wanted=[0, 1], share=0.25)
    drawn = [rule(number) for number in range(4000)]
    assert sum(index < 2 for index in drawn) / 4000 == pytest.approx(0.25, abs=0.03)


def test_what_has_been_told_survives_in_a_checkpoint(tmp_path):
    rule = ErrorWeighted(range(6), 2)
    rule.update([0, 1, 0, 5, 0.5, 2])
    torch.save(rule.state_dict(), tmp_path / "state.pt")
    other = ErrorWeighted(range(6), 2)
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert [other(n) for n in range(300)] == [rule(n) for n in range(300)]


@pytest.mark.parametrize("errors", [[1, 2], [1, -1, 0], [1, float("nan"), 0]])
def test_errors_that_are_none_are_refused(errors):
    with pytest.raises(ValueError, match="needs 3 errors"):
        ErrorWeighted(range(3), 1).update(errors)


@pytest.mark.parametrize("rule", [EachOnce(13, 5), ClassBalanced(CLASSES, 5), ErrorWeighted(range(9), 5, [9, 10])])
def test_nothing_but_the_number_decides(rule):
    """Earlier requests and the number of threads do not matter."""
    expected = [rule(number) for number in range(400)]
    numbers = np.random.RandomState(0).permutation(400)
    with ThreadPoolExecutor(8) as pool:
        found = dict(zip(numbers.tolist(), pool.map(rule, numbers.tolist()), strict=True))
    assert [found[number] for number in range(400)] == expected
