"""Recorded jobs in place of worker processes: the reactions of a panel are tested in milliseconds.

    launcher = ReplayLauncher(train=recorded("segment_train"))
    panel.replay(launcher)
    launcher.hold(step(20))            # the next worker plays its events up to this one, then stays silent
    panel.ui.trainStartButton.click()
    panel.wait_for_status("train", "20 of 60")
    panel.ui.trainStopButton.click()

The recordings are in ``recordings/``; Testing/tools/record_jobs.py makes them with a real worker, and the tests with a
real worker check that it still reports the same kinds of events (:func:`kinds`).
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from MedDeepLib.errors import EXIT_DONE, EXIT_STOPPED, CannotWrite
from MedDeepLib.jobs import Job, JobFolder, State

RECORDINGS = Path(__file__).with_name("recordings")
Event = dict[str, Any]
Hold = Callable[["Event | None"], bool]  # of the last event, None before the first one


@dataclass(frozen=True)
class Recording:
    """The events and files of a worker.

    Attributes:
        events: in order; the last one is the final state, unless it died.
        files: texts by their names in the job folder; they appear at the end.
        write: writes what is not text into the job folder: output files, a model.
        on_stop: its reaction to a stop request: "leave", "finish" with what it has found, or "nothing".
    """

    events: tuple[Event, ...]
    files: dict[str, str] = field(default_factory=dict)
    write: Callable[[JobFolder], None] = lambda folder: None
    on_stop: str = "leave"

    def told_step(self, number: int) -> int:
        """The first reported step from ``number`` on: workers report at most twice a second."""
        return next(event["step"] for event in self.events if step(number)(event))

    def writing(self, write: Callable[[JobFolder], None]) -> Recording:
        """The same with files written by the test."""
        return replace(self, write=write)


def recorded(name: str) -> Recording:
    """A recording of a real worker."""
    folder = RECORDINGS / name
    files = {file.name: file.read_text(encoding="utf-8") for file in folder.iterdir() if file.is_file()}
    lines = files.pop("events.jsonl").splitlines()
    return Recording(tuple(json.loads(line) for line in lines), files)


def recorded_run(name: str, folder: Path) -> Path:
    """The run folder of a recorded training; its model can be inspected but has no weights."""
    shutil.copytree(RECORDINGS / name, folder)
    (folder / "model" / "models").mkdir()
    (folder / "model" / "models" / "model.pt").touch()
    job = Job("segment", "train", "unet", dataset="list.json", device="cpu")
    job.save(folder / "job.json")
    return folder


def died(recording: Recording, after: int = 6) -> Recording:
    """A recording whose worker ends silently after some events, as when it is killed."""
    return Recording(recording.events[:after])


def kinds(events: list[Event] | tuple[Event, ...]) -> set[tuple]:
    """The kinds of events with the fields of each, to compare a recording with the current worker."""
    return {(event["event"], event.get("state"), *sorted(event)) for event in events}


def step(number: int, stage: str | None = None) -> Hold:
    """For ``hold``: a training step, or the next reported one."""

    def is_it(event: Event | None) -> bool:
        if event is None or event["event"] != "progress" or "stage" not in event:
            return False
        return event["step"] >= number and stage in (None, event["stage"])

    return is_it


def phase(words: str) -> Hold:
    """For ``hold``: the beginning of a phase."""
    return lambda event: event is not None and event["event"] == "phase" and words in event["phase"]


def at_start(event: Event | None) -> bool:
    """For ``hold``: before the first event."""
    return event is None


class ReplayLauncher:
    """Starts workers that replay recordings.

    Attributes:
        plays: the recording for each action; tests may change it at any time.
        workers: all that were started, the last one last.
        released: how often warm workers were asked to free their memory.
    """

    def __init__(self, **plays: Recording):
        self.plays = plays
        self.workers: list[ReplayWorker] = []
        self.released = 0
        self._hold: Hold | None = None
        self._stopped_at: dict[Path, int] = {}

    def hold(self, where: Hold = at_start) -> None:
        """Make the next worker pause after the event for which ``where`` is true, until ``go_on()`` is called."""
        self._hold = where

    def launch(self, folder: JobFolder) -> ReplayWorker:
        folder.prepare_restart()
        hold, self._hold = self._hold, None
        recording = self.plays[folder.job().action]
        self.workers.append(ReplayWorker(folder, recording, hold, self._stopped_at))
        return self.workers[-1]

    submit = launch

    def release(self) -> None:
        self.released += 1


class ReplayWorker:
    """A worker that replays a recording. Every ``poll`` plays all events up to where it is held.

    A resumed job continues where it was stopped.
    """

    def __init__(
        self,
        folder: JobFolder,
        recording: Recording,
        hold: Hold | None,
        stopped_at: dict[Path, int],
    ):
        self.folder = folder
        self.exit_code: int | None = None
        self.on_stop = recording.on_stop
        self._recording, self._hold, self._stopped_at = recording, hold, stopped_at
        self._next = stopped_at.get(folder.path, 0)
        self._unread: list[Event] = []
        self._kill_at: float | None = None
        folder.register_worker()
        folder.log_file.write_text("a replay\n", encoding="utf-8")

    def is_running(self) -> bool:
        if self.exit_code is None and self.folder.stop_requested():
            self.play()  # it exits whether or not anyone polls
        return self.exit_code is None

    @property
    def state(self) -> State:
        if self.is_running():
            return State.STOPPING if self.folder.stop_requested() else State.RUNNING
        if self.exit_code == EXIT_STOPPED:
            return State.STOPPED
        return State.DONE if self.exit_code == EXIT_DONE and self.folder.result_file.exists() else State.FAILED

    def poll(self) -> list[Event]:
        self.play()
        events, self._unread = self._unread, []
        return events

    def go_on(self) -> None:
        """Continue to the end."""
        self._hold = None

    def stop(self, grace_seconds: float = 20.0) -> None:
        try:
            self.folder.request_stop()
        except CannotWrite:
            self._end(EXIT_STOPPED)
        self._kill_at = time.monotonic() + grace_seconds

    def kill(self) -> None:
        if self.exit_code is None:
            self._end(-9)

    def play(self) -> None:
        """Emit the next events, up to where it is held; for a job that nobody polls."""
        while self.exit_code is None:
            stop = self.on_stop if self.folder.stop_requested() else ""
            if stop == "leave":
                self._say({"event": "state", "state": "stopped"})
                self._end(EXIT_STOPPED)
            elif self._kill_at is not None and time.monotonic() > self._kill_at:
                self.kill()
            elif self._held() and stop != "finish":
                return
            else:
                self._play_one()

    def play_until(self, where: Hold) -> None:
        """Emit all events up to the one for which ``where`` is true."""
        self._hold = where
        self.play()

    def _held(self) -> bool:
        return self._hold is not None and self._hold(self._recording.events[self._next - 1] if self._next else None)

    def _play_one(self) -> None:
        if self._next == len(self._recording.events):
            self._end(-9)  # it has died
            return
        event = self._recording.events[self._next]
        if event.get("state") == "done":
            self._write()
        self._next += 1
        self._say(event)
        if event["event"] == "metrics" and "stage" in event:
            (self.folder.path / "checkpoint.pt").touch()
        if event["event"] == "state" and event["state"] in ("done", "failed"):
            self._end(event.get("exit_code", EXIT_DONE))

    def _say(self, event: Event) -> None:
        event = json.loads(self._filled_in(json.dumps(event))) | {"time": time.time()}
        self._unread.append(event)
        with self.folder.events_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(event) + "\n")

    def _write(self) -> None:
        self._recording.write(self.folder)
        for name, text in sorted(self._recording.files.items(), key=lambda item: item[0] == "result.json"):
            (self.folder.path / name).write_text(self._filled_in(text), encoding="utf-8")

    def _filled_in(self, text: str) -> str:
        """A recorded text with the paths of this job."""
        inputs = sorted((self.folder.path / "input").glob("*"), key=lambda file: file.stat().st_mtime_ns)
        for number, file in enumerate(inputs):
            text = text.replace(f"{{data}}/input{number}.nii", str(file)).replace(f"input{number}.nii", file.name)
        return text.replace("{folder}", str(self.folder.path)).replace("{data}", str(self.folder.path.parent))

    def _end(self, exit_code: int) -> None:
        self._stopped_at[self.folder.path] = self._next
        self.exit_code = exit_code
        self.folder.forget_worker()
