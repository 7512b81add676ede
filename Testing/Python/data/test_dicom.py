"""Synthetic DICOM series: order, geometry, values; and every way in which a series fails to be a volume."""

import logging
import re
from pathlib import Path

import itk
import numpy as np
import pytest
from MedDeepLib.data.formats import dicom
from MedDeepLib.data.sources import image as images
from MedDeepLib.errors import UserError
from pydicom.uid import generate_uid
from sample_images import GRIDS, SHAPE, decimals, dicom_slices, largest_distance, save_dicom, volume

# DICOM has no left-handed series: the slice normal is the cross product of row and column.
RIGHT_HANDED = [name for name, grid in GRIDS.items() if np.linalg.det(grid[:3, :3]) > 0]
OBLIQUE = GRIDS["oblique"]


@pytest.mark.parametrize("name", RIGHT_HANDED)
def test_scrambled_file_names(tmp_path, name):
    paths = save_dicom(dicom_slices(volume(), GRIDS[name]), tmp_path / "series")
    assert paths != sorted(paths)
    image = images.read_image(tmp_path / "series")
    assert np.array_equal(image.array[0], volume())
    assert image.array.dtype == np.int16
    assert largest_distance(image.affine, GRIDS[name]) < 1e-4
    assert image.metadata["Modality"] == "CT"
    info = images.read_image_info(tmp_path / "series")
    assert (info.shape, info.dtype, info.channels) == (SHAPE, np.int16, 1)
    assert np.array_equal(info.affine, image.affine)
    assert dicom.choose_series(tmp_path / "series").files == paths


def test_itk_agrees_about_a_series_in_slice_order(tmp_path):
    paths = save_dicom(dicom_slices(volume(), OBLIQUE), tmp_path)
    by_itk = itk.imread([str(path) for path in paths])
    image = images.read_image(tmp_path)
    assert np.array_equal(itk.array_from_image(by_itk).transpose(2, 1, 0), image.array[0])
    for index in [(0, 0, 0), (5, 6, 7), (5, 0, 0), (0, 6, 0)]:
        point = np.array(by_itk.TransformIndexToPhysicalPoint([int(value) for value in index]))
        ours = (image.affine @ [*index, 1])[:3]
        assert np.abs(point * [-1, -1, 1] - ours).max() < 1e-4


def test_slices_in_the_opposite_order_give_the_same_volume(tmp_path):
    slices = dicom_slices(volume(), OBLIQUE)
    save_dicom(slices[::-1], tmp_path, [f"{number:03d}" for number in range(len(slices))])
    assert np.array_equal(images.read_image(tmp_path).array[0], volume())


def test_rescale_slope_and_intercept(tmp_path):
    save_dicom(dicom_slices(volume(), OBLIQUE, RescaleSlope="1", RescaleIntercept="-1024"), tmp_path / "ct")
    image = images.read_image(tmp_path / "ct")
    assert np.issubdtype(image.array.dtype, np.integer)
    assert np.array_equal(image.array[0], volume().astype(int) - 1024)
    slices = dicom_slices(volume(), OBLIQUE, RescaleIntercept="0")
    for number, one in enumerate(slices):
        one.RescaleSlope = f"{0.5 + number}"  # every slice of a PET series has its own
    save_dicom(slices, tmp_path / "pet")
    image = images.read_image(tmp_path / "pet")
    assert image.array.dtype == np.float32
    assert np.allclose(image.array[0], volume() * (0.5 + np.arange(SHAPE[2])))


def test_unsigned_16_bit_values(tmp_path):
    bright = volume() + np.int16(-200)
    save_dicom(dicom_slices(bright, OBLIQUE, PixelRepresentation=0), tmp_path)
    image = images.read_image(tmp_path)
    assert image.array.dtype == np.uint16
    assert np.array_equal(image.array[0], bright.astype(np.uint16))


def test_series_in_sub_folders_beside_other_files(tmp_path):
    paths = save_dicom(dicom_slices(volume(), OBLIQUE), tmp_path / "A" / "B")
    paths[0].rename(tmp_path / "A" / "first.dcm")
    (tmp_path / "readme.txt").write_text("hello", encoding="utf-8")
    (tmp_path / "DICOMDIR").write_bytes(b"index")
    assert np.array_equal(images.read_image(tmp_path).array[0], volume())


def test_several_series_are_listed_and_can_be_chosen(tmp_path):
    first = dicom_slices(volume(), OBLIQUE, SeriesDescription="Lung")
    second = dicom_slices(volume(seed=5), OBLIQUE, SeriesDescription="Bone")
    save_dicom([*first, *second], tmp_path)
    found = dicom.series_in(tmp_path)
    assert [one.description for one in found] == ["Bone", "Lung"]
    with pytest.raises(UserError) as caught:
        images.read_image(tmp_path)
    message = str(caught.value)
    assert "holds 2 series" in message
    assert 'CT "Bone", 8 slices' in message
    assert first[0].SeriesInstanceUID in message
    chosen = images.read_image(f"{tmp_path}::{second[0].SeriesInstanceUID}")
    assert np.array_equal(chosen.array[0], volume(seed=5))
    with pytest.raises(UserError, match="has no series 1.2.3; it has"):
        images.read_image(f"{tmp_path}::1.2.3")


def refused(folder, words) -> None:
    for reader in (images.read_image, images.read_image_info):
        with pytest.raises(UserError, match=words) as caught:
            reader(folder)
        assert str(caught.value).endswith(".")
        assert "\n" not in str(caught.value)


def test_missing_slice(tmp_path):
    slices = dicom_slices(volume(), GRIDS["LPS"])
    names = [f"slice{number}" for number in range(8)]
    save_dicom(slices, tmp_path, names)
    (tmp_path / "slice3").unlink()
    refused(tmp_path, r"lacks 1 slice\(s\) between slice2 \(-67.00 mm\) and slice4 \(-62.00 mm\)")
    (tmp_path / "slice4").unlink()
    refused(tmp_path, r"lacks 2 slice\(s\) between slice2 .* and slice5")


def test_double_slice(tmp_path):
    slices = dicom_slices(volume(), GRIDS["LPS"])
    save_dicom([*slices, slices[3]], tmp_path, [*[f"slice{number}" for number in range(8)], "copy"])
    refused(tmp_path, r"two slices at one position, slice3 and copy|two slices at one position, copy and slice3")


def test_time_points_of_one_stack(tmp_path):
    slices = dicom_slices(volume(), OBLIQUE)
    save_dicom([*slices, *slices], tmp_path, [f"{number:02d}" for number in range(16)])
    refused(tmp_path, "separate the time points")


def moved(slices, number, millimetres):
    """One slice moved along the normal."""
    normal = np.array([float(value) for value in slices[1].ImagePositionPatient]) - [
        float(value) for value in slices[0].ImagePositionPatient
    ]
    normal /= np.linalg.norm(normal)
    position = np.array([float(value) for value in slices[number].ImagePositionPatient])
    slices[number].ImagePositionPatient = decimals(position + millimetres * normal)
    return slices


def test_slightly_uneven_spacing_is_a_warning(tmp_path, caplog):
    save_dicom(moved(dicom_slices(volume(), OBLIQUE), 3, 0.2), tmp_path)  # of 3.3 mm
    with caplog.at_level(logging.WARNING):
        image = images.read_image(tmp_path)
    assert "slice spacing varies by up to 6.1 %" in caplog.text
    assert largest_distance(image.affine, OBLIQUE) < 1e-4


def test_even_spacing_gives_no_warning(tmp_path, caplog):
    save_dicom(dicom_slices(volume(), OBLIQUE), tmp_path)
    with caplog.at_level(logging.WARNING):
        images.read_image(tmp_path)
    assert caplog.text == ""


def test_uneven_spacing(tmp_path):
    save_dicom(moved(dicom_slices(volume(), OBLIQUE), 3, 0.9), tmp_path)
    refused(tmp_path, r"unevenly spaced slices, 4.20 instead of 3.30 mm between")


def test_mixed_directions(tmp_path):
    slices = dicom_slices(volume(), OBLIQUE)
    slices[2].ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    save_dicom(slices, tmp_path)
    refused(tmp_path, "mixes slices of different directions .*localizer")


def test_mixed_sizes(tmp_path):
    slices = dicom_slices(volume(), OBLIQUE)
    slices[2].Rows = 5
    slices[2].PixelData = slices[2].PixelData[: 5 * 6 * 2]
    save_dicom(slices, tmp_path, [f"slice{number}" for number in range(8)])
    refused(tmp_path, r"6 x 7 pixels \(slice0\) and 6 x 5 \(slice2\)")


def test_mixed_pixel_spacing(tmp_path):
    slices = dicom_slices(volume(), OBLIQUE)
    slices[2].PixelSpacing = [1, 1]
    save_dicom(slices, tmp_path)
    refused(tmp_path, "different pixel spacing")


def test_tilted_gantry(tmp_path):
    slices = dicom_slices(volume(), GRIDS["LPS"])
    for number, one in enumerate(slices):
        x, y, z = [float(value) for value in one.ImagePositionPatient]
        one.ImagePositionPatient = decimals([x, y + 0.5 * number, z])
    save_dicom(slices, tmp_path)
    refused(tmp_path, "tilted gantry")


def test_single_slice(tmp_path):
    paths = save_dicom(dicom_slices(volume(), OBLIQUE)[:1], tmp_path)
    refused(tmp_path, "single slice, but a 3D volume is needed")
    refused(paths[0], "single slice")


def test_colour_images(tmp_path):
    slices = dicom_slices(volume(), OBLIQUE, SamplesPerPixel=3, PhotometricInterpretation="RGB")
    save_dicom(slices, tmp_path)
    refused(tmp_path, "is a colour image")


def test_slices_without_positions(tmp_path):
    slices = dicom_slices(volume(), OBLIQUE)
    for one in slices:
        del one.ImagePositionPatient
    save_dicom(slices, tmp_path)
    refused(tmp_path, "has no positions for its slices")


def test_impossible_header(tmp_path):
    slices = dicom_slices(volume(), OBLIQUE)
    slices[1].PixelSpacing = [1]
    save_dicom(slices, tmp_path)
    refused(tmp_path, "its DICOM header is invalid")


def test_truncated_slice(tmp_path):
    paths = save_dicom(dicom_slices(volume(), OBLIQUE), tmp_path)
    paths[4].write_bytes(paths[4].read_bytes()[:-20])
    with pytest.raises(UserError, match=re.escape(f"{paths[4]} is damaged or incomplete")):
        images.read_image(tmp_path)


def test_truncated_header(tmp_path):
    paths = save_dicom(dicom_slices(volume(), OBLIQUE), tmp_path, [f"{number}.dcm" for number in range(8)])
    paths[0].write_bytes(paths[0].read_bytes()[:100])
    refused(tmp_path, re.escape(f"{paths[0]} is damaged or incomplete"))


def test_letter_called_dcm(tmp_path):
    (tmp_path / "letter.dcm").write_text("Dear colleague", encoding="utf-8")
    refused(tmp_path, "letter.dcm is damaged or incomplete")
    refused(tmp_path / "letter.dcm", "its DICOM header is missing")


def test_missing_folder(tmp_path):
    refused(tmp_path / "gone", "does not exist")
    refused(f"{tmp_path / 'gone'}::1.2.3", "does not exist")


def test_segmentation_object_is_no_image(tmp_path):
    save_dicom(dicom_slices(volume(), OBLIQUE), tmp_path / "series")
    save_dicom(dicom_slices(volume(), OBLIQUE, Modality="SEG"), tmp_path / "seg")
    assert np.array_equal(images.read_image(tmp_path).array[0], volume())


def test_two_stacks_with_different_uids_in_one_folder_are_two_series(tmp_path):
    slices = dicom_slices(volume(), OBLIQUE)
    for one in slices[:4]:
        one.SeriesInstanceUID = generate_uid()
    assert len({one.SeriesInstanceUID for one in slices}) == 5
    save_dicom(slices, tmp_path)
    refused(tmp_path, "holds 5 series")


def test_a_series_has_a_fingerprint_of_its_own(tmp_path):
    """FOLDER::UID in a dataset's list: the files of the other series do not count."""
    from MedDeepLib.data.fingerprints import fingerprint

    for number, uid in enumerate(("1.2.3", "1.2.4")):
        slices = dicom_slices(volume(seed=number), OBLIQUE, SeriesInstanceUID=uid)
        save_dicom(slices, tmp_path / str(number))
    first, second = (fingerprint(Path(f"{tmp_path}::{uid}")) for uid in ("1.2.3", "1.2.4"))
    assert first != second
    for file in (tmp_path / "1").iterdir():
        file.unlink()
    assert fingerprint(Path(f"{tmp_path}::1.2.3")) == first
