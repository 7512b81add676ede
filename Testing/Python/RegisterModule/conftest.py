"""The command line of register.py with the worker in this process, and refusals."""

from __future__ import annotations

import pytest


@pytest.fixture
def register(monkeypatch, capsys):
    """Runs Scripts/register.py: exit code, standard output, errors."""
    from MedDeepLib.jobs import command_line
    from toy_cases import finished_job

    monkeypatch.setattr(command_line, "launch", finished_job)

    def run(*arguments) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            code = command_line.main("register", ".h5", [str(argument) for argument in arguments])
        except SystemExit as leaving:  # argparse, for bad usage and help
            code = leaving.code
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def refused(register, tmp_path):
    """Runs an application that must be refused; its sentence. Nothing is written."""

    def run(fixed, moving, *options, model="global") -> str:
        output = tmp_path / "refused.h5"
        code, _, errors = register(
            *("apply", "--model", model, "--fixed", fixed, "--moving", moving),
            *("--output-transform", output, "--device", "cpu"),
            *options,
        )  # fmt: skip
        lines = [line for line in errors.splitlines() if line.startswith("Error:")]
        assert code == 2, errors
        assert len(lines) == 1 and "Traceback" not in errors and lines[0].endswith(".")
        assert not output.exists()
        return lines[0]

    return run
