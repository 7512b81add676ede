"""The open panel with a model whose searches are replayed."""

from __future__ import annotations

import pytest
from detect_panel import DetectPanel


@pytest.fixture
def panel(host, tmp_path, monkeypatch) -> DetectPanel:
    monkeypatch.setenv("MEDDEEP_RUNS", str(tmp_path / "runs"))
    return DetectPanel(host, tmp_path / "runs")
