"""Reading and writing 3D images with their geometry.

Arrays are channel first, (C, I, J, K), in the order the file stores its axes; the affine takes voxel indices
to RAS millimetres. Files are read and written with ITK, as 3D Slicer does, so both agree about every voxel's
place.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from MedDeepLib.data import geometry
from MedDeepLib.data.files import PICTURE_ENDINGS, atomic_path, check_writable
from MedDeepLib.data.formats import dicom, itk_io
from MedDeepLib.data.formats.integrity import check_integrity, damaged, not_finite
from MedDeepLib.data.image import Image, ImageInfo
from MedDeepLib.errors import UserError

__all__ = [
    "Image",
    "ImageInfo",
    "check_finite",
    "check_not_constant",
    "check_writable",
    "read_image",
    "read_image_info",
    "write_image",
]

READABLE_ENDINGS = (".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd", *PICTURE_ENDINGS)
WRITABLE_ENDINGS = (".nrrd", ".nii", ".nii.gz", ".mha")


def read_image(path: str | Path) -> Image:
    """Read a 3D image from a file, or a DICOM series from a folder (or ``folder::SeriesInstanceUID``).

    Integer types are kept, everything else becomes float32. A picture (PNG, JPEG) is an image of one slice; its
    channels are red, green and blue, or grey. Transparency is left out.

    Raises:
        UserError: the file is missing, damaged, of an unknown type, not 3D, empty or has an impossible geometry.
    """
    if dicom.is_dicom(path):
        return dicom.read_series(dicom.choose_series(path))
    path = _existing_file(path)
    hidden_voxels = check_integrity(path)
    if hidden_voxels:
        raise not_finite(path, hidden_voxels)
    header = itk_io.read_header(path)
    return Image(itk_io.read_voxels(path, header), header.affine, path, header.metadata)


def read_image_info(path: str | Path) -> ImageInfo:
    """Read only the header of what :func:`read_image` reads; raises the same errors, except for damaged
    voxels."""
    if dicom.is_dicom(path):
        return dicom.series_info(dicom.choose_series(path))
    path = _existing_file(path)
    header = itk_io.read_header(path)
    return ImageInfo(path, header.shape, header.affine, header.dtype, header.channels)


def write_image(path: str | Path, array: np.ndarray, affine: np.ndarray, compress: bool = True) -> None:
    """Write an image so that ``path`` is either complete or untouched.

    Args:
        path: ends in .nrrd, .nii, .nii.gz or .mha; missing folders are made.
        array: (I, J, K), or (C, I, J, K) with the channels first. bool is written as uint8, float16 and
        float64 as
            float32.
        affine: 4x4, IJK to RAS, millimetres.
        compress: smaller but slower; ``.nii.gz`` is always compressed and ``.nii`` never.

    Raises:
        UserError: unknown ending, unwritable folder, full disk, slanted axes.
    """
    path = Path(path)
    ending = _ending(path, WRITABLE_ENDINGS)
    if ending is None:
        raise UserError(
            f"{path} cannot be written as an image; its name must end in one of {', '.join(WRITABLE_ENDINGS)}."
        )
    array = np.asarray(array)
    if array.ndim not in (3, 4) or array.size == 0:
        raise ValueError(f"an image of shape (I, J, K) or (C, I, J, K) is needed, not {array.shape}")
    geometry.check_affine(affine, str(path))
    with atomic_path(path, ending) as temporary:
        itk_io.write_voxels(temporary, array, np.asarray(affine, float), compress)


def check_finite(image: Image) -> None:
    """Raise a UserError that counts the voxels that are not a number or infinite, if there are any."""
    if not np.issubdtype(image.array.dtype, np.inexact):
        return
    bad_voxels = image.array.size - int(np.isfinite(image.array).sum())
    if bad_voxels:
        raise not_finite(_name(image), bad_voxels)


def check_not_constant(image: Image) -> None:
    """Raise a UserError if a channel is constant, and so has no content."""
    for number, channel in enumerate(image.array, start=1):
        lowest, highest = channel.min(), channel.max()
        if lowest == highest:
            which = f"Channel {number} of {_name(image)}" if len(image.array) > 1 else _name(image)
            raise UserError(f"{which} has the value {lowest:g} everywhere; check that it is the right image.")


def _name(image: Image) -> str:
    return str(image.path) if image.path else "The image"


def _ending(path: Path, endings: tuple[str, ...]) -> str | None:
    name = path.name.lower()
    return max((ending for ending in endings if name.endswith(ending)), key=len, default=None)


def _existing_file(path: str | Path) -> Path:
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path} does not exist; check the name and the folder.")
    if _ending(path, READABLE_ENDINGS) is None:
        raise UserError(
            f"{path} has an unsupported type; give a DICOM folder or a file that ends in one of "
            f"{', '.join(READABLE_ENDINGS)}."
        )
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise damaged(path, "it is empty")
    except OSError as error:
        raise UserError(f"{path} cannot be opened ({error.strerror}); check its permissions.") from error
    return path
