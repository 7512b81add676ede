"""Import modules from an install tree, in a process that does not see the source tree.

Called by test_install_tree.py as ``python -I import_installed.py INSTALL_FOLDER [--host FOLDER] [--forbid PACKAGE...]
--modules MODULE...``. ``--host`` names a folder with a copy of slicerhost, whose stand-in of the application is started
first. Every module that cannot be imported, or that comes from elsewhere, is printed with the reason, and so is every
forbidden package that was loaded with them; the exit code is then 1.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path


def why_not_importable(name: str, install_folder: Path) -> str | None:
    """Import the module; return None if it came from `install_folder`, and what went wrong if not."""
    try:
        module = importlib.import_module(name)
    except Exception as error:  # noqa: BLE001 - whatever a module raises at import is what is asked for here
        return f"{type(error).__name__}: {error}"
    if install_folder not in Path(module.__file__).resolve().parents:
        return f"was imported from {module.__file__} instead of the install tree"
    return None


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("install_folder", type=Path)
    parser.add_argument("--host", type=Path)
    parser.add_argument("--forbid", nargs="+", default=[])
    parser.add_argument("--modules", nargs="+", required=True)
    arguments = parser.parse_args()

    install_folder = arguments.install_folder.resolve()
    sys.path.insert(0, str(install_folder))
    if arguments.host:
        sys.path.insert(1, str(arguments.host.resolve()))
        import slicerhost

        slicerhost.start()

    reasons = {name: why_not_importable(name, install_folder) for name in arguments.modules}
    failures = [f"{name}: {reason}" for name, reason in reasons.items() if reason]
    failures += [f"{name}: was loaded, but must not be" for name in arguments.forbid if name in sys.modules]
    print("\n".join(failures))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
