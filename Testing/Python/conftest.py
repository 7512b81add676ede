"""Fixtures for all tests that need Slicer's application."""

from __future__ import annotations

import sys
import traceback

import pytest


@pytest.fixture
def host():
    """The running slicerhost, with an empty scene before and after the test.

    Qt drops an exception raised in a slot after printing it. Here such an exception fails the test, even if
    the test itself found nothing wrong.
    """
    import slicerhost

    slicerhost.start(testing=True)
    slicerhost.close_scene()
    slicerhost.forget_settings()
    problems: list[str] = []

    def collect(kind, error, trace) -> None:
        problems.append("".join(traceback.format_exception(kind, error, trace)))

    previous, sys.excepthook = sys.excepthook, collect
    try:
        yield slicerhost
        slicerhost.process_events()
    finally:
        slicerhost.unload_all_modules()
        slicerhost.close_scene()
        sys.excepthook = previous
    if problems:
        pytest.fail("Exceptions in functions called by Qt:\n" + "\n".join(problems), pytrace=False)
