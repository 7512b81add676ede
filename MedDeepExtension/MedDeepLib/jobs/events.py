"""The event protocol: one JSON object a line in ``events.jsonl`` and on the worker's standard output.

Events are the only interface to panels, scripts and reports; nothing parses a log. Every event has ``time`` (seconds
since 1970) and ``event``, which is one of:

==========  ==========================================================================================
state       ``state`` (queued, running, stopping, stopped, failed, done); a job that waits for its device names
            in ``message`` the job that holds it; a failure has ``message`` (one plain sentence), ``kind`` (input, disk,
            failed, memory, silent, internal) and ``exit_code``
phase       ``phase``: what the job is doing, in words
progress    ``step`` of ``total`` and ``remaining`` (seconds, or null), within ``stage`` when training; in a
            cross-validation also ``fold`` of ``folds`` and ``overall``, the share of the whole job that is done
metrics     ``stage``, ``step`` and ``values``: {name: number}, e.g. loss or validation Dice
memory      ``resident_bytes`` and, on a GPU, ``device_bytes``: peaks so far
message     ``message``: something worth knowing, e.g. which device was chosen
warning     ``message``: something that may need a person's attention; with ``silent`` true, the worker seems to
            hang; a message with ``silent`` false revokes that
result      ``output`` and ``summary`` of one finished case
==========  ==========================================================================================
"""

from __future__ import annotations

import json
import math
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

KINDS = frozenset({"state", "phase", "progress", "metrics", "memory", "message", "warning", "result"})
_PART_BYTES = 32768
_TAIL_BYTES = 32768


class EventWriter:
    """Appends events to a file and, when asked, to standard output; may be called from any thread.

    Losing an event must not stop the job: one that a full disk rejects is dropped, and the job continues.
    """

    def __init__(self, path: Path, echo: bool = False):
        self._file = path.open("ab", buffering=0)
        self._half_line = not _ends_with_line(path)
        self._echo = echo
        self._lock = threading.Lock()

    def __call__(self, event: str, **fields: Any) -> None:
        if event not in KINDS:
            raise ValueError(f"unknown event {event!r}")
        line = json.dumps({"time": round(time.time(), 3), "event": event, **_json(fields)}, ensure_ascii=False)
        with self._lock:
            self._append(line.encode("utf-8") + b"\n")
            if self._echo:
                sys.stdout.write(line + "\n")
                sys.stdout.flush()

    def close(self) -> None:
        self._file.close()

    def _append(self, line: bytes) -> None:
        # A partial line, left by a killed worker or a full disk, must not swallow the next one.
        line = b"\n" + line if self._half_line else line
        try:
            self._half_line = self._file.write(line) < len(line)
        except OSError:
            self._half_line = True


class EventReader:
    """Reads what has been appended to an event file since the last call."""

    def __init__(self, path: Path):
        self._path = path
        self._offset = 0
        self._rest = b""

    def read(self) -> list[dict[str, Any]]:
        """The new events; a line that is still being written waits for the next call."""
        return self._read(-1)

    def read_in_parts(self) -> Iterator[list[dict[str, Any]]]:
        """As :meth:`read`, a few hundred events at a time, for callers that must not block on a long file."""
        before = -1
        while self._offset != before:
            before = self._offset
            yield self._read(_PART_BYTES)

    def _read(self, count: int) -> list[dict[str, Any]]:
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read(count)
        except OSError:
            return []  # not there yet, deleted, or on a drive that does not respond
        self._offset += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [event for line in lines if (event := _parse(line)) is not None]


def last_events(path: Path) -> tuple[list[dict[str, Any]], bool]:
    """The last few hundred events of a file, and whether these are all of them; none if there is no file."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            lines = file.read().split(b"\n")
    except OSError:
        return [], True
    return [event for line in lines if (event := _parse(line)) is not None], size <= _TAIL_BYTES


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line.decode("utf-8", "replace"))
    except ValueError:
        return None  # half a line of a worker that was killed
    return event if isinstance(event, dict) and str(event.get("event")) in KINDS else None


def _ends_with_line(path: Path) -> bool:
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def _json(value: Any) -> Any:
    """JSON has no NaN or infinity; numpy and torch scalars are not JSON either."""
    if isinstance(value, dict):
        return {str(key): _json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json(item) for item in value]
    if isinstance(value, (str, bool, int)) or value is None:
        return value
    if isinstance(value, Path):
        return str(value)
    number = float(value)
    return number if math.isfinite(number) else None
