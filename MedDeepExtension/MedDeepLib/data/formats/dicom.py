"""DICOM series: the series in a folder, their completeness, and their voxels.

A series is named by its folder, or by ``folder::SeriesInstanceUID`` where a folder holds several. Slices are
put in order by their position in the patient; file names and instance numbers do not matter.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from MedDeepLib.data.formats.dicom_series import (
    HEADER_TAGS,
    Series,
    Slice,
    series_from_headers,
    slices_of,
    volume_grid,
    voxel_type,
)
from MedDeepLib.data.formats.integrity import damaged
from MedDeepLib.data.formats.lean_itk import load_itk
from MedDeepLib.data.image import Image, ImageInfo
from MedDeepLib.errors import UserError

if TYPE_CHECKING:
    import pydicom

__all__ = ["Series", "choose_series", "is_dicom", "read_series", "series_in", "series_info"]

SEPARATOR = "::"
MAGIC_OFFSET = 128
MAGIC = b"DICM"
# Objects found in image series folders that are not images of the patient.
NOT_IMAGES = {"SEG", "SR", "PR", "KO", "REG", "RTSTRUCT", "RTPLAN", "DOC"}


def is_dicom(path: str | Path) -> bool:
    """True for a folder, for ``folder::SeriesInstanceUID`` and for a DICOM file, whatever its name."""
    if SEPARATOR in str(path) or Path(path).is_dir():
        return True
    if not Path(path).is_file():
        return False
    if Path(path).suffix.lower() == ".dcm":
        return True
    try:
        with Path(path).open("rb") as file:
            return file.read(MAGIC_OFFSET + len(MAGIC))[MAGIC_OFFSET:] == MAGIC
    except OSError:
        return False


def series_in(folder: str | Path) -> list[Series]:
    """All image series in a folder and its sub-folders, each in slice order, sorted by description.

    The series are not checked for completeness; :func:`read_series` and :func:`series_info` do that.

    Args:
        folder: a folder, or one DICOM file.

    Raises:
        UserError: the folder does not exist, or a file in it is a damaged DICOM file.
    """
    folder = Path(folder)
    if not folder.exists():
        raise UserError(f"{folder} does not exist; check the name of the DICOM folder.")
    by_uid: dict[str, list[pydicom.Dataset]] = {}
    for path in _files_in(folder):
        header = _read_header(path)
        if header is not None:
            by_uid.setdefault(str(header.get("SeriesInstanceUID", "")), []).append(header)
    series = [series_from_headers(uid, folder, headers) for uid, headers in by_uid.items()]
    return sorted(series, key=lambda one: (one.description, one.uid))


def choose_series(path: str | Path) -> Series:
    """The one series that ``folder`` or ``folder::SeriesInstanceUID`` stands for.

    Raises:
        UserError: no series, several to choose from (they are listed), or no series of that UID.
    """
    folder, _, uid = str(path).partition(SEPARATOR)
    found = series_in(folder)
    if not found:
        raise UserError(f"{folder} contains no DICOM images; choose the folder that holds the slices.")
    chosen = [one for one in found if one.uid == uid] if uid else found
    if len(chosen) == 1:
        return chosen[0]
    listing = "; ".join(f"{one.label} {SEPARATOR}{one.uid}" for one in found)
    if uid:
        raise UserError(f"{folder} has no series {uid}; it has {listing}.")
    raise UserError(
        f"{folder} holds {len(found)} series; give FOLDER{SEPARATOR}SeriesInstanceUID with one of: {listing}."
    )


def series_info(series: Series) -> ImageInfo:
    """Grid and voxel type of a series from its headers.

    Raises:
        UserError: a slice is missing or duplicate, or the slices do not form one regular volume.
    """
    shape, affine = volume_grid(series)
    return ImageInfo(series.folder, shape, affine, voxel_type(series), channels=1)


def read_series(series: Series) -> Image:
    """Voxels of a series with rescale slope and intercept applied (so CT is in Hounsfield units).

    Raises:
        UserError: as for :func:`series_info`; damaged pixels; a compression that cannot be decoded here.
    """
    shape, affine = volume_grid(series)
    # Planes are stored one after the other, as in the files; the caller gets a (1, I, J, K) view of them.
    planes = np.empty(shape[::-1], voxel_type(series))
    path, frames = series.slices[0].path, _decode(series.slices[0])
    for number, one in enumerate(series.slices):
        if one.path != path:
            path, frames = one.path, _decode(one)
        plane = frames[one.frame]
        planes[number] = plane if frames.dtype == np.float32 else _rescaled(plane, one, planes.dtype)
    metadata = {
        "SeriesInstanceUID": series.uid,
        "SeriesDescription": series.description,
        "Modality": series.modality,
    }
    return Image(planes.transpose(2, 1, 0)[np.newaxis], affine, series.folder, metadata)


def _files_in(folder: Path) -> list[Path]:
    if folder.is_file():
        return [folder]
    found = []
    for directory, _, names in os.walk(folder):
        found += [Path(directory) / name for name in names if not name.startswith(".") and name != "DICOMDIR"]
    return sorted(found)


def _read_header(path: Path) -> pydicom.Dataset | None:
    """The header of a DICOM image, or None for every other file."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=HEADER_TAGS)
        header.filename = str(path)
        if "Rows" not in header or header.get("Modality") in NOT_IMAGES:
            return None
        slices_of(header)  # pydicom converts values lazily, and raises only then
    except InvalidDicomError as error:
        if path.suffix.lower() == ".dcm":
            raise damaged(path, "its DICOM header is missing") from error
        return None
    except (OSError, EOFError, ValueError, TypeError, KeyError, AttributeError, NotImplementedError) as error:
        raise damaged(path, "its DICOM header is invalid") from error
    return header


def _rescaled(plane: np.ndarray, one: Slice, dtype: np.dtype) -> np.ndarray:
    if one.slope == 1 and one.intercept == 0:
        return plane
    if dtype == np.float32:
        return plane * np.float32(one.slope) + np.float32(one.intercept)
    return plane.astype(np.int32) + int(one.intercept)


def _decode(one: Slice) -> np.ndarray:
    """Frames (frames, rows, columns) of a file; float32 means that slope and intercept are already
    applied."""
    import pydicom.uid

    dataset = pydicom.dcmread(one.path)
    expected = (int(dataset.get("NumberOfFrames", 1) or 1), one.rows, one.columns)
    try:
        frames = dataset.pixel_array
    except Exception as error:  # pydicom's decoders raise many kinds of errors
        if not dataset.file_meta.get("TransferSyntaxUID", pydicom.uid.ImplicitVRLittleEndian).is_compressed:
            raise damaged(one.path, "its pixels are incomplete") from error
        frames = _decode_with_itk(one.path, dataset.file_meta.TransferSyntaxUID.name)
    if frames.size != np.prod(expected):
        raise damaged(one.path, f"it has {frames.size} pixels instead of {np.prod(expected)}")
    return frames.reshape(expected)


def _decode_with_itk(path: Path, compression: str) -> np.ndarray:
    itk = load_itk()
    try:
        return itk.array_from_image(itk.imread(str(path), itk.F))
    except RuntimeError as error:
        raise UserError(
            f"{path} is compressed with {compression}, which cannot be decoded here or is damaged; "
            "export the series again without compression."
        ) from error
