"""Pictures (PNG, JPEG): what their headers say, and whether they are complete.

A picture is an image of one slice. ITK reads its voxels, and gives it the same place in space as Slicer does: columns
run to the patient's left, rows to the back. ITK fills the missing part of a truncated JPEG with grey without a word,
so completeness is checked here.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

from MedDeepLib.data.files import PICTURE_ENDINGS
from MedDeepLib.errors import UserError

COLORS = ("red", "green", "blue")
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"IEND\xaeB`\x82"
_PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 1, 6: 3}  # by colour type, without transparency
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_END = b"\xff\xd9"
_TRAILING = 1 << 16  # bytes after the end of a JPEG in which its end is looked for


def is_picture(path: str | Path) -> bool:
    """Whether the name of a file is that of a PNG or a JPEG."""
    return str(path).lower().endswith(PICTURE_ENDINGS)


def files_per_case(channels: Sequence[str], names: Iterable[str | Path]) -> int:
    """How many files hold the channels of a case: one picture holds red, green and blue, any other file one channel."""
    return 1 if tuple(channels) == COLORS and all(map(is_picture, names)) else len(channels)


def channel_count(path: Path) -> int:
    """1 for a grey picture, 3 for a coloured one (see :data:`COLORS`); transparency is no channel.

    Raises UserError when the file is no picture, or has the four colours of a printer.
    """
    try:
        with path.open("rb") as file:
            start = file.read(len(_PNG))
            count = _png_channels(file) if start == _PNG else _jpeg_channels(file) if start[:2] == b"\xff\xd8" else 0
    except (OSError, struct.error):
        count = 0
    if count == 4:
        raise UserError(f"{path} has the four colours of a printer (CMYK): save it in red, green and blue.")
    if count not in (1, 3):
        raise _damaged(path, "it is no picture")
    return count


def check_complete(path: Path) -> None:
    """Raise UserError if a picture ends too early."""
    with path.open("rb") as file:
        is_png = file.read(len(_PNG)) == _PNG
        file.seek(max(0, path.stat().st_size - _TRAILING))
        end = file.read()
    if (_PNG_END if is_png else _JPEG_END) not in end:
        raise _damaged(path, "it ends too early")


def _png_channels(file: BinaryIO) -> int:
    _, kind, _, _, _, color = struct.unpack(">I4sIIBB", file.read(18))
    return _PNG_CHANNELS.get(color, 0) if kind == b"IHDR" else 0


def _jpeg_channels(file: BinaryIO) -> int:
    """The number of components in the frame header, which follows some other segments."""
    file.seek(2)
    while True:
        marker, code = struct.unpack("BB", file.read(2))
        if marker != 0xFF:
            return 0
        if code == 0xFF:  # fill bytes may precede a marker
            file.seek(-1, 1)
            continue
        (length,) = struct.unpack(">H", file.read(2))
        if code in _JPEG_FRAMES:
            return struct.unpack(">BHHB", file.read(6))[3]
        file.seek(length - 2, 1)


def _damaged(path: Path, reason: str) -> UserError:
    return UserError(f"{path} is damaged or incomplete ({reason}); copy or export it again.")
