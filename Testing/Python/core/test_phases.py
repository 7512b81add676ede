"""The wall time of a job by phase."""

from __future__ import annotations

import pytest
from MedDeepLib.core import phases as module
from MedDeepLib.core.phases import Phases


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves."""
    now = [0.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])

    def pass_(seconds):
        now[0] += seconds

    return pass_


def test_phases_add_up_and_a_phase_within_another_counts_once(clock):
    phases = Phases()
    for _ in range(2):
        with phases("align"):
            clock(1)
            with phases("network"):
                clock(3)
            clock(2)
    phases.add("start", 5)
    assert phases.seconds() == {"network": 6, "align": 6, "start": 5}


def test_time_until_an_error_counts(clock):
    phases = Phases()
    with pytest.raises(ValueError), phases("read"):
        clock(2)
        raise ValueError
    assert phases.seconds() == {"read": 2}
