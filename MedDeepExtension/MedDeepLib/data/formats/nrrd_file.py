"""The part of the NRRD format that segmentations need: key-value pairs in UTF-8 and compressed label arrays.

3D Slicer keeps names of segments as UTF-8 in the key-value pairs of the header; pynrrd allows only ASCII.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from pathlib import Path

import numpy as np

COMPRESSION_LEVEL = 4
ELEMENT_TYPES = {np.dtype(np.uint8): "unsigned char", np.dtype(np.uint16): "unsigned short"}
LONGEST_LINE = 1 << 20


def write_labels(path: Path, labels: np.ndarray, affine_lps: np.ndarray, key_values: Mapping[str, str]) -> None:
    """Write a uint8 or uint16 array (I, J, K), or layers (L, I, J, K), as a gzip-compressed NRRD file.

    ``affine_lps`` is 4x4, IJK to LPS, millimetres.

    Raises:
        OSError: the file could not be written.
    """
    directions = " ".join(_vector(affine_lps[:3, axis]) for axis in range(3))
    layers = labels.ndim - 3  # 0 or 1
    lines = [
        "NRRD0004",
        f"type: {ELEMENT_TYPES[labels.dtype]}",
        f"dimension: {labels.ndim}",
        "space: left-posterior-superior",
        "sizes: " + " ".join(str(size) for size in labels.shape),
        f"space directions: {'none ' * layers}{directions}",
        f"kinds: {'list ' * layers}domain domain domain",
        "endian: little",
        "encoding: gzip",
        f"space origin: {_vector(affine_lps[:3, 3])}",
        *(f"{key}:={_escaped(value)}" for key, value in key_values.items()),
    ]
    with path.open("wb") as file:
        file.write(("\n".join(lines) + "\n\n").encode("utf-8"))
        with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=COMPRESSION_LEVEL, mtime=0) as packed:
            for k in range(labels.shape[-1]):  # one plane at a time needs no second copy of the array
                packed.write(labels[..., k].astype(labels.dtype.newbyteorder("<"), copy=False).tobytes("F"))


def read_key_values(path: Path) -> dict[str, str]:
    """The key-value pairs of an NRRD header."""
    key_values = {}
    with path.open("rb") as file:
        while (line := file.readline(LONGEST_LINE)) not in (b"", b"\n", b"\r\n"):
            key, found, value = line.decode("utf-8", "replace").rstrip("\r\n").partition(":=")
            if found:
                key_values[key] = _unescaped(value)
    return key_values


def _vector(values: np.ndarray) -> str:
    return "(" + ",".join(repr(float(value)) for value in values) + ")"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n")


def _unescaped(value: str) -> str:
    return "\\".join(part.replace("\\n", "\n") for part in value.split("\\\\"))
