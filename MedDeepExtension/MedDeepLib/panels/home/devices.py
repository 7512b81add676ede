"""The devices of this computer: their memory, the jobs that use them, and the queue of waiting jobs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _

from MedDeepLib.devices import Device, Owner, Ticket, Watching, list_devices, move
from MedDeepLib.errors import JobError, UserError
from MedDeepLib.jobs import JobFolder
from MedDeepLib.panels.sections.job_section import explain_button
from MedDeepLib.panels.status import StatusLine

_GIGABYTE = 1e9
_MEGABYTE = 1e6
_MOVE_SECONDS = 0.05
_ROW_HEIGHT = 22
_FIRST_COLUMN = 210
_MOST_ROWS = 9


class DevicesSection:
    """A tree: below each device the jobs and programs that hold it, then the waiting jobs in order."""

    def __init__(self, ui: Any, stop: Callable[[JobFolder], None]):
        """``stop`` is called with the job that the user wants to stop."""
        self.ui = ui
        self.devices: list[Device] = []
        self.status = StatusLine(ui.devicesStatusIcon, ui.devicesStatusLabel)
        self._stop, self._watching = stop, Watching()
        self._tree = ui.devicesTree
        self._entries: list[_Entry] = []
        self._items: list[Any] = []
        self._bars: dict[str, Any] = {}
        self._chosen = ""
        self._tree.setColumnWidth(0, _FIRST_COLUMN)
        self._tree.connect("itemSelectionChanged()", self._choice_changed)
        ui.devicesUpButton.connect("clicked()", lambda: self._move_chosen(-1))
        ui.devicesDownButton.connect("clicked()", lambda: self._move_chosen(1))
        ui.devicesStopButton.connect("clicked()", self._stop_chosen)
        self.update_buttons()

    def begin(self) -> None:
        """The panel is shown: refresh repeatedly from now on."""
        self._watching.begin()

    def end(self) -> None:
        """The panel is not shown any more."""
        self._watching.end()

    def refresh(self) -> None:
        """Refresh the devices."""
        self.devices = list_devices()
        entries = [entry for device in self.devices for entry in _entries(device)]
        if [entry.key for entry in entries] == [entry.key for entry in self._entries]:
            self._entries = entries
        else:
            self._entries = entries
            self._build()
        for entry, item in zip(self._entries, self._items, strict=True):
            self._write(entry, item)
        self.update_buttons()

    def update_buttons(self) -> None:
        entry = self._chosen_entry()
        place = count = 0
        waits = False
        if entry is not None and entry.ticket is not None:
            waits, place, count = True, entry.place, len(entry.device.waiting)
        no_waiter = [] if waits else [_("Choose a job that waits for a device.")]
        first = [_("It is already the next one.")] if waits and place == 0 else []
        last = [_("It is already the last one.")] if waits and place == count - 1 else []
        explain_button(self.ui.devicesUpButton, no_waiter or first, _("Let this job have the device earlier."))
        explain_button(self.ui.devicesDownButton, no_waiter or last, _("Let the next job have the device first."))
        explain_button(
            self.ui.devicesStopButton, self._stop_obstacles(entry), _("Let this job save its work and stop.")
        )

    def choose(self, key: str) -> None:
        """Choose an entry by its key: a device's id, a ticket's, or a process's."""
        for entry, item in zip(self._entries, self._items, strict=True):
            if entry.key == key:
                self._tree.setCurrentItem(item)

    def _stop_obstacles(self, entry: _Entry | None) -> list[str]:
        if entry is None or (entry.ticket is None and entry.owner is None):
            return [_("Choose a job that uses a device or waits for one.")]
        if not entry.folder:
            return [_("This program is not a job of this extension: end it where you started it.")]
        return [_("It is already being stopped.")] if JobFolder(entry.folder).stop_requested() else []

    def _chosen_entry(self) -> _Entry | None:
        return next((entry for entry in self._entries if entry.key == self._chosen), None)

    def _choice_changed(self) -> None:
        chosen = self._tree.selectedItems()
        self._chosen = chosen[0].data(0, qt.Qt.UserRole) if chosen else ""
        self.update_buttons()

    def _move_chosen(self, steps: int) -> None:
        entry = self._chosen_entry()
        assert entry is not None and entry.ticket is not None  # the buttons are disabled without a ticket
        try:
            move(entry.ticket.id, entry.place + steps, device=entry.device, timeout=_MOVE_SECONDS)
            self.status.clear()
        except JobError:
            self.status.error(_("The queue is locked at the moment: try again."))
        except UserError as error:
            self.status.error(str(error))
        self.refresh()

    def _stop_chosen(self) -> None:
        entry = self._chosen_entry()
        assert entry is not None  # the button is disabled without a job
        self._stop(JobFolder(entry.folder))
        self.refresh()

    def _build(self) -> None:
        """Rebuild all items: jobs have been added, removed or reordered."""
        tree = self._tree
        tree.blockSignals(True)
        self._items, self._bars = [], {}
        tree.clear()
        parent = None
        for entry in self._entries:
            if entry.owner is None and entry.ticket is None:
                parent = item = qt.QTreeWidgetItem(tree)
                item.setExpanded(True)
                self._add_bar(entry, item)
            else:
                item = qt.QTreeWidgetItem(parent)
            item.setSizeHint(0, qt.QSize(0, _ROW_HEIGHT))
            item.setData(0, qt.Qt.UserRole, entry.key)
            self._items.append(item)
            if entry.key == self._chosen:
                tree.setCurrentItem(item)
        tree.blockSignals(False)
        rows = min(len(self._entries), _MOST_ROWS)
        tree.setFixedHeight(rows * _ROW_HEIGHT + 2 * tree.frameWidth + 2)

    def _add_bar(self, entry: _Entry, item: Any) -> None:
        if entry.device.total_bytes:
            bar = qt.QProgressBar()
            bar.setRange(0, max(1, round(entry.device.total_bytes / _MEGABYTE)))
            self._tree.setItemWidget(item, 1, bar)
            self._bars[entry.key] = bar

    def _write(self, entry: _Entry, item: Any) -> None:
        first, second = entry.words()
        bar = self._bars.get(entry.key)
        if bar is not None:
            used = entry.device.total_bytes - entry.device.free_bytes
            bar.value = round(used / _MEGABYTE)
            bar.format = second
            second = ""
        for column, text in ((0, first), (1, second)):
            if item.text(column) != text:
                item.setText(column, text)
        item.setToolTip(0, entry.device.note or entry.folder or first)
        item.setToolTip(1, second)


class _Entry:
    """A line of the tree: a device, its holder (``owner``), or a waiting job (``ticket``, at position ``place``)."""

    def __init__(self, device: Device, owner: Owner | None = None, ticket: Ticket | None = None, place: int = 0):
        self.device, self.owner, self.ticket, self.place = device, owner, ticket, place
        self.key = device.id
        if ticket is not None:
            self.key += f"/{ticket.id}"
        elif owner is not None:
            self.key += f"/{owner.pid}/{owner.folder}"
        holder = ticket or owner
        self.folder = holder.folder if holder else ""

    def words(self) -> tuple[str, str]:
        if self.ticket is not None:
            since = time.strftime("%H:%M", time.localtime(self.ticket.since))
            who = _program(self.ticket.application, self.ticket.pid)
            place = _("{place}. waits: {title}").format(place=self.place + 1, title=self.ticket.title)
            return place, _("since {time}, {who}").format(time=since, who=who)
        if self.owner is not None:
            who = _program(self.owner.name if self.owner.title else "", self.owner.pid)
            if self.owner.used_bytes:
                who = _("{size:.1f} GB, {who}").format(size=self.owner.used_bytes / _GIGABYTE, who=who)
            return self.owner.title or self.owner.name or _("another program"), who
        return f"{self.device.name} [{self.device.id}]", _memory(self.device)


def _entries(device: Device) -> list[_Entry]:
    holders = [_Entry(device, owner) for owner in device.owners]
    return [_Entry(device), *holders, *(_Entry(device, None, t, place) for place, t in enumerate(device.waiting))]


def _memory(device: Device) -> str:
    if not device.total_bytes:
        return device.note or _("memory not known")
    used = (device.total_bytes - device.free_bytes) / _GIGABYTE
    return _("{used:.1f} of {total:.1f} GB in use").format(used=used, total=device.total_bytes / _GIGABYTE)


def _program(application: str, pid: int) -> str:
    if application:
        return _("{application}, process {pid}").format(application=application, pid=pid)
    return _("process {pid}").format(pid=pid)
