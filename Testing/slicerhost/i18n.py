"""Stand-in of slicer.i18n: translation of the texts of scripted modules."""

from __future__ import annotations

import functools
import inspect
import logging
import string
from pathlib import Path

import slicer


def translate(context: str, text: str) -> str:
    """Return the application's translation of the text in the context; the text itself without one."""
    application = getattr(slicer, "app", None)
    return text if application is None else application.translate(context, text)


def tr(text: str) -> str:
    """Return the translation of the text in the context of the calling file.

    A translation whose {placeholders} differ from the text's is not used, since `format` would fail on it.
    """
    caller = inspect.currentframe().f_back
    context = getContext(inspect.getsourcefile(caller) or inspect.getfile(caller))
    translated = translate(context, text)
    if translated != text and _placeholders(translated) != _placeholders(text):
        logging.warning(
            "The translation of %r in %s to %r is not used: other placeholders.", text, context, translated
        )
        return text
    return translated


@functools.cache
def getContext(sourceFile: str) -> str:
    """Return the translation context of a file: `module`, or `package.module` inside a package."""
    path = Path(sourceFile)
    if not path.is_file():
        return path.name
    isInPackage = (path.parent / "__init__.py").is_file()
    return f"{path.parent.name}.{path.stem}" if isInPackage else path.stem


def _placeholders(text: str) -> set[str] | None:
    """Return the names in braces; None if the text is no valid format."""
    try:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}
    except ValueError:
        return None
