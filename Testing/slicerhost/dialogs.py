"""Modal dialogs without a user: a test prepares the answers, an unexpected dialog is an error.

    with slicerhost.answers(qt.QMessageBox.Yes, "/data/volume.nrrd") as asked:
        panel.ui.browseButton.click()
    assert "Overwrite" in asked[0]

A message box takes the standard button, or the text of the button; a file or input dialog takes the string
that PythonQt would return ("" when the user cancels).
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any

import shiboken6
from PySide6 import QtCore, QtWidgets


class UnexpectedDialogError(AssertionError):
    """A modal dialog was opened and no answer had been prepared for it."""


_prepared: list[list[Any]] = []
_asked: list[list[str]] = []
_dialogs_to_delete: list[QtWidgets.QDialog] = []


@contextmanager
def answers(*values: Any):
    """Answer the next dialogs with these values, in order. Yields the list of the texts of these dialogs.

    Raises:
        AssertionError: at the end, if fewer dialogs were opened than answers prepared.
    """
    pending, asked = list(values), []
    _prepared.append(pending)
    _asked.append(asked)
    try:
        yield asked
    finally:
        _prepared.remove(pending)
        _asked.remove(asked)
    if pending:
        raise AssertionError(f"{len(pending)} prepared answer(s) were not asked for: {pending!r}")


def take_answer(text: str) -> Any:
    """The next prepared answer, for a dialog that shows this text."""
    if not _prepared or not _prepared[-1]:
        raise UnexpectedDialogError(f"A dialog was opened and no answer was prepared for it: {text}")
    _asked[-1].append(text)
    return _prepared[-1].pop(0)


def _exec_message_box(box: QtWidgets.QMessageBox, *_arguments) -> int:
    answer = take_answer("\n".join(part for part in (box.text, box.informativeText) if part))
    button = _find_button(box, answer)
    if button is None:
        raise AssertionError(f"The message box '{box.text}' has no button for the prepared answer {answer!r}")
    button.click()
    standard = box.standardButton(button)
    return standard if standard != QtWidgets.QMessageBox.NoButton else box.buttons().index(button)


def _find_button(box: QtWidgets.QMessageBox, answer: Any):
    if isinstance(answer, str):
        return next((b for b in box.buttons() if b.text.replace("&", "") == answer), None)
    return box.button(answer)


def _static_message_box(icon: QtWidgets.QMessageBox.Icon):
    def show(parent, title, text, buttons=QtWidgets.QMessageBox.Ok, default=QtWidgets.QMessageBox.NoButton):
        box = QtWidgets.QMessageBox(icon, title, text, buttons)
        try:
            return _exec_message_box(box)
        finally:
            box.delete()

    return staticmethod(show)


def _static_text_dialog(kind: str):
    def ask(parent=None, title="", *_arguments, **_options):
        answer = take_answer(f"{kind}: {title}")
        if not isinstance(answer, str | list | tuple):
            raise AssertionError(f"{kind} needs a string as prepared answer, not {answer!r}")
        return answer

    return staticmethod(ask)


def _exec_dialog(original):
    def run(self, *_arguments):
        if not _closes_itself(self):
            take_answer_and_finish(self)
        return original(self)

    return run


def take_answer_and_finish(dialog: QtWidgets.QDialog) -> None:
    """Finish a dialog as soon as its loop runs: with the prepared result code, or by the prepared call."""
    answer = take_answer(dialog.windowTitle)
    finish = (lambda: answer(dialog)) if callable(answer) else (lambda: dialog.done(int(answer)))
    QtCore.QTimer.singleShot(0, finish)


def _closes_itself(dialog: QtWidgets.QDialog) -> bool:
    """slicer.util.delayDisplay shows a plain dialog with one label and a timer that closes it."""
    return not dialog.windowTitle and not dialog.findChildren(QtWidgets.QAbstractButton)


def _loop_level() -> int:
    return QtCore.QThread.currentThread().loopLevel()


def _delete_dialog_later(original):
    def delete_later(self):
        # slicer.util calls deleteLater() before exec_(). In the application an event loop runs already, so
        # the dialog outlives its own loop; without one Qt would delete it as soon as that loop starts.
        if _loop_level() == 0:
            _dialogs_to_delete.append(self)
        else:
            original(self)

    return delete_later


def delete_finished_dialogs() -> None:
    """Delete finished dialogs, as the application does when it returns to the event loop."""
    while _dialogs_to_delete:
        dialog = _dialogs_to_delete.pop()
        if shiboken6.isValid(dialog):
            dialog.delete()


def install() -> None:
    """Replace the modal functions by the prepared answers, with the return values of PythonQt."""
    box, dialog = QtWidgets.QMessageBox, QtWidgets.QDialog
    dialog.exec_ = _exec_dialog(dialog.exec)
    dialog.deleteLater = _delete_dialog_later(dialog.deleteLater)
    box.exec_ = box.exec = _exec_message_box
    for name in ("Information", "Question", "Warning", "Critical"):
        setattr(box, name.lower(), _static_message_box(getattr(box, name)))
    file_dialog = QtWidgets.QFileDialog
    for name in ("getOpenFileName", "getOpenFileNames", "getSaveFileName", "getExistingDirectory"):
        setattr(file_dialog, name, _static_text_dialog(name))
    QtWidgets.QInputDialog.getText = _static_text_dialog("getText")
