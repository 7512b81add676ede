"""``make test`` runs pytest twice: the summary at the end of the second session counts the tests of both.

The first session keeps its reports in a file (``--keep-results=FILE``), the second one adds them to its own
(``--after=FILE``): the last lines name every failed test, and a failure in one session hides none in the other.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

_COUNTED = ("failed", "error", "passed", "skipped", "xfailed", "xpassed")


def add_options(parser: pytest.Parser) -> None:
    group = parser.getgroup("two sessions")
    group.addoption("--keep-results", metavar="FILE", help="where this session leaves its reports")
    group.addoption("--after", metavar="FILE", help="the reports of a session before, counted with this one's")


def keep_results(config: pytest.Config) -> None:
    """Write the reports of this session, in the process that prints them."""
    file = config.getoption("--keep-results", None)
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if not file or reporter is None or hasattr(config, "workerinput"):
        return
    kept = []
    for category in _COUNTED:
        for report in reporter.stats.get(category, ()):
            data = config.hook.pytest_report_to_serializable(config=config, report=report)
            data.pop("node", None)  # pytest-xdist's process
            kept.append([category, data | {"sections": []}])
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    Path(file).write_text(json.dumps(kept), encoding="utf-8")


def add_results(reporter) -> None:
    """Count the reports of the previous session, once this session has shown its own failures."""
    file = reporter.config.getoption("--after", None)
    if not file:
        return
    if not Path(file).is_file():
        reporter.line(f"The session before has left no results in {file}: only this one's are counted.", red=True)
        return
    for category, data in json.loads(Path(file).read_text(encoding="utf-8")):
        report = reporter.config.hook.pytest_report_from_serializable(config=reporter.config, data=data)
        if isinstance(report.longrepr, list):  # where and why a test was skipped; JSON knows no tuples
            report.longrepr = tuple(report.longrepr)
        reporter.stats.setdefault(category, []).append(report)
