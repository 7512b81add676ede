"""How many processor threads a job gets beside others."""

from __future__ import annotations

import pytest
from MedDeepLib.devices.threads import available_cores, budget, share, threads_from_environment, training_threads


@pytest.mark.parametrize(
    "cores, others, expected",
    [
        (1, [], 1),
        (2, [], 2),
        (3, [], 2),
        (8, [], 7),
        (8, [7], 3),
        (8, [7, 3], 2),
        (8, [1], 6),
        (2, [2], 1),
        (2, [2, 1, 1], 1),
    ],
)
def test_one_core_is_left_to_slicer_and_the_rest_is_shared(cores, others, expected):
    assert share(cores, others) == expected


@pytest.mark.parametrize("value, expected", [("4", 4), ("4,2", 4), ("", 0), ("x", 0), ("0", 0)])
def test_the_users_own_number(monkeypatch, value, expected):
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert threads_from_environment() == expected


def test_there_is_a_core():
    assert available_cores() >= 1


def test_a_training_has_the_whole_budget_whatever_else_runs(monkeypatch):
    """The number of threads changes the last bits of its weights."""
    assert [budget(cores) for cores in (1, 2, 3, 8)] == [1, 2, 2, 7]
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert training_threads() == budget(available_cores())
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert training_threads() == 3
