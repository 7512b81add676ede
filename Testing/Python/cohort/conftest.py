"""Fixtures of the cohorts' tests."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def own_runs(tmp_path, monkeypatch):
    """The jobs of cohorts lie in a folder of their own; their processes compute with one thread each."""
    monkeypatch.setenv("MEDDEEP_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path / "runs"
