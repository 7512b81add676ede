"""The two sessions of ``make test``: the last summary counts both, and names the failures of either."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import pytest

@pytest.mark.parametrize("n", [1, 2, 3])
def test_good(n): pass

def test_bad(): assert 1 == 2, "one is not two"

@pytest.mark.skip(reason="not here")
def test_skipped(): pass

@pytest.mark.alone
def test_measured(): pass
"""
CONFTEST = """
import pytest, two_sessions
def pytest_configure(config): config.addinivalue_line("markers", "alone: x")
def pytest_addoption(parser): two_sessions.add_options(parser)
def pytest_sessionfinish(session): two_sessions.keep_results(session.config)
def pytest_terminal_summary(terminalreporter): two_sessions.add_results(terminalreporter)
"""


@pytest.mark.parametrize("processes", [(), ("--numprocesses", "1")])
def test_the_second_summary_counts_both(tmp_path, processes):
    (tmp_path / "test_some.py").write_text(TESTS, encoding="utf-8")
    (tmp_path / "conftest.py").write_text(CONFTEST, encoding="utf-8")

    def session(*arguments: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "pytest", "-ra", "-p", "no:cacheprovider", *arguments]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        environment |= {"PYTHONPATH": str(Path(__file__).parent)}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)

    first = session("-m", "not alone", "--keep-results=build/first.json", *processes)
    assert first.returncode == 1, first.stdout
    second = session("-m", "alone", "--after=build/first.json")
    assert second.returncode == 0, second.stdout
    lines = second.stdout.splitlines()
    assert "1 failed, 4 passed, 1 skipped" in lines[-1]
    assert any(line.startswith("FAILED test_some.py::test_bad - AssertionError: one is not two") for line in lines)
    assert "one is not two" not in second.stdout.partition("short test summary")[0], "shown once, by the first session"
    assert "has left no results" in session("-m", "alone", "--after=build/none.json").stdout
