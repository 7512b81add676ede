"""The command lines of the toy tasks, whose packages are in a separate folder."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

TASKS = Path(__file__).resolve().parent / "toy_tasks"


@contextlib.contextmanager
def toy_command(task: str, monkeypatch, runs: Path, capsys) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """A function that runs the task's command line, the worker in this process: exit code, output, errors."""
    from MedDeepLib.cli import command_line
    from MedDeepLib.core import registry
    from toy_cases import finished_job

    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("MEDDEEP_TASKS", str(TASKS))
    monkeypatch.setenv("MEDDEEP_RUNS", str(runs))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(command_line, "launch", finished_job)

    def run(*arguments) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            code = command_line.main(task, [str(argument) for argument in arguments])
        except SystemExit as leaving:  # argparse, for bad usage and help
            code = leaving.code
        return code, *capsys.readouterr()

    try:
        yield run
    finally:
        registry._tasks.cache_clear()
        registry._methods.cache_clear()
