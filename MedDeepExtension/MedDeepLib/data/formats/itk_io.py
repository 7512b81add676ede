"""The ITK half of reading and writing images: headers, voxels and their types."""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from MedDeepLib.data import geometry
from MedDeepLib.data.formats.integrity import bad_spacing, check_integrity, damaged
from MedDeepLib.data.formats.lean_itk import load_itk
from MedDeepLib.data.formats.pictures import channel_count, is_picture
from MedDeepLib.errors import UserError

# Name that ITK gives a component type -> (itk type it is read with, numpy type of the result). ITK's Python
# package has no images of int8 and int64, so these pass through a type that holds their values.
SCALAR_TYPES = {
    "unsigned_char": ("UC", np.uint8),
    "char": ("SS", np.int8),
    "short": ("SS", np.int16),
    "unsigned_short": ("US", np.uint16),
    "int": ("SI", np.int32),
    "unsigned_int": ("UI", np.uint32),
    "long": ("D", np.int64),
    "long_long": ("D", np.int64),
    "unsigned_long": ("ULL", np.uint64),
    "unsigned_long_long": ("ULL", np.uint64),
    "float": ("F", np.float32),
    "double": ("F", np.float32),
}
# Vector images exist for fewer types.
VECTOR_TYPES = {
    "unsigned_char": ("UC", np.uint8),
    "char": ("SS", np.int8),
    "short": ("SS", np.int16),
    "unsigned_short": ("US", np.uint16),
    "int": ("D", np.int32),
    "unsigned_int": ("D", np.uint32),
}
WRITTEN_TYPES = {
    np.dtype(np.bool_): np.uint8,
    np.dtype(np.int8): np.int16,
    np.dtype(np.float16): np.float32,
    np.dtype(np.float64): np.float32,
}


@dataclass(frozen=True, eq=False)
class Header:
    """What ITK reads of an image before its voxels; the fields are those of ``ImageInfo``."""

    shape: tuple[int, ...]
    affine: np.ndarray
    dtype: np.dtype
    channels: int
    itk_type: str
    components: int  # of a voxel in the file: transparency is one, and no channel
    metadata: Mapping[str, Any] = field(default_factory=dict)


def read_header(path: Path) -> Header:
    """Read and check the header of an image file; a picture is an image of one slice.

    Raises:
        UserError: no header, not 3D, no voxels, impossible spacing or axes, complex numbers.
    """
    picture = is_picture(path)
    colors = channel_count(path) if picture else 0
    with _without_twin(path) as readable:
        image_io = _open(path, readable)
    dimensions = image_io.GetNumberOfDimensions()
    sizes = tuple(int(image_io.GetDimensions(axis)) for axis in range(dimensions))
    sizes = (*sizes, 1) if picture and dimensions == 2 else sizes
    _check_sizes(path, sizes)
    spacing = [float(image_io.GetSpacing(axis)) for axis in range(min(3, dimensions))]
    spacing += [1.0] * (3 - len(spacing))
    if not all(value > 0 for value in spacing):
        raise bad_spacing(path, spacing)
    if picture:
        affine = geometry.affine_from_lps(spacing, np.eye(3), np.zeros(3))
    else:
        direction = np.array([image_io.GetDirection(axis) for axis in range(3)]).T
        affine = geometry.affine_from_lps(spacing, direction, [image_io.GetOrigin(axis) for axis in range(3)])
    geometry.check_affine(affine, str(path))
    component = image_io.GetComponentTypeAsString(image_io.GetComponentType())
    channels = int(image_io.GetNumberOfComponents())
    if image_io.GetPixelTypeAsString(image_io.GetPixelType()) == "complex" or component not in SCALAR_TYPES:
        raise UserError(f"{path} holds complex or unknown numbers; export its magnitude as real numbers.")
    types = SCALAR_TYPES if channels == 1 else VECTOR_TYPES
    itk_type, dtype = types.get(component, ("F", np.float32))
    return Header(sizes, affine, np.dtype(dtype), colors or channels, itk_type, channels)


def read_voxels(path: Path, header: Header) -> np.ndarray:
    """Voxels (C, I, J, K) of the file that ``header`` was read from, as a view of ITK's memory where
    possible."""
    itk = load_itk()
    pixel_type = getattr(itk, header.itk_type)
    image_type = itk.Image[pixel_type, 3] if header.components == 1 else itk.VectorImage[pixel_type, 3]
    try:
        with _without_twin(path) as readable:
            reader = itk.ImageFileReader[image_type].New(FileName=str(readable))
            reader.Update()
    except RuntimeError as error:
        raise damaged(path, _reason(error)) from error
    array = itk.array_view_from_image(reader.GetOutput())
    if header.components == 1:
        array = array[..., np.newaxis]
    return array.transpose(3, 2, 1, 0)[: header.channels].astype(header.dtype, copy=False)


def write_voxels(path: Path, array: np.ndarray, affine: np.ndarray, compress: bool) -> None:
    """Write (I, J, K) or (C, I, J, K) voxels; the ending of ``path`` chooses the format.

    Raises:
        OSError: the file could not be written completely, for instance because the disk is full.
    """
    itk = load_itk()
    array = _writable_type(array)
    is_vector = array.ndim == 4
    # ITK keeps the first axis of a file fastest; for arrays that came from ITK this copies nothing.
    stored = np.ascontiguousarray(array.transpose(3, 2, 1, 0) if is_vector else array.transpose(2, 1, 0))
    image = itk.image_view_from_array(stored, is_vector=is_vector)
    spacing, direction, origin = geometry.lps_from_affine(affine)
    image.SetSpacing([float(value) for value in spacing])
    image.SetOrigin([float(value) for value in origin])
    image.SetDirection(itk.matrix_from_array(np.ascontiguousarray(direction)))
    writer = itk.ImageFileWriter[type(image)].New(image, FileName=str(path), UseCompression=compress)
    writer.SetCompressionLevel(1)  # higher levels take several times as long for a few percent
    try:
        writer.Update()
        read_back = read_header(path)
        _check_complete(path, stored, compress)
    except (RuntimeError, UserError) as error:
        raise OSError(f"the disk may be full: {_reason(error)}") from error
    if read_back.shape != array.shape[-3:]:
        raise OSError("the file is incomplete, the disk may be full")


def _check_complete(path: Path, stored: np.ndarray, compressed: bool) -> None:
    """ITK does not always notice an incomplete write, so check the file itself."""
    check_integrity(path)
    if not compressed and not path.name.endswith(".gz") and path.stat().st_size < stored.nbytes:
        raise damaged(path, "voxels are missing")


@contextlib.contextmanager
def _without_twin(path: Path) -> Iterator[Path]:
    """A path that ITK cannot confuse with another file: for ``x.nii.gz`` beside ``x.nii`` it reads the latter."""
    if not (path.name.lower().endswith(".nii.gz") and path.with_suffix("").exists()):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(shutil.copyfile(path, Path(folder) / "image.nii.gz"))


def _open(path: Path, readable: Path) -> Any:
    itk = load_itk()
    try:
        image_io = itk.ImageIOFactory.CreateImageIO(str(readable), itk.CommonEnums.IOFileMode_ReadMode)
        if image_io is None:
            raise damaged(path, f"its contents do not match the ending {path.suffix}")
        image_io.SetFileName(str(readable))
        image_io.ReadImageInformation()
    except RuntimeError as error:
        if "orthonormal" in str(error):  # the NIfTI reader checks the axes itself
            raise UserError(
                f"{path} has slanted or invalid axes; correct its header or resample it to a straight grid."
            ) from error
        if "size is zero" in str(error):
            raise UserError(f"{path} holds no voxels; export it again.") from error
        raise damaged(path, _reason(error)) from error
    return image_io


def _check_sizes(path: Path, sizes: tuple[int, ...]) -> None:
    shown = " x ".join(str(size) for size in sizes)
    if any(size <= 0 for size in sizes):
        raise UserError(f"{path} holds no voxels (its size is {shown}); export it again.")
    if len(sizes) < 3:
        raise UserError(f"{path} is a 2D image ({shown}), but a 3D volume is needed; choose another file.")
    if len(sizes) > 3:
        raise UserError(
            f"{path} has {len(sizes)} dimensions ({shown}); save the 3D volume you need as a separate file."
        )


def _writable_type(array: np.ndarray) -> np.ndarray:
    if array.dtype in (np.int64, np.uint64):
        limits = np.iinfo(np.int32)
        if array.min() < limits.min or array.max() > limits.max:
            raise ValueError("64-bit integers beyond the range of int32 cannot be written")
        array = array.astype(np.int32)
    array = array.astype(WRITTEN_TYPES.get(array.dtype, array.dtype), copy=False)
    if array.ndim == 4 and array.dtype in (np.int32, np.uint32):
        return array.astype(np.float32)
    return array


def _reason(error: Exception) -> str:
    """The last meaningful line of ITK's long message, without addresses and names of its functions."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # MetaImageIO appends the system's last error, which is unrelated to the file.
    lines = [line for line in lines if not line.startswith(("/", "Reason:"))] or ["it cannot be read"]
    reason = re.sub(r"^.*(ERROR|File cannot be read): .*$", "its voxels cannot be read", lines[-1])
    return re.sub(r"\[nrrd\] |_?nrrd\w+: ", "", reason).rstrip(".:")
