"""Message boxes and other modal dialogs."""

from __future__ import annotations

import logging

import pytest


@pytest.fixture
def interactive(host):
    """The application outside testing mode, so that message boxes do appear."""
    host.start(testing=False)
    yield host
    host.start(testing=True)


def test_in_testing_mode_boxes_are_skipped(host, caplog):
    import slicer

    with caplog.at_level(logging.INFO):
        slicer.util.errorDisplay("It failed.")
        slicer.util.confirmYesNoDisplay("Really?")
        assert not slicer.util.confirmRetryCloseDisplay("Again?")
    assert all(text in caplog.text for text in ("It failed.", "Really?", "Again?"))


def test_in_testing_mode_an_error_is_raised_again(host):
    import slicer

    with pytest.raises(RuntimeError, match="inner"), slicer.util.tryWithErrorDisplay("Outer"):
        raise RuntimeError("inner")


def test_an_unprepared_dialog_is_an_error_and_does_not_hang(interactive):
    import slicer

    with pytest.raises(interactive.UnexpectedDialogError, match="It failed"):
        slicer.util.errorDisplay("It failed.")


def test_prepared_answers(interactive):
    import qt
    import slicer

    with interactive.answers(qt.QMessageBox.Ok, qt.QMessageBox.No, "Yes", qt.QMessageBox.Cancel) as asked:
        slicer.util.infoDisplay("Done.")
        assert not slicer.util.confirmYesNoDisplay("First?")
        assert slicer.util.confirmYesNoDisplay("Second?")
        assert not slicer.util.confirmOkCancelDisplay("Third?")
    assert asked == ["Done.", "First?", "Second?", "Third?"]


def test_an_answer_without_button_is_an_error(interactive):
    import qt
    import slicer

    with (
        pytest.raises(AssertionError, match="no button"),
        interactive.answers(qt.QMessageBox.Discard),
    ):
        slicer.util.confirmYesNoDisplay("Really?")


def test_answers_must_be_asked_for(host):
    with pytest.raises(AssertionError, match="not asked for"), host.answers("left over"):
        pass


def test_the_text_of_an_error_with_details(interactive):
    import qt
    import slicer

    with (
        interactive.answers(qt.QMessageBox.Ok) as asked,
        pytest.raises(ValueError, match="inner"),
        slicer.util.tryWithErrorDisplay("Outer"),
    ):
        raise ValueError("inner")
    assert asked == ["Outer\n\ninner"]


def test_static_dialogs_return_what_pythonqt_returns(host):
    import qt

    with host.answers("/data/a.nrrd", "", "name", qt.QMessageBox.Yes):
        assert qt.QFileDialog.getOpenFileName(None, "Open") == "/data/a.nrrd"
        assert qt.QFileDialog.getExistingDirectory(None, "Folder") == ""
        assert qt.QInputDialog.getText(None, "Name", "Name:") == "name"
        buttons = qt.QMessageBox.Yes | qt.QMessageBox.No
        assert qt.QMessageBox.question(None, "Title", "Sure?", buttons) == qt.QMessageBox.Yes


def test_own_dialogs_take_a_result_or_a_function(host):
    import qt

    dialog = qt.QDialog()
    dialog.windowTitle = "Settings"
    edit = qt.QLineEdit(dialog)
    qt.QPushButton("OK", dialog)

    def fill(opened):
        edit.text = "filled"
        opened.accept()

    with host.answers(qt.QDialog.Rejected, fill) as asked:
        assert dialog.exec_() == qt.QDialog.Rejected
        assert dialog.exec_() == qt.QDialog.Accepted
    assert asked == ["Settings", "Settings"] and edit.text == "filled"


def test_delay_display_closes_itself(host):
    import time

    import slicer

    begin = time.monotonic()
    slicer.util.delayDisplay("Look", 450)
    assert time.monotonic() - begin > 0.4


def test_a_box_that_is_not_to_be_shown_again(interactive):
    import qt
    import slicer

    slicer.app.settings().setValue("Example/DontShow", int(qt.QMessageBox.Ok.value))
    assert slicer.util.confirmOkCancelDisplay("Again?", dontShowAgainSettingsKey="Example/DontShow")
