"""Files and folders outside the panel."""

from __future__ import annotations

from pathlib import Path

import qt


def open_folder(path: Path) -> None:
    """Show a folder in the file manager."""
    qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(path)))
