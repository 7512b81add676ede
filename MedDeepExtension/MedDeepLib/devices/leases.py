"""Leases: a GPU is lent to one job at a time, whichever Slicer or script on this computer has started it.

    with Lease(devices, "train unet", folder) as lease:
        while not lease.take():
            ...  # lease.reason() says what it waits for
        compute_on(lease.device)

A GPU lease is an operating system lock on the GPU's lock file, so it ends with its process. The CPU is shared (see
:mod:`MedDeepLib.devices.threads`).
"""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from MedDeepLib.devices.board import LOCK_SECONDS, Board, Ticket
from MedDeepLib.devices.locks import file_name, try_lock
from MedDeepLib.devices.manager import Device, process_name
from MedDeepLib.devices.threads import available_cores, share, threads_from_environment
from MedDeepLib.errors import UserError


class Lease:
    """A place in the queue that becomes the right to use one of several devices.

    Attributes:
        device: the device it holds, None while it waits.
        threads: CPU threads to compute with, 0 while it waits.
    """

    def __init__(
        self,
        devices: Sequence[Device],
        title: str,
        folder: str | Path = "",
        threads: int = 0,
        application: str | None = None,
        board: Board | None = None,
    ):
        """Join the end of the queue.

        Args:
            devices: the acceptable devices; the first free one in this order is taken.
            title: of the job, shown to those who wait for it.
            threads: the number chosen by the user; 0: a share of the cores.
            application: what started the job; None: detected.

        Raises UserError when the folder of the locks cannot be written.
        """
        self.device: Device | None = None
        self.threads = 0
        self._devices, self._chosen_threads = tuple(devices), threads
        self._board = Board() if board is None else board
        self._device_lock = None
        self._ticket = Ticket(
            id=uuid.uuid4().hex,
            devices=tuple(device.lease_key for device in devices),
            holds="",
            pid=os.getpid(),
            application=_application() if application is None else application,
            title=title,
            folder=str(folder),
            since=round(time.time(), 1),
        )
        with self._board.opened() as tickets:
            self._ticket_lock = try_lock(self._board.lock_path(self._ticket.id))
            tickets.append(self._ticket)

    @property
    def ticket(self) -> Ticket:
        """Its entry on the board."""
        return self._ticket

    def take(self) -> bool:
        """Take the first device that is free and that no job ahead in the queue waits for; False: keep waiting."""
        if self.device is not None:
            return True
        with self._board.opened() as tickets:
            place = self._place(tickets)
            before = {key for ticket in tickets[:place] if not ticket.holds for key in ticket.devices}
            held = {ticket.holds for ticket in tickets}
            for device in self._devices:
                key = device.lease_key
                if not device.shared:
                    if key in before or key in held:
                        continue
                    self._device_lock = try_lock(self._board.folder / f"device-{file_name(key)}.lock")
                    if self._device_lock is None:
                        continue
                self.device, self.threads = device, self._share(tickets)
                self._ticket = replace(self._ticket, holds=key, threads=self.threads)
                tickets[place] = self._ticket
                return True
        return False

    def reason(self) -> str:
        """What it waits for: "Waiting for NVIDIA X, used by 'train unet' (Slicer, process 123)"."""
        with self._board.opened() as tickets:
            wanted = set(self._ticket.devices)
            before = [t for t in tickets[: self._place(tickets)] if not t.holds and wanted & set(t.devices)]
            holders = [ticket.in_words() for ticket in tickets if ticket.holds in wanted]
        names = " or ".join(device.name for device in self._devices)
        sentence = f"Waiting for {names}"
        if holders:
            sentence += f", used by {' and '.join(holders)}"
        if before:
            sentence += f"; {len(before)} {'job comes' if len(before) == 1 else 'jobs come'} before this one"
        return sentence

    def release(self) -> None:
        """Leave the queue or give the device back; may be called again."""
        if self._ticket_lock is None:
            return
        # Even if the board can no longer be written, the ticket becomes invalid: its lock is released.
        with contextlib.suppress(UserError), self._board.opened() as tickets:
            tickets[:] = [ticket for ticket in tickets if ticket.id != self._ticket.id]
            self._let_go()
            self._board.lock_path(self._ticket.id).unlink(missing_ok=True)
        self._let_go()
        self.device, self.threads = None, 0

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *_) -> None:
        self.release()

    def _let_go(self) -> None:
        for lock in (self._device_lock, self._ticket_lock):
            if lock is not None:
                lock.release()
        self._device_lock = self._ticket_lock = None

    def _place(self, tickets: list[Ticket]) -> int:
        for place, ticket in enumerate(tickets):
            if ticket.id == self._ticket.id:
                return place
        tickets.append(self._ticket)  # the board was deleted or damaged
        return len(tickets) - 1

    def _share(self, tickets: list[Ticket]) -> int:
        fixed = self._chosen_threads or threads_from_environment()
        return fixed or share(available_cores(), [ticket.threads for ticket in tickets if ticket.holds == "cpu"])


def holders(device: Device, board: Board | None = None) -> list[Ticket]:
    """The jobs that hold ``device``: at most one, except for the CPU."""
    return [ticket for ticket in (board or Board()).tickets() if ticket.holds == device.lease_key]


def waiting(device: Device, board: Board | None = None) -> list[Ticket]:
    """The jobs that wait for ``device``, in the order in which they will get it."""
    tickets = (board or Board()).tickets()
    return [ticket for ticket in tickets if not ticket.holds and device.lease_key in ticket.devices]


def move(
    ticket_id: str,
    position: int,
    board: Board | None = None,
    device: Device | None = None,
    timeout: float = LOCK_SECONDS,
) -> None:
    """Put a waiting job at ``position`` (0: next) among the jobs that wait for the same devices, or for ``device``.

    Raises:
        UserError: no job with this ticket is waiting.
        JobError: another process has kept the board locked for ``timeout`` seconds.
    """
    with (board or Board()).opened(timeout) as tickets:
        found = [ticket for ticket in tickets if ticket.id == ticket_id and not ticket.holds]
        if not found:
            raise UserError(f"No job with the ticket '{ticket_id}' is waiting: it may have got its device or ended.")
        ticket = found[0]
        tickets.remove(ticket)
        wanted = {device.lease_key} if device is not None else set(ticket.devices)
        rivals = [other for other in tickets if not other.holds and wanted & set(other.devices)]
        behind = rivals[max(0, position) :]
        tickets.insert(tickets.index(behind[0]) if behind else len(tickets), ticket)


def _application() -> str:
    """The program that started this process, by its familiar name; empty when that is unknown."""
    name = process_name(os.getppid())
    return "Slicer" if name.lower().startswith("slicer") else name
