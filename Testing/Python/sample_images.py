"""Synthetic grids, volumes and DICOM folders for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np

SHAPE = (6, 7, 8)


def rotation(x: float, y: float, z: float) -> np.ndarray:
    """3x3 rotation by angles in degrees about the three axes, one after the other."""
    turned = np.eye(3)
    for axis, angle in enumerate(np.radians([x, y, z])):
        one, two = [other for other in range(3) if other != axis]
        turn = np.eye(3)
        turn[one, one] = turn[two, two] = np.cos(angle)
        turn[one, two], turn[two, one] = -np.sin(angle), np.sin(angle)
        turned = turn @ turned
    return turned


def affine(directions: np.ndarray, spacing=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0)) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = np.asarray(directions, float) * np.asarray(spacing, float)
    matrix[:3, 3] = origin
    return matrix


# IJK to RAS; each name says what is special about the grid.
GRIDS = {
    "identity": np.eye(4),
    "LPS": affine(np.diag([-1, -1, 1]), (0.9, 0.9, 2.5), (90, -126, -72)),
    "left-handed": affine(np.diag([-1, 1, 1]), (1, 2, 3), (4, 5, 6)),
    "oblique": affine(rotation(10, -20, 35), (0.7, 1.1, 3.3), (-12.5, 30.25, 7)),
    "oblique left-handed": affine(rotation(-33, 12, 5) @ np.diag([1, -1, 1]), (0.5, 0.6, 5), (100, -20, 3)),
    "sagittal slices": affine([[0, 0, 1], [-1, 0, 0], [0, -1, 0]], (0.8, 0.8, 1.2), (-70, 110, 130)),
}


def volume(shape=SHAPE, dtype=np.int16, seed=0) -> np.ndarray:
    """Random voxels (I, J, K) that differ from each other, so that swapped axes are noticed."""
    return np.random.default_rng(seed).integers(0, 100, shape).astype(dtype)


def largest_distance(first: np.ndarray, second: np.ndarray, shape=SHAPE) -> float:
    """Largest distance in mm of the same voxel under two affines, over all voxels."""
    indices = np.indices(shape).reshape(3, -1)
    indices = np.vstack([indices, np.ones(indices.shape[1])])
    return float(np.linalg.norm(((first - second) @ indices)[:3], axis=0).max())


def dicom_slices(voxels: np.ndarray, grid: np.ndarray, **attributes) -> list:
    """One pydicom dataset per plane k of ``voxels`` (I, J, K) on an IJK to RAS grid; ``attributes`` are set
    on all."""
    import pydicom
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ grid
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    directions = lps[:3, :3] / spacing
    series = generate_uid()
    slices = []
    for k in range(voxels.shape[2]):
        one = pydicom.Dataset()
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID = CTImageStorage
        one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID = generate_uid()
        one.SeriesInstanceUID = series
        one.Modality = "CT"
        one.SeriesDescription = "Thorax"
        one.Columns, one.Rows = voxels.shape[:2]
        one.SamplesPerPixel = 1
        one.PhotometricInterpretation = "MONOCHROME2"
        one.BitsAllocated = one.BitsStored = 16
        one.HighBit = 15
        one.PixelRepresentation = 1
        one.PixelSpacing = decimals([spacing[1], spacing[0]])
        one.ImageOrientationPatient = decimals([*directions[:, 0], *directions[:, 1]])
        one.ImagePositionPatient = decimals(lps[:3, 3] + k * lps[:3, 2])
        one.PixelData = np.ascontiguousarray(voxels[:, :, k].T).astype("<i2").tobytes()
        for name, value in attributes.items():
            setattr(one, name, value)
        slices.append(one)
    return slices


def decimals(values) -> list[str]:
    """Numbers as DICOM decimal strings, which have at most 16 characters."""
    return [f"{value:.10f}"[:16] for value in values]


def save_dicom(slices: list, folder: Path, names: list[str] | None = None) -> list[Path]:
    """Save slices under names in an order unrelated to that of the slices."""
    folder.mkdir(parents=True, exist_ok=True)
    if names is None:
        order = np.random.default_rng(1).permutation(len(slices))
        names = [f"IM{number:04d}" for number in order]
    for one, name in zip(slices, names, strict=True):
        one.save_as(folder / name, enforce_file_format=True)
    return [folder / name for name in names]
