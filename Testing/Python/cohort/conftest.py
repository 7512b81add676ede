"""Fixtures for the tests of cohorts."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def own_runs(tmp_path, monkeypatch):
    """Jobs of cohorts get their own runs folder; their processes use one thread each."""
    monkeypatch.setenv("MEDDEEP_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path / "runs"
