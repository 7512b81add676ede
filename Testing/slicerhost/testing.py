"""Stand-in of slicer.testing."""

from __future__ import annotations

import sys
import unittest

EXIT_SUCCESS, EXIT_FAILURE = 0, 1


def runUnitTest(path: str | list[str] | tuple[str, ...], testname: str) -> bool:
    """Run the test cases of a module in the folder(s) and return whether all passed; Slicer would exit."""
    for folder in [path] if isinstance(path, str) else path:
        if folder not in sys.path:
            sys.path.insert(0, folder)
    suite = unittest.defaultTestLoader.loadTestsFromName(testname)
    return unittest.TextTestRunner(verbosity=0).run(suite).wasSuccessful()


def exitFailure(message: str = "") -> None:
    """Raise SystemExit with the code of a failure; the real one ends the application."""
    print(message or "Failed")
    raise SystemExit(EXIT_FAILURE)


def exitSuccess() -> None:
    raise SystemExit(EXIT_SUCCESS)
