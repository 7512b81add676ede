"""Archives from elsewhere: no files outside the folder, no links, no zip bombs.

Folders from elsewhere are copied under the same rules.
"""

from __future__ import annotations

import os
import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from MedDeepLib.bundles.layout import CONVERTED
from MedDeepLib.errors import CannotWrite, UserError

MOST_BYTES = 20_000_000_000
MOST_FILES = 10_000
MOST_RATIO = 100  # weights do not shrink to half, text to a tenth or twentieth; zeros shrink to a thousandth
_RATIO_COUNTS_FROM = 10_000_000
_CHUNK = 1 << 20
_LONGEST_NAME = 200
_WINDOWS_NAMES = {"con", "prn", "aux", "nul", *(f"com{n}" for n in range(10)), *(f"lpt{n}" for n in range(10))}
# Useless files, bytecode that Python would run in place of a readable source file, and what was converted here.
_LEFT_OUT = {"__pycache__", "__MACOSX", ".git", ".DS_Store", CONVERTED}

Progress = Callable[[int, int], None]


def unpack(archive: Path, folder: Path, progress: Progress = lambda done, total: None) -> None:
    """Unpack a zip file into ``folder``, which must not exist yet; after an error it does not exist either.

    Raises UserError when the archive is damaged, or contains a link, a path outside the folder, or too much
    data; CannotWrite when the disk is full.
    """
    try:
        with zipfile.ZipFile(archive) as content:
            entries = _checked_entries(archive, content)
            total = sum(entry.file_size for entry in entries)
            _check_room(folder, total)
            folder.mkdir(parents=True)
            _extract(archive, content, entries, folder, lambda done: progress(done, total))
    except UserError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise UserError(f"The archive {archive} is damaged ({error}): copy or download it again.") from None
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise CannotWrite(
            f"{archive} could not be unpacked into {folder} ({error}): free some space and try again."
        ) from error


def copy(source: Path, folder: Path, progress: Progress = lambda done, total: None) -> None:
    """Copy a folder into ``folder``, which must not exist yet; after an error it does not exist either.

    Raises UserError when it holds links or special files, or is too large; CannotWrite when the disk is full.
    """
    files = list(files_below(source))
    total = sum(file.stat().st_size for file in files)
    if total > MOST_BYTES:
        raise UserError(f"{source} holds {_size(total)}, more than the {_size(MOST_BYTES)} that a model may have.")
    try:
        _check_room(folder, total)
        folder.mkdir(parents=True)
        done = 0
        for file in files:
            target = folder / file.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
            done += file.stat().st_size
            progress(done, total)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise CannotWrite(f"{source} could not be copied to {folder} ({error}): free some space.") from error


def files_below(folder: Path) -> Iterator[Path]:
    """All files below a folder in a fixed order, except useless ones.

    Raises UserError for links and special files, and for more files than a model has.
    """
    count = 0
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in _LEFT_OUT)
        for name in sorted([*files, *folders]):
            path = Path(root, name)
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode) or not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise UserError(f"{path} is a link or a special file: put the real file in its place.")
            if stat.S_ISREG(mode) and name not in _LEFT_OUT and not name.endswith(".pyc"):
                count += 1
                if count > MOST_FILES:
                    raise UserError(f"{folder} holds more than {MOST_FILES} files: choose the folder of one model.")
                yield path


def pack(folder: Path, archive: Path, name: str) -> None:
    """Write a folder to a zip file, below ``name/``; equal folders give equal archives."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as content:
        for file in files_below(folder):
            entry = zipfile.ZipInfo(f"{name}/{file.relative_to(folder).as_posix()}", (2020, 1, 1, 0, 0, 0))
            # Weights do not become smaller, only slower to read.
            entry.compress_type = zipfile.ZIP_STORED if file.stat().st_size > _CHUNK else zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            with file.open("rb") as source, content.open(entry, "w", force_zip64=True) as target:
                shutil.copyfileobj(source, target, _CHUNK)


def _checked_entries(archive: Path, content: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    entries = [entry for entry in content.infolist() if not _is_left_out(entry.filename)]
    if len(entries) > MOST_FILES:
        raise UserError(f"The archive {archive} holds {len(entries)} files: a model has at most {MOST_FILES}.")
    names: set[str] = set()
    for entry in entries:
        _check_name(archive, entry.filename)
        mode = entry.external_attr >> 16
        if stat.S_IFMT(mode) and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise UserError(
                f"The archive {archive} holds '{entry.filename}', which is a link or a special file: it was not "
                "unpacked."
            )
        if entry.flag_bits & 1:
            raise UserError(f"The archive {archive} is protected by a password: unpack it and choose the folder.")
        name = entry.filename.rstrip("/").casefold()
        if name in names:
            raise UserError(f"The archive {archive} holds '{entry.filename}' twice: it was not unpacked.")
        names.add(name)
    _check_sizes(archive, entries)
    return entries


def _check_name(archive: Path, name: str) -> None:
    """Refuse every name that any system would put outside the folder, or cannot create."""
    parts = PurePosixPath(name).parts
    outside = name.startswith("/") or ".." in parts or "\\" in name or ":" in name
    impossible = (
        not parts
        or any(ord(character) < 32 for character in name)
        or len(name) > _LONGEST_NAME
        or any(part.split(".")[0].casefold() in _WINDOWS_NAMES or part != part.rstrip(" .") for part in parts)
    )
    if outside:
        raise UserError(f"The archive {archive} holds '{name}', which is outside its folder: it was not unpacked.")
    if impossible:
        raise UserError(f"The archive {archive} contains a file with the invalid name {name!r}.")


def _check_sizes(archive: Path, entries: list[zipfile.ZipInfo]) -> None:
    total = sum(entry.file_size for entry in entries)
    packed = sum(entry.compress_size for entry in entries)
    if total > MOST_BYTES:
        raise UserError(
            f"The archive {archive} would unpack to {_size(total)}, more than the {_size(MOST_BYTES)} that a model may "
            "have: it was not unpacked."
        )
    for entry in entries:
        if entry.file_size > max(_RATIO_COUNTS_FROM, MOST_RATIO * entry.compress_size):
            raise UserError(
                f"'{entry.filename}' in the archive {archive} would grow from {_size(entry.compress_size)} to "
                f"{_size(entry.file_size)}, as no model does: it was not unpacked."
            )
    if packed > archive.stat().st_size:
        raise UserError(f"The files in the archive {archive} overlap, as only in a malicious one: it was not unpacked.")


def _extract(archive: Path, content: zipfile.ZipFile, entries, folder: Path, progress: Callable[[int], None]) -> None:
    """Write the entries, counting the actual bytes: a header may claim fewer."""
    done = 0
    for entry in entries:
        target = folder.joinpath(*PurePosixPath(entry.filename).parts)
        if entry.is_dir():
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        written = 0
        with content.open(entry) as source, target.open("xb") as file:
            while chunk := source.read(_CHUNK):
                written += len(chunk)
                if written > entry.file_size or done + written > MOST_BYTES:
                    raise UserError(f"The archive {archive} contains more than its headers claim: it was not unpacked.")
                file.write(chunk)
                progress(done + written)
        done += written


def _check_room(folder: Path, size: int) -> None:
    existing = folder
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    if size > free:
        raise CannotWrite(
            f"The model needs {_size(size)} in {folder.parent}, but only {_size(free)} are free: free some space."
        )


def _is_left_out(name: str) -> bool:
    return name.endswith(".pyc") or bool(_LEFT_OUT & set(PurePosixPath(name).parts))


def _size(size: int) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size} bytes"
