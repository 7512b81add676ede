"""Fixtures that tests of several packages share."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

import pytest
import two_sessions

if "PYTEST_XDIST_WORKER" in os.environ:  # one process for each core: more threads would only wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_addoption(parser) -> None:
    two_sessions.add_options(parser)


def pytest_configure(config) -> None:
    config.addinivalue_line("markers", "alone: measures time or memory; nothing runs beside it")


def pytest_sessionfinish(session) -> None:
    two_sessions.keep_results(session.config)


def pytest_terminal_summary(terminalreporter) -> None:
    """Print what tests have counted, in every process."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])]
    counted = [(report.nodeid, value) for report in reports for key, value in report.user_properties if key == "tally"]
    if counted:
        terminalreporter.section("counted")
        for test, sentence in counted:
            terminalreporter.line(f"{test.rpartition('/')[2]}: {sentence}")
    two_sessions.add_results(terminalreporter)


@pytest.fixture(scope="session", autouse=True)
def own_device_leases(tmp_path_factory):
    """The tests' jobs and the user's own jobs do not see each other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDDEEP_STATE", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture
def host():
    """The running slicerhost, with an empty scene before and after the test.

    Qt drops an exception raised in a slot after printing it. Here such an exception fails the test, even if
    the test itself found nothing wrong.
    """
    import slicerhost

    slicerhost.start(testing=True)
    slicerhost.close_scene()
    slicerhost.forget_settings()
    problems: list[str] = []

    def collect(kind, error, trace) -> None:
        problems.append("".join(traceback.format_exception(kind, error, trace)))

    previous, sys.excepthook = sys.excepthook, collect
    try:
        yield slicerhost
        slicerhost.process_events()
        assert not slicerhost.is_quitting(), "The test told Qt to quit, so that dialogs of later tests would not open"
    finally:
        slicerhost.unload_all_modules()
        slicerhost.close_scene()
        sys.excepthook = previous
    if problems:
        pytest.fail("Exceptions in functions called by Qt:\n" + "\n".join(problems), pytrace=False)


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """Makes expensive data once for all processes of this run, see :class:`shared_folders.SharedFolders`."""
    from shared_folders import SharedFolders

    own = tmp_path_factory.getbasetemp()  # with pytest-xdist, a folder of this process in the one of the run
    folders = SharedFolders((own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "shared")
    yield folders
    assert not (changed := folders.changed()), f"A test has changed what all tests share; let it copy: {changed}"


@pytest.fixture(scope="session")
def toy_dataset(shared) -> Path:
    """A dataset.json of six small cases with two balls each; read-only."""
    from toy_cases import write_toy_dataset

    return shared("toy_dataset", write_toy_dataset)


@pytest.fixture(scope="session")
def toy_run(toy_dataset, shared) -> Path:
    """The run folder of a small U-Net trained on it, as a worker leaves it; read-only."""
    from MedDeepLib.jobs import Job
    from toy_cases import TRAINING, run_job

    def train(folder: Path) -> Path:
        job = Job("segment", "train", "unet", TRAINING, dataset=str(toy_dataset), device="cpu", seed=3)
        code, events = run_job(folder / "run", job)
        assert code == 0, events[-1]
        return folder / "run"

    return shared("toy_run", train)


@pytest.fixture
def segment(monkeypatch, capsys):
    """The command line of Scripts/segment.py with the worker in this process: exit code, standard output, errors."""
    from MedDeepLib.cli import command_line
    from toy_cases import finished_job

    monkeypatch.setattr(command_line, "launch", finished_job)

    def run(*arguments) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            code = command_line.main("segment", [str(argument) for argument in arguments])
        except SystemExit as leaving:  # argparse, for bad usage and help
            code = leaving.code
        return code, *capsys.readouterr()

    return run
