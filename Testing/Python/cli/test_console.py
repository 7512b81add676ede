"""The output of a job in a terminal."""

from __future__ import annotations

import pytest
from MedDeepLib.cli.console import watch
from MedDeepLib.jobs import State
from MedDeepLib.jobs.words import in_words


class ScriptedJob:
    """A job whose worker sends the test's events, one list at each poll."""

    def __init__(self, polls, exit_code: int, state: State, interrupts=()):
        self._polls, self._interrupts = list(polls), set(interrupts)
        self.exit_code, self.state = exit_code, state
        self.calls: list[str] = []
        self._count = 0

    def is_running(self) -> bool:
        return bool(self._polls)

    def poll(self):
        self._count += 1
        if self._count in self._interrupts:
            raise KeyboardInterrupt
        return self._polls.pop(0) if self._polls else []

    def stop(self):
        self.calls.append("stop")

    def kill(self):
        self.calls.append("kill")
        self._polls.clear()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr("MedDeepLib.cli.console.time.sleep", lambda seconds: None)


def event(name: str, **fields) -> dict:
    return {"event": name, "time": 0, **fields}


def test_a_job_that_goes_well(capsys):
    polls = [
        [event("phase", phase="Training: unet"), event("message", message="Computing on CPU.")],
        [event("metrics", stage="unet", step=5, values={"loss": 0.25, "odd": None})],
        [event("progress", step=5, total=10, remaining=125.0), event("warning", message="Few cases.")],
        [event("result", output="a.nrrd", summary={}), event("state", state="done")],
    ]
    assert watch(ScriptedJob(polls, 0, State.DONE)) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines() == [
        "Training: unet",
        "Computing on CPU.",
        "  5 of 10, 2 min left (loss 0.25)",
        "Wrote a.nrrd",
        "Done.",
    ]
    assert shown.err == "Warning: Few cases.\n"


def test_a_failure_is_one_line_on_stderr(capsys):
    failed = event("state", state="failed", message="The file is gone.", kind="input", exit_code=2)
    assert watch(ScriptedJob([[failed]], 2, State.FAILED)) == 2
    assert capsys.readouterr().err == "Error: The file is gone.\n"


@pytest.mark.parametrize("code", [-9, 1, 11, 2, 3, 0])
def test_an_end_without_a_message_is_reported(capsys, code):
    assert watch(ScriptedJob([[]], code, State.FAILED)) == 3
    assert capsys.readouterr().err.startswith(f"Error: The worker ended unexpectedly (exit code {code})")


def test_the_first_interrupt_stops_and_the_second_kills(capsys):
    job = ScriptedJob([[]] * 5, -9, State.FAILED, interrupts=(2, 3))
    assert watch(job) == 130
    assert job.calls == ["stop", "kill"]
    assert "Saving and stopping; press Ctrl-C again to end at once." in capsys.readouterr().out


def test_an_interrupted_job_that_saves_is_stopped(capsys):
    job = ScriptedJob([[], [], [event("state", state="stopped")]], 130, State.STOPPED, interrupts=(2,))
    assert watch(job) == 130
    assert job.calls == ["stop"] and capsys.readouterr().out.endswith("Stopped.\n")


@pytest.mark.parametrize(
    "seconds, words", [(0, "0 s"), (99, "99 s"), (100, "2 min"), (5000, "83 min"), (5400, "1 h 30 min")]
)
def test_durations_as_people_say_them(seconds, words):
    assert in_words(seconds) == words
