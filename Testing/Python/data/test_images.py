"""Reading and writing images: voxels and their positions, checked with ITK, nibabel and pynrrd."""

import itk
import nibabel
import nrrd
import numpy as np
import pytest
from MedDeepLib.data.sources import image as images
from MedDeepLib.errors import UserError
from sample_images import GRIDS, SHAPE, largest_distance, volume

ENDINGS = [".nrrd", ".nii", ".nii.gz", ".mha"]
TOLERANCE_MM = 1e-4
RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def affine_by_itk(path) -> np.ndarray:
    """IJK to RAS affine from the positions of four voxels in ITK."""
    image = itk.imread(str(path))
    points = [
        np.array(image.TransformIndexToPhysicalPoint(index)) for index in ([0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1])
    ]
    matrix = np.eye(4)
    matrix[:3, 3] = points[0]
    for axis in range(3):
        matrix[:3, axis] = points[axis + 1] - points[0]
    return RAS_FROM_LPS @ matrix


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("name", GRIDS)
def test_round_trip_is_where_itk_says(tmp_path, name, ending):
    path, voxels, grid = tmp_path / f"image{ending}", volume(), GRIDS[name]
    images.write_image(path, voxels, grid)
    image = images.read_image(path)
    assert np.array_equal(image.array[0], voxels)
    assert image.array.dtype == voxels.dtype
    assert image.path == path
    assert largest_distance(image.affine, grid) < TOLERANCE_MM
    assert largest_distance(affine_by_itk(path), grid) < TOLERANCE_MM
    assert np.array_equal(itk.array_from_image(itk.imread(str(path))), voxels.transpose(2, 1, 0))


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("name", GRIDS)
def test_nibabel_agrees_in_both_directions(tmp_path, name, ending):
    voxels, grid = volume(), GRIDS[name]
    ours, theirs = tmp_path / f"ours{ending}", tmp_path / f"theirs{ending}"
    images.write_image(ours, voxels, grid)
    loaded = nibabel.load(ours)
    assert np.array_equal(np.asarray(loaded.dataobj), voxels)
    assert largest_distance(loaded.affine, grid) < TOLERANCE_MM
    nibabel.save(nibabel.Nifti1Image(voxels, grid), theirs)
    image = images.read_image(theirs)
    assert np.array_equal(image.array[0], voxels)
    assert largest_distance(image.affine, grid) < TOLERANCE_MM


@pytest.mark.parametrize("name", GRIDS)
def test_pynrrd_agrees_in_both_directions(tmp_path, name):
    voxels, grid = volume(), GRIDS[name]
    images.write_image(tmp_path / "ours.nrrd", voxels, grid)
    loaded, header = nrrd.read(str(tmp_path / "ours.nrrd"))
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = header["space directions"].T, header["space origin"]
    assert header["space"] == "left-posterior-superior"
    assert np.array_equal(loaded, voxels)
    assert largest_distance(RAS_FROM_LPS @ matrix, grid) < TOLERANCE_MM
    header = {"space": "RAS", "space directions": grid[:3, :3].T, "space origin": grid[:3, 3]}
    nrrd.write(str(tmp_path / "theirs.nrrd"), voxels, header)
    image = images.read_image(tmp_path / "theirs.nrrd")
    assert np.array_equal(image.array[0], voxels)
    assert largest_distance(image.affine, grid) < TOLERANCE_MM


@pytest.mark.parametrize(
    ("stored", "expected"),
    [(name, name) for name in ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32")]
    + [("float64", "float32")],
)
def test_voxel_types_of_files(tmp_path, stored, expected):
    voxels = volume(dtype=stored)
    voxels[0, 0, 0] = 127 if stored == "int8" else 200
    nrrd.write(str(tmp_path / "image.nrrd"), voxels)
    image = images.read_image(tmp_path / "image.nrrd")
    assert image.array.dtype == expected
    assert np.array_equal(image.array[0], voxels)
    assert images.read_image_info(tmp_path / "image.nrrd").dtype == expected


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(
    ("given", "expected"),
    [("bool", "uint8"), ("float16", "float32"), ("float64", "float32"), ("int64", "int32"), ("uint16", "uint16")],
)
def test_voxel_types_written(tmp_path, given, expected, ending):
    voxels = (volume() % 2).astype(given)
    images.write_image(tmp_path / f"image{ending}", voxels, np.eye(4))
    image = images.read_image(tmp_path / f"image{ending}")
    assert image.array.dtype == expected
    assert np.array_equal(image.array[0], voxels)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("channels", [2, 3, 5])
def test_channels(tmp_path, channels, ending):
    voxels = volume((channels, *SHAPE), np.float32)
    images.write_image(tmp_path / f"image{ending}", voxels, GRIDS["oblique"])
    image = images.read_image(tmp_path / f"image{ending}")
    assert np.array_equal(image.array, voxels)
    assert largest_distance(image.affine, GRIDS["oblique"]) < TOLERANCE_MM
    assert images.read_image_info(tmp_path / f"image{ending}").channels == channels


def test_colour_volume_becomes_three_channels(tmp_path):
    voxels = volume((3, *SHAPE), np.uint8)
    header = {"kinds": ["RGB-color", "domain", "domain", "domain"], "space": "LPS", "space origin": [0, 0, 0]}
    header["space directions"] = np.vstack([[np.nan] * 3, np.eye(3)])
    nrrd.write(str(tmp_path / "colour.nrrd"), voxels, header)
    assert np.array_equal(images.read_image(tmp_path / "colour.nrrd").array, voxels)


@pytest.mark.parametrize("ending", ENDINGS)
def test_header_alone_says_the_same_as_the_image(tmp_path, ending):
    path = tmp_path / f"image{ending}"
    images.write_image(path, volume(dtype=np.uint16), GRIDS["oblique left-handed"])
    image, info = images.read_image(path), images.read_image_info(path)
    assert info.shape == image.shape == SHAPE
    assert info.dtype == image.array.dtype
    assert np.array_equal(info.affine, image.affine)
    assert np.allclose(info.spacing, [0.5, 0.6, 5])


def test_rescaled_nifti_is_float(tmp_path):
    nifti = nibabel.Nifti1Image(volume(), np.eye(4))
    nifti.header.set_slope_inter(2, 10)
    nibabel.save(nifti, tmp_path / "scaled.nii")
    image = images.read_image(tmp_path / "scaled.nii")
    assert image.array.dtype == np.float32
    assert images.read_image_info(tmp_path / "scaled.nii").dtype == np.float32
    assert np.allclose(image.array[0], nibabel.load(tmp_path / "scaled.nii").get_fdata())


def test_voxels_are_a_view_of_the_readers_memory(tmp_path):
    images.write_image(tmp_path / "image.nrrd", volume(), np.eye(4))
    array = images.read_image(tmp_path / "image.nrrd").array
    assert not array.flags.owndata
    assert array[0].flags.f_contiguous


def test_compressed_nifti_is_not_mixed_up_with_its_uncompressed_twin(tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.full(SHAPE, 1, np.int16), np.eye(4)), tmp_path / "brain.nii")
    nibabel.save(nibabel.Nifti1Image(np.full(SHAPE, 2, np.int16), np.eye(4)), tmp_path / "brain.nii.gz")
    assert (images.read_image(tmp_path / "brain.nii").array == 1).all()
    assert (images.read_image(tmp_path / "brain.nii.gz").array == 2).all()


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("stem", ["Gehirn äöü 脳", "with space and (brackets)", "long" * 48])
def test_awkward_names(tmp_path, stem, ending):
    path = tmp_path / "Büro 1" / f"{stem}{ending}"
    images.write_image(path, volume(), np.eye(4))
    assert np.array_equal(images.read_image(path).array[0], volume())
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_detached_header(tmp_path):
    header = {"encoding": "raw"}
    nrrd.write(str(tmp_path / "image.nhdr"), volume(), header, detached_header=True)
    assert np.array_equal(images.read_image(tmp_path / "image.nhdr").array[0], volume())


def test_compression_is_a_choice(tmp_path):
    flat = np.zeros((40, 40, 40), np.float32)
    images.write_image(tmp_path / "small.nrrd", flat, np.eye(4))
    images.write_image(tmp_path / "fast.nrrd", flat, np.eye(4), compress=False)
    assert (tmp_path / "small.nrrd").stat().st_size < flat.nbytes / 10
    assert (tmp_path / "fast.nrrd").stat().st_size >= flat.nbytes


def test_finite_check_counts_bad_voxels():
    array = np.zeros((1, *SHAPE), np.float32)
    images.check_finite(images.Image(array, np.eye(4)))
    array[0, 1, 2, 3], array[0, 0, 0, 0] = np.nan, np.inf
    with pytest.raises(UserError, match="has 2 voxels that are not a number or infinite"):
        images.check_finite(images.Image(array, np.eye(4)))


def test_constant_check_names_the_channel():
    array = np.stack([volume(dtype=np.float32), np.full(SHAPE, 7, np.float32)])
    images.check_not_constant(images.Image(array[:1], np.eye(4)))
    with pytest.raises(UserError, match="Channel 2 of The image has the value 7 everywhere"):
        images.check_not_constant(images.Image(array, np.eye(4)))
