"""One line of words under a button, a progress bar, and the log of the whole panel."""

from __future__ import annotations

import re
import time
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from MedDeepLib.jobs import JobFolder
from MedDeepLib.scene.scene_jobs import log_tail

_ICON_PIXELS = 16
_LONGEST_WORD = 30
_USUAL_WIDTH = 380
_ZERO_WIDTH_SPACE = "\u200b"


class StatusLine:
    """Shows the status in one sentence; errors and warnings get an icon."""

    def __init__(self, icon_label: Any, text_label: Any):
        self._icon_label, self._text_label = icon_label, text_label
        self._text = ""
        self.clear()

    @property
    def text(self) -> str:
        return self._text

    def clear(self) -> None:
        self._show("", None)

    def info(self, text: str) -> None:
        self._show(text, None)

    def warning(self, text: str) -> None:
        self._show(text, qt.QStyle.SP_MessageBoxWarning)

    def error(self, text: str) -> None:
        self._show(text, qt.QStyle.SP_MessageBoxCritical)

    def _show(self, text: str, icon: Any) -> None:
        if text == self._text and icon is None and not self._icon_label.isVisible():
            return
        self._text = text
        show_text(self._text_label, text)
        self._text_label.setVisible(bool(text))
        self._icon_label.setVisible(icon is not None)
        if icon is not None:
            pixmap = slicer.app.style().standardIcon(icon).pixmap(_ICON_PIXELS, _ICON_PIXELS)
            self._icon_label.setPixmap(pixmap)


class JobLog:
    """What happened, line by line, in all sections of a panel; the worker's own log is added on demand."""

    def __init__(self, text_edit: Any, worker_log_button: Any):
        self._text_edit = text_edit
        self._button = worker_log_button
        self._folder: JobFolder | None = None
        text_edit.maximumBlockCount = 5000
        worker_log_button.connect("clicked()", self.show_worker_log)
        self.follow(None)

    def add(self, section: str, text: str) -> None:
        """Append a message, with the time and the name of the section it belongs to."""
        self._text_edit.appendPlainText(f"{time.strftime('%H:%M:%S')}  {section}: {text}")

    def follow(self, folder: JobFolder | None) -> None:
        """Set the job whose log the button shows."""
        self._folder = folder
        self._button.enabled = folder is not None
        self._button.toolTip = (
            _("Show the log of the worker process, including tracebacks.")
            if folder is not None
            else _("No job has been started yet.")
        )

    def show_worker_log(self) -> None:
        """Append the end of the worker's log file."""
        if self._folder is not None:
            self.add(self._folder.path.name, "log.txt\n" + (log_tail(self._folder) or _("(empty)")))


def remaining_in_words(seconds: float) -> str:
    """A duration in words."""
    minutes = round(seconds / 60)
    if seconds < 10:
        return _("a few seconds left")
    if minutes < 1:
        return _("about {seconds} seconds left").format(seconds=int(round(seconds, -1)))
    if minutes == 1:
        return _("about a minute left")
    if minutes < 100:
        return _("about {minutes} minutes left").format(minutes=minutes)
    return _("about {hours} hours left").format(hours=round(seconds / 3600))


def show_text(label, text: str) -> None:
    """Show a text of several lines in a label and give it the height that it needs.

    A label with word wrap reports its height too late to the layout: within collapsible buttons it would be cut off.
    """
    show_html(label, breakable(text))


def show_html(label, html: str) -> None:
    """As :func:`show_text`, for text with markup."""
    if label.text != html:
        label.text = html
    width = label.width if label.isVisible() else _USUAL_WIDTH
    height = label.heightForWidth(width) if html else 0
    if label.minimumHeight != height:
        label.minimumHeight = height


def breakable(text: str) -> str:
    """Lets a label break lines inside long paths, which would otherwise widen the whole panel."""

    def with_breaks(match: re.Match) -> str:
        return re.sub(r"([/\\._-])", r"\1" + _ZERO_WIDTH_SPACE, match.group())

    return re.sub(rf"\S{{{_LONGEST_WORD},}}", with_breaks, text)
