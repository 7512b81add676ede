"""The board where all jobs of this computer state which device they hold or wait for.

The board is a small file that is read and changed under a lock, so that every process sees the same order. An entry
is valid only while its process holds the entry's own lock, so entries of dead processes disappear by themselves. Time
stamps play no role; the queue order is the order of the entries.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from MedDeepLib.devices.locks import file_lock, is_held, state_folder
from MedDeepLib.errors import JobError, UserError

LOCK_SECONDS = 10.0
_POLL_SECONDS = 0.005


@dataclass(frozen=True)
class Ticket:
    """The entry of one job on the board.

    Attributes:
        id: globally unique.
        devices: keys of the devices it accepts, the preferred one first.
        holds: key of the device that it holds, empty while it waits.
        pid: its process.
        application: what started it ("Slicer"), as far as is known.
        title: of the job, e.g. "train unet".
        folder: of the job.
        since: when it joined the queue (seconds since 1970), for display only.
        threads: CPU threads it computes with; 0 while it waits.
    """

    id: str
    devices: tuple[str, ...]
    holds: str
    pid: int
    application: str
    title: str
    folder: str
    since: float
    threads: int = 0

    def in_words(self) -> str:
        """The job in words: "'train unet' (Slicer, process 123)"."""
        started_by = f"{self.application}, " if self.application else ""
        return f"'{self.title}' ({started_by}process {self.pid})"


class Board:
    """The tickets of all jobs of this user on this computer."""

    def __init__(self, folder: Path | None = None):
        self.folder = state_folder() if folder is None else folder
        self._file = self.folder / "board.json"

    @contextlib.contextmanager
    def opened(self, timeout: float = LOCK_SECONDS) -> Iterator[list[Ticket]]:
        """The tickets of all jobs whose process is alive, in queue order, locked for this process; changes are saved.

        Raises:
            UserError: the folder cannot be written.
            JobError: another process has kept the board locked for ``timeout`` seconds.
        """
        from filelock import Timeout

        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = file_lock(self.folder / "board.lock")
            lock.acquire(timeout=timeout, poll_interval=_POLL_SECONDS)
        except Timeout:
            raise JobError(f"Another program has kept {self._file} locked for {timeout:g} s: end it.") from None
        except OSError as error:
            raise self._not_writable(error) from None
        try:
            written = self._read()
            tickets = [ticket for ticket in written if is_held(self.lock_path(ticket.id))]
            for ticket in written:
                if ticket not in tickets:
                    self.lock_path(ticket.id).unlink(missing_ok=True)
            yield tickets
            if tickets != written:
                self._write(tickets)
        except OSError as error:
            raise self._not_writable(error) from None
        finally:
            lock.release()

    def tickets(self, timeout: float = LOCK_SECONDS) -> list[Ticket]:
        """All tickets as they are now: holders and, in queue order, those who wait."""
        if not self._file.exists():
            return []
        with self.opened(timeout) as tickets:
            return list(tickets)

    def lock_path(self, ticket_id: str) -> Path:
        """The lock that the process of a ticket holds for as long as the ticket is valid."""
        return self.folder / f"ticket-{ticket_id}.lock"

    def _read(self) -> list[Ticket]:
        try:
            content = json.loads(self._file.read_text(encoding="utf-8"))
            return [Ticket(**{**entry, "devices": tuple(entry["devices"])}) for entry in content["tickets"]]
        except (OSError, ValueError, TypeError, KeyError):
            # Missing or damaged. Waiting jobs add their entries again; a job that holds a device still has its lock.
            return []

    def _write(self, tickets: list[Ticket]) -> None:
        part = self._file.with_name("board.json.part")
        content = {"tickets": [asdict(ticket) for ticket in tickets]}
        part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        os.replace(part, self._file)

    def _not_writable(self, error: OSError) -> UserError:
        return UserError(
            f"The folder {self.folder}, where jobs say which device they use, cannot be written "
            f"({error.strerror or error}): free some space, or set the "
            "environment variable MEDDEEP_STATE to another one."
        )
