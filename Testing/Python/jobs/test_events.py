"""The event protocol: one JSON object a line, complete events only, whatever happens to the writer."""

from __future__ import annotations

import json
import math
import threading
from pathlib import Path

import numpy as np
import pytest
from MedDeepLib.jobs.events import EventReader, EventWriter


@pytest.fixture
def file(tmp_path) -> Path:
    return tmp_path / "events.jsonl"


def write(file: Path, *messages: str) -> None:
    writer = EventWriter(file)
    for message in messages:
        writer("message", message=message)
    writer.close()


def messages(events) -> list[str]:
    return [event["message"] for event in events]


def test_events_are_read_once_and_in_order(file):
    reader = EventReader(file)
    assert reader.read() == [], "no file yet"
    write(file, "one", "zwei: ä ∞")
    assert messages(reader.read()) == ["one", "zwei: ä ∞"]
    assert reader.read() == []
    write(file, "three")
    assert messages(reader.read()) == ["three"]
    assert messages(EventReader(file).read()) == ["one", "zwei: ä ∞", "three"]


def test_every_event_has_time_and_kind(file):
    write(file, "one")
    event = EventReader(file).read()[0]
    assert event["event"] == "message" and event["time"] > 1.7e9


def test_an_unknown_kind_is_a_mistake_of_the_programmer(file):
    with pytest.raises(ValueError, match="unknown event 'mesage'"):
        EventWriter(file)("mesage", message="?")


def test_numbers_that_json_does_not_have(file):
    """The file is strict JSON: infinities become null, NumPy scalars plain numbers."""
    writer = EventWriter(file)
    values = {"a": math.nan, "b": -math.inf, "c": np.float32(0.5), "d": np.int64(3), "e": [np.float64(1), Path("x")]}
    writer("metrics", stage="s", step=1, values=values)
    writer.close()

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    event = json.loads(file.read_text(encoding="utf-8"), parse_constant=refuse)
    assert event["values"] == {"a": None, "b": None, "c": 0.5, "d": 3, "e": [1, "x"]}


def test_a_line_still_being_written_waits(file):
    line = b'{"time": 1, "event": "message", "message": "\xc3\xa4"}\n'
    for cut in range(1, len(line)):
        file.write_bytes(line[:cut])
        reader = EventReader(file)
        assert reader.read() == []
        with file.open("ab") as stream:
            stream.write(line[cut:])
        assert messages(reader.read()) == ["ä"]


def test_half_a_line_of_a_killed_worker_does_not_swallow_the_next_one(file):
    write(file, "whole")
    with file.open("ab") as stream:
        stream.write(b'{"time": 1, "event": "mess')
    write(file, "first of the next", "second")
    assert messages(EventReader(file).read()) == ["whole", "first of the next", "second"]


def test_what_is_no_event_is_passed_over(file):
    file.write_text('7\nnull\n{"event": "boo"}\n{"event": []}\n\nnonsense\n', encoding="utf-8")
    write(file, "real")
    assert messages(EventReader(file).read()) == ["real"]


def test_threads_do_not_mix_their_lines(file):
    writer = EventWriter(file)
    text = "x" * 500

    def send(name):
        for number in range(100):
            writer("message", message=f"{name} {number} {text}")

    threads = [threading.Thread(target=send, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    found = messages(EventReader(file).read())
    assert len(found) == 400 and all(message.endswith(text) for message in found)


def test_a_full_disk_does_not_stop_the_work(file, monkeypatch):
    """An event that cannot be written is lost; later ones are complete again."""
    writer = EventWriter(file)
    writer("message", message="before")
    full = OSError(28, "No space left on device")
    stream = writer._file

    class FullDisk:
        def write(self, line):
            stream.write(line[:5])
            raise full

        def __getattr__(self, name):
            return getattr(stream, name)

    monkeypatch.setattr(writer, "_file", FullDisk())
    writer("message", message="lost")
    monkeypatch.setattr(writer, "_file", stream)
    writer("message", message="after")
    writer.close()
    assert messages(EventReader(file).read()) == ["before", "after"]
