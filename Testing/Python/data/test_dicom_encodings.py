"""DICOM files that are compressed or hold many frames."""

import numpy as np
import pydicom
import pytest
from MedDeepLib.data.sources import image as images
from MedDeepLib.errors import UserError
from pydicom.uid import EnhancedCTImageStorage, JPEGLossless, RLELossless
from sample_images import GRIDS, dicom_slices, largest_distance, save_dicom, volume

OBLIQUE = GRIDS["oblique"]


def test_lossless_compression(tmp_path):
    slices = dicom_slices(volume(), OBLIQUE, RescaleSlope="1", RescaleIntercept="-10")
    for one in slices:
        one.compress(RLELossless)
    save_dicom(slices, tmp_path)
    assert np.array_equal(images.read_image(tmp_path).array[0], volume() - 10)


def test_compression_that_cannot_be_decoded(tmp_path):
    slices = dicom_slices(volume(), OBLIQUE)
    for one in slices:
        one.file_meta.TransferSyntaxUID = JPEGLossless
        one.PixelData = pydicom.encaps.encapsulate([b"this is no JPEG stream"])
        one["PixelData"].is_undefined_length = True
    save_dicom(slices, tmp_path)
    with pytest.raises(
        UserError, match="is compressed with JPEG Lossless.* export the series again without compression"
    ):
        images.read_image(tmp_path)


def multi_frame(voxels, grid):
    """An enhanced CT image: all slices as frames of one file, not in slice order."""
    slices = dicom_slices(voxels, grid)
    order = np.random.default_rng(2).permutation(len(slices))
    one = slices[0]
    one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID = EnhancedCTImageStorage
    one.NumberOfFrames = len(slices)
    one.PixelData = b"".join(slices[number].PixelData for number in order)
    shared = pydicom.Dataset()
    shared.PixelMeasuresSequence = [pydicom.Dataset()]
    shared.PixelMeasuresSequence[0].PixelSpacing = one.PixelSpacing
    shared.PlaneOrientationSequence = [pydicom.Dataset()]
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = one.ImageOrientationPatient
    shared.PixelValueTransformationSequence = [pydicom.Dataset()]
    shared.PixelValueTransformationSequence[0].RescaleSlope = "1"
    shared.PixelValueTransformationSequence[0].RescaleIntercept = "-5"
    one.SharedFunctionalGroupsSequence = [shared]
    one.PerFrameFunctionalGroupsSequence = []
    for number in order:
        frame = pydicom.Dataset()
        frame.PlanePositionSequence = [pydicom.Dataset()]
        frame.PlanePositionSequence[0].ImagePositionPatient = slices[number].ImagePositionPatient
        one.PerFrameFunctionalGroupsSequence.append(frame)
    del one.ImagePositionPatient, one.ImageOrientationPatient, one.PixelSpacing
    return one


def test_enhanced_multi_frame_image(tmp_path):
    paths = save_dicom([multi_frame(volume(), OBLIQUE)], tmp_path, ["enhanced"])
    for path in (tmp_path, paths[0]):
        image = images.read_image(path)
        assert np.array_equal(image.array[0], volume() - 5)
        assert largest_distance(image.affine, OBLIQUE) < 1e-4


def test_multi_frame_image_without_positions(tmp_path):
    one = multi_frame(volume(), OBLIQUE)
    del one.PerFrameFunctionalGroupsSequence
    one.ImagePositionPatient = [0, 0, 0]  # of the first frame only, as RT dose files have it
    save_dicom([one], tmp_path, ["cine"])
    with pytest.raises(UserError, match="has no positions for its frames"):
        images.read_image(tmp_path)
