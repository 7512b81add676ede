"""The worker's main function: exit codes, the result written last, errors in one sentence."""

from __future__ import annotations

import errno
import sys

import pytest
from MedDeepLib.errors import JobError, Stopped, UserError
from MedDeepLib.jobs import Job, JobFolder, State
from MedDeepLib.worker.__main__ import main
from MedDeepLib.worker.process import StopRequest, explain
from toy_cases import failure, run_worker


@pytest.fixture
def folder(tmp_path) -> JobFolder:
    return JobFolder.create(tmp_path / "run", Job("segment", "train", method="unet", dataset="list.json"))


@pytest.fixture
def perform(monkeypatch):
    """Replaces the worker's action by a function of the test."""
    from MedDeepLib.worker import actions

    def replace(function):
        monkeypatch.setattr(actions, "perform", lambda folder, report, stop, **_: function(folder, report, stop))

    return replace


def fail(error: BaseException):
    def function(*_):
        raise error

    return function


def test_the_result_is_written_last(folder, perform):
    def work(job_folder, report, stop_requested):
        assert job_folder.state() is State.RUNNING and not stop_requested()
        report("phase", phase="Working")
        assert not job_folder.result_file.exists()
        return {"answer": 42}

    perform(work)
    assert run_worker(folder.path) == 0
    assert folder.state() is State.DONE and folder.result() == {"answer": 42}
    assert [e["state"] for e in folder.events() if e["event"] == "state"] == ["running", "done"]


@pytest.mark.parametrize(
    "error, code, kind, words",
    [
        (UserError("The file is missing."), 2, "input", "The file is missing."),
        (JobError("The loss became nan."), 3, "failed", "The loss became nan."),
        (MemoryError(), 3, "memory", "There was not enough memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate"), 3, "memory", "There was not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 3, "memory", "There was not enough memory"),
        (OSError(errno.ENOSPC, "No space left", "f.nrrd"), 2, "disk", "The disk is full (f.nrrd): free some space"),
        (ModuleNotFoundError("No module", name="monai"), 3, "failed", "The Python package 'monai' is missing"),
        (KeyError("x"), 3, "internal", "The job failed unexpectedly (KeyError: 'x'); log.txt has the details."),
    ],
)
def test_every_failure_is_one_sentence(folder, perform, error, code, kind, words):
    perform(fail(error))
    assert run_worker(folder.path) == code
    assert folder.state() is State.FAILED and not folder.result_file.exists()
    last = folder.events()[-1]
    assert words in failure(folder.events())
    assert (last["kind"], last["exit_code"]) == (kind, code)
    assert "\n" not in last["message"]


def test_an_error_of_many_lines_becomes_one(folder, perform):
    perform(fail(RuntimeError("first line\n  second line\n")))
    assert run_worker(folder.path) == 3
    assert "(RuntimeError: first line second line)" in failure(folder.events())


def test_stopped(folder, perform):
    perform(fail(Stopped()))
    assert run_worker(folder.path) == 130
    assert folder.state() is State.STOPPED


def test_a_damaged_job_file_is_a_failure_like_any_other(folder):
    folder.job_file.write_text("{", encoding="utf-8")
    assert run_worker(folder.path) == 2
    assert "is not valid JSON" in failure(folder.events())


def test_a_result_that_cannot_be_written_is_no_success(folder, perform, monkeypatch):
    perform(lambda *_: {"answer": 42})
    monkeypatch.setattr(JobFolder, "write_result", fail(OSError(errno.ENOSPC, "No space left on device")))
    assert run_worker(folder.path) == 2
    assert folder.state() is State.FAILED
    assert "The disk is full" in failure(folder.events())


def test_a_folder_that_is_not_there(tmp_path, capsys):
    assert main([str(tmp_path / "nowhere")]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_events_go_to_standard_output_unless_quiet(folder, perform, capsys):
    from toy_cases import restored_signals

    perform(lambda *_: {})
    with restored_signals():
        assert main([str(folder.path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(folder.events()) == 3 and '"state": "done"' in lines[-1]


def test_the_stop_file_is_noticed_but_not_asked_for_all_the_time(folder, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("MedDeepLib.worker.process.time.monotonic", lambda: clock[0])
    stop = StopRequest(folder)
    assert not stop()
    folder.request_stop()
    assert not stop(), "within a tenth of a second the disk is not asked again"
    clock[0] += 0.2
    assert stop()
    folder.stop_file.unlink()
    assert stop(), "once requested, it stays so"


def test_a_signal_is_a_stop_request(folder):
    stop = StopRequest(folder)
    stop.request()
    assert stop()


def test_explanations_keep_what_is_already_plain():
    error = UserError("Plain.")
    assert explain(error) is error


@pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")
@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT"])
def test_signals_stop_the_work(folder, perform, number):
    import os
    import signal

    def work(job_folder, report, stop_requested):
        os.kill(os.getpid(), getattr(signal, number))
        if stop_requested():
            raise Stopped
        return {}

    perform(work)
    assert run_worker(folder.path) == 130
