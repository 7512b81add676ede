"""Finds truncated and damaged image files that ITK would read as if nothing were wrong.

ITK fills the missing voxels of a truncated NIfTI file with zeros, ignores the checksums of compressed NIfTI
and MetaImage files, takes a voxel spacing of zero in a NIfTI header for one, and puts zeros where a NIfTI file has
voxels that are not a number.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, cast

import numpy as np

from MedDeepLib.data.formats.pictures import check_complete, is_picture
from MedDeepLib.errors import UserError

CHUNK_BYTES = 1 << 16  # at most a thousand times more when unpacked
GZIP_OR_ZLIB = 47  # window bits with which zlib recognises both formats
LONGEST_HEADER = 1 << 20
_FLOATS = {16: "f4", 64: "f8", 32: "f4", 1792: "f8"}  # NIfTI's codes; the last two are complex


@dataclass(frozen=True)
class NiftiHeader:
    """The fields of a NIfTI-1 or -2 header that this module checks; sizes in voxels, spacing in mm."""

    sizes: tuple[int, ...]
    spacing: tuple[float, ...]
    data_offset: int
    data_bytes: int
    float_type: np.dtype | None


def check_integrity(path: Path) -> int:
    """Raise a UserError if the file is shorter than its header says or its compressed data is damaged.

    Returns:
        How many voxels of a NIfTI file are not a number or infinite; ITK shows them as zeros.
    """
    name = path.name.lower()
    if name.endswith((".nii", ".nii.gz")):
        return _check_nifti(path)
    if name.endswith(".nrrd"):
        _check_nrrd(path)
    elif name.endswith(".mha"):
        _check_mha(path)
    elif is_picture(path):
        check_complete(path)
    return 0


def damaged(path: Path, reason: str) -> UserError:
    """The error for a file with invalid contents."""
    return UserError(f"{path} is damaged or incomplete ({reason}); copy or export it again.")


def not_finite(path: Path | str, voxels: int) -> UserError:
    """The error for voxels that are not a number or infinite."""
    return UserError(
        f"{path} has {voxels} {'voxels that are' if voxels > 1 else 'voxel that is'} not a number or infinite; replace "
        "such values, for instance with the background value, before using the image."
    )


def bad_spacing(path: Path, spacing: Sequence[float]) -> UserError:
    """The error for a voxel spacing that is zero, negative or not a number."""
    shown = _times(spacing)
    return UserError(f"{path} has a voxel spacing of {shown} mm, which must be positive; correct its header.")


def read_nifti_header(path: Path) -> NiftiHeader:
    """Read the header of a ``.nii`` or ``.nii.gz`` file.

    Raises:
        UserError: it is not a NIfTI file, or ends within the header.
    """
    try:
        with _open_maybe_compressed(path) as file:
            raw = file.read(540)
    except (OSError, EOFError, zlib.error) as error:
        raise damaged(path, "its compressed header cannot be unpacked") from error
    for byte_order in "<>":
        if len(raw) >= 348 and struct.unpack_from(byte_order + "i", raw)[0] == 348:
            sizes = struct.unpack_from(byte_order + "8h", raw, 40)
            datatype, bits = struct.unpack_from(byte_order + "2h", raw, 70)
            spacing = struct.unpack_from(byte_order + "8f", raw, 76)
            offset = struct.unpack_from(byte_order + "f", raw, 108)[0]
            break
        if len(raw) >= 540 and struct.unpack_from(byte_order + "i", raw)[0] == 540:
            datatype, bits = struct.unpack_from(byte_order + "2h", raw, 12)
            sizes = struct.unpack_from(byte_order + "8q", raw, 16)
            spacing = struct.unpack_from(byte_order + "8d", raw, 104)
            offset = struct.unpack_from(byte_order + "q", raw, 168)[0]
            break
    else:
        raise damaged(path, "it has no NIfTI header")
    dimensions = sizes[0]
    if not 1 <= dimensions <= 7:
        raise damaged(path, f"its header claims {dimensions} dimensions")
    sizes = sizes[1 : dimensions + 1]
    float_type = np.dtype(byte_order + _FLOATS[datatype]) if datatype in _FLOATS else None
    return NiftiHeader(sizes, spacing[1 : dimensions + 1], int(offset), math.prod(sizes) * bits // 8, float_type)


def _open_maybe_compressed(path: Path) -> IO[bytes]:
    # The contents decide, not the name: compressed files called .nii are common.
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    return cast("IO[bytes]", gzip.open(path, "rb")) if compressed else path.open("rb")


def _check_nifti(path: Path) -> int:
    header = read_nifti_header(path)
    if any(size <= 0 for size in header.sizes):
        raise UserError(f"{path} holds no voxels (its size is {_times(header.sizes)}); export it again.")
    if not all(value > 0 for value in header.spacing[:3]):
        raise bad_spacing(path, header.spacing[:3])
    expected = header.data_offset + header.data_bytes
    present = 0
    voxels = _FiniteVoxels(header)
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        for piece in _unpacked(path, file) if compressed else _pieces(file):
            present += len(piece)
            voxels.look_at(piece)
    if present < expected:
        raise damaged(path, f"{present} of {expected} bytes are there")
    return voxels.bad


class _FiniteVoxels:
    """Counts the voxels of a NIfTI file that are not a number or infinite, while it is read in pieces."""

    def __init__(self, header: NiftiHeader):
        self.bad = 0
        self._type = header.float_type
        self._skip, self._left = header.data_offset, header.data_bytes
        self._rest = b""

    def look_at(self, piece: bytes) -> None:
        if self._type is None:
            return
        skipped = min(self._skip, len(piece))
        self._skip -= skipped
        data = piece[skipped : skipped + self._left]
        self._left -= len(data)
        data = self._rest + data
        whole = len(data) - len(data) % self._type.itemsize
        self._rest = data[whole:]
        values = np.frombuffer(data, self._type, whole // self._type.itemsize)
        self.bad += values.size - int(np.isfinite(values).sum())


def _check_nrrd(path: Path) -> None:
    with path.open("rb") as file:
        fields = _read_text_header(file, separator=b":")
        if fields.get("encoding") in ("gzip", "gz") and "data file" not in fields:
            _unpack(path, file)


def _check_mha(path: Path) -> None:
    with path.open("rb") as file:
        fields = _read_text_header(file, separator=b"=", last_key="elementdatafile")
        is_compressed = fields.get("compresseddata", "").lower() == "true"
        if is_compressed and fields.get("elementdatafile", "").upper() == "LOCAL":
            _unpack(path, file)


def _read_text_header(file: BinaryIO, separator: bytes, last_key: str | None = None) -> dict[str, str]:
    """Fields of an NRRD or MetaImage header in lower case; leaves the file at the first byte of the data."""
    fields: dict[str, str] = {}
    while file.tell() < LONGEST_HEADER:
        line = file.readline(LONGEST_HEADER)
        if not line or line in (b"\n", b"\r\n"):
            break
        key, found, value = line.partition(separator)
        if found:
            name = key.strip().lower().decode("utf-8", "replace")
            fields[name] = value.strip().decode("utf-8", "replace")
            if name == last_key:
                break
    return fields


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(CHUNK_BYTES):
        yield piece


def _unpack(path: Path, file: BinaryIO) -> None:
    """Raise a UserError if the rest of ``file`` cannot be unpacked."""
    for _ in _unpacked(path, file):
        pass


def _unpacked(path: Path, file: BinaryIO) -> Iterator[bytes]:
    """Unpack the rest of ``file`` in small pieces, which checks its checksums."""
    decompressor = zlib.decompressobj(GZIP_OR_ZLIB)
    finished = False
    try:
        while chunk := file.read(CHUNK_BYTES):
            while chunk:
                yield decompressor.decompress(chunk)
                finished = decompressor.eof
                chunk = decompressor.unused_data if finished else b""
                if finished:
                    decompressor = zlib.decompressobj(GZIP_OR_ZLIB)
                    chunk = chunk if chunk[:2] == b"\x1f\x8b" else b""  # a further member; else padding
    except zlib.error as error:
        raise damaged(path, "its compressed voxels cannot be unpacked") from error
    if not finished:
        raise damaged(path, "its compressed voxels end too early")


def _times(values: Sequence[float]) -> str:
    return " x ".join(f"{value:g}" for value in values)
