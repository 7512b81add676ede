"""Durations in words, sentences that wrap, and the status line."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "a few seconds left"),
        (9.9, "a few seconds left"),
        (27, "about 30 seconds left"),
        (61, "about a minute left"),
        (600, "about 10 minutes left"),
        (5940, "about 99 minutes left"),
        (6000, "about 2 hours left"),
        (36000, "about 10 hours left"),
    ],
)
def test_remaining_time_in_words(host, seconds, words):
    from MedDeepLib.panels.status import remaining_in_words

    assert remaining_in_words(seconds) == words


def test_long_paths_can_break_and_words_stay_whole(host):
    from MedDeepLib.panels.status import breakable

    path = "/home/somebody/with/a/very/long/path/dataset.json"
    broken = breakable(f"The dataset {path} does not exist.")
    assert broken.replace("\u200b", "") == f"The dataset {path} does not exist."
    assert max(len(word) for word in broken.replace("\u200b", " ").split()) < 15
    assert breakable("A sentence of short words.") == "A sentence of short words."


def test_a_long_path_does_not_widen_the_panel(host):
    import qt
    from MedDeepLib.panels.status import StatusLine

    widget = qt.QWidget()
    icon, text = qt.QLabel(widget), qt.QLabel(widget)
    text.wordWrap = True
    line = StatusLine(icon, text)
    line.error("The dataset /" + "folder/" * 40 + "dataset.json does not exist.")
    assert text.minimumSizeHint().width() < 200
    assert line.text.endswith("folder/dataset.json does not exist.")
    assert not icon.pixmap.isNull()
    line.info("Fine.")
    assert not icon.isVisible()
    widget.delete()
