"""Bad image files and full disks: one plain sentence each, and nothing left behind."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pytest
from MedDeepLib.data.sources import image as images
from MedDeepLib.errors import UserError
from sample_images import volume

ENDINGS = [".nrrd", ".nii", ".nii.gz", ".mha"]
PACKAGE_FOLDER = Path(images.__file__).parents[3]


@pytest.fixture
def refused():
    """Reading fails with one sentence that names the file and matches the words; so does its header if
    asked."""

    def check(path, words, header_too=False):
        readers = [images.read_image, images.read_image_info] if header_too else [images.read_image]
        for reader in readers:
            with pytest.raises(UserError, match=words) as caught:
                reader(path)
            message = str(caught.value)
            assert Path(path).name in message
            assert message.endswith(".")
            assert "\n" not in message
            assert "0x" not in message

    return check


def written(tmp_path, ending, compress=True) -> Path:
    path = tmp_path / f"image{ending}"
    noise = np.random.default_rng(0).integers(-1000, 1000, (30, 30, 30)).astype(np.int16)
    images.write_image(path, noise, np.eye(4), compress)
    return path


def test_missing_file(tmp_path, refused):
    refused(tmp_path / "gone.nrrd", "does not exist", header_too=True)


def test_folder_without_images(tmp_path, refused):
    (tmp_path / "notes.txt").write_text("no image", encoding="utf-8")
    refused(tmp_path, "contains no DICOM images", header_too=True)


def test_unknown_type(tmp_path, refused):
    (tmp_path / "picture.gif").write_bytes(b"GIF89a whatever")
    refused(tmp_path / "picture.gif", "unsupported type", header_too=True)


@pytest.mark.parametrize("ending", ENDINGS)
def test_empty_file(tmp_path, refused, ending):
    (tmp_path / f"image{ending}").touch()
    refused(tmp_path / f"image{ending}", "it is empty", header_too=True)


@pytest.mark.parametrize("ending", ENDINGS)
def test_file_of_something_else(tmp_path, refused, ending):
    (tmp_path / f"image{ending}").write_bytes(b"This is a letter, not an image. " * 40)
    refused(tmp_path / f"image{ending}", "damaged or incomplete")


@pytest.mark.parametrize("kept", [0.02, 0.5, 0.98])
@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("ending", ENDINGS)
def test_truncated_file(tmp_path, refused, ending, compress, kept):
    path = written(tmp_path, ending, compress)
    contents = path.read_bytes()
    path.write_bytes(contents[: int(kept * len(contents))])
    refused(path, "damaged or incomplete")


@pytest.mark.parametrize("place", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("ending", [".nrrd", ".nii.gz", ".mha"])
def test_flipped_bit_in_compressed_voxels(tmp_path, refused, ending, place):
    path = written(tmp_path, ending)
    contents = bytearray(path.read_bytes())
    contents[int(place * len(contents))] ^= 0x10
    path.write_bytes(contents)
    refused(path, "damaged or incomplete")


def test_detached_header_without_its_data(tmp_path, refused):
    nrrd.write(str(tmp_path / "image.nhdr"), volume(), {"encoding": "raw"}, detached_header=True)
    (tmp_path / "image.raw").unlink()
    refused(tmp_path / "image.nhdr", "damaged or incomplete")


@pytest.mark.parametrize("ending", [".nrrd", ".nii"])
def test_2d_image(tmp_path, refused, ending):
    path, plane = tmp_path / f"image{ending}", np.ones((5, 6), np.int16)
    if ending == ".nrrd":
        nrrd.write(str(path), plane)
    else:
        nibabel.save(nibabel.Nifti1Image(plane, np.eye(4)), path)
    refused(path, r"2D image \(5 x 6\), but a 3D volume is needed", header_too=True)


@pytest.mark.parametrize("ending", [".nrrd", ".nii.gz"])
def test_4d_image(tmp_path, refused, ending):
    path, series = tmp_path / f"image{ending}", np.ones((5, 6, 7, 2), np.int16)
    if ending == ".nrrd":
        nrrd.write(str(path), series)
    else:
        nibabel.save(nibabel.Nifti1Image(series, np.eye(4)), path)
    refused(path, r"4 dimensions \(5 x 6 x 7 x 2\)", header_too=True)


def test_no_voxels(tmp_path, refused):
    header = "NRRD0004\ntype: short\ndimension: 3\nsizes: 0 4 5\nencoding: raw\nendian: little\n\n"
    (tmp_path / "image.nrrd").write_text(header, encoding="utf-8")
    refused(tmp_path / "image.nrrd", "holds no voxels", header_too=True)
    header = "ObjectType = Image\nNDims = 3\nDimSize = 3 0 5\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    (tmp_path / "image.mha").write_text(header, encoding="utf-8")
    refused(tmp_path / "image.mha", "holds no voxels", header_too=True)


@pytest.mark.parametrize("spacing", [0, -2])
def test_impossible_spacing(tmp_path, refused, spacing):
    nrrd.write(str(tmp_path / "image.nrrd"), volume(), {"spacings": [1.0, spacing, 1.0]})
    words = "must be positive" if spacing else r"spacing \(0\) invalid"
    refused(tmp_path / "image.nrrd", words, header_too=True)
    nibabel.save(nibabel.Nifti1Image(volume(), np.eye(4)), tmp_path / "image.nii")
    contents = bytearray((tmp_path / "image.nii").read_bytes())
    contents[84:88] = np.float32(spacing).tobytes()  # pixdim[2]
    (tmp_path / "image.nii").write_bytes(contents)
    refused(tmp_path / "image.nii", f"voxel spacing of 1 x {spacing} x 1 mm, which must be positive")


@pytest.mark.parametrize(
    ("directions", "words"),
    [
        ([[1, 0, 0], [1, 0, 0], [0, 0, 1]], "two axes in the same direction|slanted"),
        ([[1, 0, 0], [0.4, 1, 0], [0, 0, 1]], "slanted"),
    ],
)
def test_impossible_axes(tmp_path, refused, directions, words):
    header = {"space": "LPS", "space directions": np.array(directions, float), "space origin": [0, 0, 0]}
    nrrd.write(str(tmp_path / "image.nrrd"), volume(), header)
    refused(tmp_path / "image.nrrd", words, header_too=True)
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(directions).T
    nibabel.save(nibabel.Nifti1Image(volume(), matrix), tmp_path / "image.nii")
    refused(tmp_path / "image.nii", words, header_too=True)


def test_complex_voxels(tmp_path, refused):
    nibabel.save(nibabel.Nifti1Image(volume(dtype=np.complex64), np.eye(4)), tmp_path / "image.nii")
    refused(tmp_path / "image.nii", "complex", header_too=True)


@pytest.mark.parametrize("name", ["image.jpg", "image.mhd", "image"])
def test_unknown_ending_is_not_written(tmp_path, name):
    with pytest.raises(UserError, match="its name must end in one of"):
        images.write_image(tmp_path / name, volume(), np.eye(4))
    assert not list(tmp_path.iterdir())


def test_slanted_grid_is_not_written(tmp_path):
    slanted = np.eye(4)
    slanted[0, 1] = 0.3
    with pytest.raises(UserError, match="slanted"):
        images.write_image(tmp_path / "image.nrrd", volume(), slanted)
    assert not list(tmp_path.iterdir())


def test_unwritable_folder(tmp_path):
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    path = tmp_path / "file" / "image.nrrd"
    with pytest.raises(UserError, match=re.escape(str(path))):
        images.check_writable(path)
    with pytest.raises(UserError, match="cannot be written"):
        images.write_image(path, volume(), np.eye(4))


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="permissions do not bind this user")
def test_folder_without_permission(tmp_path):
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(UserError, match="cannot be written"):
            images.check_writable(tmp_path / "image.nrrd")
    finally:
        tmp_path.chmod(0o755)


def test_early_check_accepts_new_folders_and_leaves_nothing(tmp_path):
    images.check_writable(tmp_path / "new" / "folder" / "image.nrrd")
    images.check_writable("image.nrrd")
    assert not list(tmp_path.iterdir())
    with pytest.raises(UserError, match="is a folder"):
        images.check_writable(tmp_path)


FULL_DISK_CASES = [f"{kind}/image{ending}" for kind in ("packed", "plain") for ending in ENDINGS]
FULL_DISK_CASES.append("packed/image.seg.nrrd")
FULL_DISK_SCRIPT = """
import pathlib, resource, signal, sys
import numpy as np
from MedDeepLib.data.sources import image as images
from MedDeepLib.data.sources import labels as segmentation_file
from MedDeepLib.errors import UserError

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
voxels = np.random.default_rng(0).integers(0, 255, (40, 40, 40)).astype(np.uint8)
for path in map(pathlib.Path, sys.argv[1:]):
    try:
        if path.name.endswith(".seg.nrrd"):
            segments = [segmentation_file.Segment(value, "one", (1, 0, 0)) for value in range(1, 256)]
            segmentation_file.write_segmentation(path, voxels, np.eye(4), segments)
        else:
            images.write_image(path, voxels, np.eye(4), compress=path.parent.name == "packed")
    except UserError as error:
        print(error)
"""


@pytest.fixture(scope="module")
def full_disk(tmp_path_factory):
    """Writes every kind of file with a file size limit of 20 kB; returns the folder and the error messages."""
    folder = tmp_path_factory.mktemp("full")
    paths = [folder / case for case in FULL_DISK_CASES]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"the old file")
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK_SCRIPT, *map(str, paths)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": str(PACKAGE_FOLDER)},
        check=True,
    )
    return folder, done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are a thing of POSIX")
@pytest.mark.parametrize("case", FULL_DISK_CASES)
def test_full_disk_keeps_the_old_file(full_disk, case):
    folder, said = full_disk
    assert f"{folder / case} cannot be written" in said
    assert (folder / case).read_bytes() == b"the old file"
    assert not [file for file in (folder / case).parent.iterdir() if file.name.startswith(".part")]
