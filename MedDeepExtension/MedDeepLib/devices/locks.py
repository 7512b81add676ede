"""Locks that the operating system releases when their process ends, however it ends, and where they are stored.

The folder belongs to one user and one computer: a home folder may be shared by several computers, each with its own
devices.
"""

from __future__ import annotations

import getpass
import os
import platform
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

ENVIRONMENT_VARIABLE = "MEDDEEP_STATE"


def state_folder() -> Path:
    """The folder with the locks and the queue of this user on this computer."""
    chosen = os.environ.get(ENVIRONMENT_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    folder = base / "MedDeepExtension" / file_name(platform.node() or "computer")
    return folder if _writable(folder) else Path(tempfile.gettempdir()) / f"MedDeepExtension-{_user()}"


def _writable(folder: Path) -> bool:
    """Accounts of clusters and containers often have no home that can be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


def _user() -> str:
    try:
        return file_name(getpass.getuser())
    except (OSError, KeyError):  # a user without a name
        return str(os.getuid())


def file_name(text: str) -> str:
    """``text`` with every character replaced that some file system does not allow."""
    return re.sub(r"[^A-Za-z0-9-]", "_", text)


def file_lock(path: Path) -> Any:
    """A lock on ``path`` that is held by the process, not by the thread that has taken it."""
    from filelock import FileLock  # at the first use: Slicer may not have the package yet

    return FileLock(path, thread_local=False)


def try_lock(path: Path) -> Any | None:
    """The lock on ``path``, taken, or None when another holder has it."""
    from filelock import Timeout

    lock = file_lock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None
    return lock


def is_held(path: Path) -> bool:
    """Whether anyone holds the lock on ``path``. For a moment this takes the lock itself: ask one at a time."""
    if not path.exists():
        return False
    lock = try_lock(path)
    if lock is None:
        return True
    lock.release()
    return False
