"""The script ``devices.py``: what this computer can compute on, who holds it and who waits."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from MedDeepLib.devices import Device, list_devices, move
from MedDeepLib.errors import UserError

_GIGABYTE = 1e9


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 done, 2 bad usage."""
    options = _parser().parse_args(arguments)
    try:
        if options.action == "move":
            move(options.ticket, options.place - 1)
        _print_devices()
        return 0
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of text in columns, the first row as heading; a cell may have several lines."""
    lines = [[cell.split("\n") for cell in row] for row in rows]
    widths = [max(len(line) for row in lines for line in row[column]) for column in range(len(rows[0]))]
    printed = []
    for row in lines:
        for number in range(max(len(cell) for cell in row)):
            cells = [cell[number] if number < len(cell) else "" for cell in row]
            printed.append("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())
    return "\n".join(printed)


def _print_devices() -> None:
    rows = [("Device", "Name", "Memory", "Held by", "Waiting")]
    rows += [(d.id, d.name, _memory(d), _holders(d), _waiters(d)) for d in list_devices()]
    print(table(rows))


def _memory(device: Device) -> str:
    if not device.total_bytes:
        return device.note or "not known"
    return f"{device.free_bytes / _GIGABYTE:.1f} of {device.total_bytes / _GIGABYTE:.1f} GB free"


def _holders(device: Device) -> str:
    lines = []
    for owner in device.owners:
        program = f"{owner.name}, " if owner.name else ""
        used = f", {owner.used_bytes / _GIGABYTE:.1f} GB" if owner.used_bytes else ""
        who = f"'{owner.title}' " if owner.title else ""
        lines.append(f"{who}({program}process {owner.pid}{used})")
    return "\n".join(lines) or "-"


def _waiters(device: Device) -> str:
    waiting = enumerate(device.waiting, start=1)
    return "\n".join(f"{place}. {ticket.in_words()} ticket {ticket.id}" for place, ticket in waiting) or "-"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="devices.py",
        description="The devices of this computer, the jobs and programs that use them, and the jobs that wait.",
        epilog="Exit codes: 0 done, 2 bad usage.",
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    actions.add_parser("list", help="print a table of all devices")
    mover = actions.add_parser("move", help="change the place of a waiting job")
    mover.add_argument("ticket", metavar="TICKET", help="as 'list' shows it")
    mover.add_argument("place", type=int, metavar="PLACE", help="1: next")
    return parser
