"""The headers of a DICOM series: the order of slices, the grid they form, and errors in them."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from MedDeepLib.data import geometry
from MedDeepLib.errors import UserError

if TYPE_CHECKING:
    import pydicom

logger = logging.getLogger(__name__)

HEADER_TAGS = [
    "SeriesInstanceUID",
    "SeriesDescription",
    "Modality",
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "NumberOfFrames",
    "BitsAllocated",
    "BitsStored",
    "PixelRepresentation",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "RescaleSlope",
    "RescaleIntercept",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
]
DIRECTION_TOLERANCE = 1e-3  # of a direction cosine; headers round them
SAME_POSITION = 0.01  # share of the step below which two slices are duplicates
NOTED_UNEVENNESS = 0.005  # share of the step that is reported
LARGEST_UNEVENNESS = 0.10  # share of the step that is tolerated
GAP = 1.5  # steps between neighbours that mean a missing slice
LARGEST_DRIFT = 0.1  # sideways, in pixels over the whole stack


@dataclass(frozen=True, eq=False)
class Slice:
    """One plane of a series: a file, or a frame of it. Lengths in mm, directions and position in LPS."""

    path: Path
    frame: int
    rows: int
    columns: int
    position: np.ndarray | None
    orientation: np.ndarray | None
    pixel_spacing: np.ndarray | None
    slope: float
    intercept: float
    samples: int
    stored_range: tuple[int, int]

    @property
    def place(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Position, orientation and pixel spacing of a slice that has them all."""
        assert self.position is not None and self.orientation is not None and self.pixel_spacing is not None
        return self.position, self.orientation, self.pixel_spacing

    @property
    def name(self) -> str:
        return self.path.name + (f" frame {self.frame + 1}" if self.frame else "")


@dataclass(frozen=True, eq=False)
class Series:
    """One DICOM series; ``slices`` are in the order of their position in the patient where that is known."""

    uid: str
    folder: Path
    description: str
    modality: str
    slices: tuple[Slice, ...]

    @property
    def files(self) -> list[Path]:
        """The files in slice order, each once."""
        return list(dict.fromkeys(one.path for one in self.slices))

    @property
    def label(self) -> str:
        """The name of the series in a list, for instance ``CT "Thorax 1 mm", 240 slices``."""
        return f'{self.modality or "?"} "{self.description}", {len(self.slices)} slices'


def series_from_headers(uid: str, folder: Path, headers: Sequence[pydicom.Dataset]) -> Series:
    """Group the headers of one SeriesInstanceUID into a series in slice order."""
    slices = [one for header in headers for one in slices_of(header)]
    if all(one.position is not None and one.orientation is not None for one in slices):
        normal = _normal(slices[0])
        slices.sort(key=lambda one: float(one.position @ normal))
    first = headers[0]
    return Series(
        uid=uid,
        folder=folder,
        description=str(first.get("SeriesDescription", "")),
        modality=str(first.get("Modality", "")),
        slices=tuple(slices),
    )


def slices_of(header: pydicom.Dataset) -> list[Slice]:
    """The planes of one file: one, or all frames of an enhanced multi-frame image."""
    frame_count = int(header.get("NumberOfFrames", 1) or 1)
    shared = _first(header, "SharedFunctionalGroupsSequence")
    per_frame = list(header.get("PerFrameFunctionalGroupsSequence", None) or [])
    if len(per_frame) == frame_count:
        return [_slice(header, number, [frame, shared]) for number, frame in enumerate(per_frame)]
    if frame_count > 1:  # a film, or frames with positions in other fields (RT dose)
        slices = [_slice(header, number, []) for number in range(frame_count)]
        return [dataclasses.replace(one, position=None) for one in slices]
    return [_slice(header, 0, [shared])]


def _slice(header: pydicom.Dataset, frame: int, groups: Sequence[pydicom.Dataset | None]) -> Slice:
    """One plane; ``groups`` are the functional groups of an enhanced image, the frame's own before the shared ones."""
    bits = int(header.get("BitsStored", 0) or header.get("BitsAllocated", 16))
    signed = bool(header.get("PixelRepresentation", 0))

    def value(keyword: str, sequence: str) -> Any:
        for group in groups:
            item = _first(group, sequence)
            if item is not None and item.get(keyword) not in (None, ""):
                return item.get(keyword)
        return header.get(keyword)

    slope = value("RescaleSlope", "PixelValueTransformationSequence")
    intercept = value("RescaleIntercept", "PixelValueTransformationSequence")
    return Slice(
        path=Path(header.filename),
        frame=frame,
        rows=int(header.Rows),
        columns=int(header.Columns),
        position=_vector(value("ImagePositionPatient", "PlanePositionSequence"), 3),
        orientation=_vector(value("ImageOrientationPatient", "PlaneOrientationSequence"), 6),
        pixel_spacing=_vector(value("PixelSpacing", "PixelMeasuresSequence"), 2),
        slope=1.0 if slope in (None, "") else float(slope),
        intercept=0.0 if intercept in (None, "") else float(intercept),
        samples=int(header.get("SamplesPerPixel", 1) or 1),
        stored_range=(-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1),
    )


def voxel_type(series: Series) -> np.dtype:
    """The smallest integer type that holds every possible value, or float32 where values are scaled."""
    if any(one.slope != 1 or one.intercept != int(one.intercept) for one in series.slices):
        return np.dtype(np.float32)
    lowest = min(one.stored_range[0] + int(one.intercept) for one in series.slices)
    highest = max(one.stored_range[1] + int(one.intercept) for one in series.slices)
    for dtype in (np.uint8, np.int16, np.uint16, np.int32):
        if np.iinfo(dtype).min <= lowest and highest <= np.iinfo(dtype).max:
            return np.dtype(dtype)
    return np.dtype(np.float32)


def volume_grid(series: Series) -> tuple[tuple[int, int, int], np.ndarray]:
    """Shape (I, J, K) and IJK to RAS affine of the volume that the slices form.

    Raises:
        UserError: the slices do not form one regular volume; names the faulty files or positions.
    """
    slices = series.slices
    _check_planes(series)
    first = slices[0]
    row_direction, column_direction, normal = _axes(first)
    depths = np.array([float(one.position @ normal) for one in slices])
    step = _checked_step(series, depths)
    _check_drift(series, normal, depths)
    position, _, (row_spacing, column_spacing) = first.place
    affine = geometry.affine_from_lps(
        [column_spacing, row_spacing, step],
        np.column_stack([row_direction, column_direction, normal]),
        position,
    )
    geometry.check_affine(affine, str(series.folder))
    return (first.columns, first.rows, len(slices)), affine


def _check_planes(series: Series) -> None:
    """Check that every slice has a position, and all have the same size, direction and pixel spacing."""
    first = series.slices[0]
    for one in series.slices:
        if one.samples != 1:
            raise UserError(f"{one.path} is a colour image; choose a greyscale series.")
        if one.position is None or one.orientation is None or one.pixel_spacing is None:
            kind = "frames" if len(series.slices) > len(series.files) else "slices"
            raise UserError(
                f"{one.path} has no positions for its {kind}, so they form no volume; "
                "choose another series or save the volume as NRRD."
            )
        if not (one.pixel_spacing > 0).all():
            raise UserError(f"{one.path} has a pixel spacing of zero; export the series again.")
        if (one.rows, one.columns) != (first.rows, first.columns):
            raise UserError(
                f"{series.folder} mixes slices of {first.columns} x {first.rows} pixels ({first.name}) and "
                f"{one.columns} x {one.rows} ({one.name}); put them into separate folders."
            )
        if np.abs(one.orientation - first.orientation).max() > DIRECTION_TOLERANCE:
            raise UserError(
                f"{series.folder} mixes slices of different directions ({first.name} and {one.name}), as a "
                "localizer does; put them into separate folders."
            )
        if np.abs(one.pixel_spacing / first.pixel_spacing - 1).max() > DIRECTION_TOLERANCE:
            raise UserError(
                f"{series.folder} mixes slices of different pixel spacing ({first.name} and {one.name}); "
                "put them into separate folders."
            )
    if len(series.slices) < 2:
        raise UserError(
            f"{first.path} is a single slice, but a 3D volume is needed; choose the folder with all slices."
        )


def _checked_step(series: Series, depths: np.ndarray) -> float:
    """Mean distance in mm of neighbouring slices, which must be nearly the same everywhere."""
    gaps = np.diff(depths)
    usual = float(np.median(gaps[gaps > 1e-3])) if (gaps > 1e-3).any() else 0.0
    for number, gap in enumerate(gaps):
        before, after = series.slices[number], series.slices[number + 1]
        where = f"between {before.name} ({depths[number]:.2f} mm) and {after.name} ({depths[number + 1]:.2f} mm)"
        if gap <= SAME_POSITION * usual:
            raise UserError(
                f"{series.folder} has two slices at one position, {before.name} and {after.name} at "
                f"{depths[number]:.2f} mm; remove the duplicate, or separate the time points."
            )
        if gap >= GAP * usual:
            raise UserError(
                f"{series.folder} lacks {max(round(gap / usual) - 1, 1)} slice(s) {where}; copy the series again."
            )
        if abs(gap - usual) > LARGEST_UNEVENNESS * usual:
            raise UserError(
                f"{series.folder} has unevenly spaced slices, {gap:.2f} instead of {usual:.2f} mm {where}; "
                "resample the series to even spacing first."
            )
    unevenness = float(np.abs(gaps / usual - 1).max())
    if unevenness > NOTED_UNEVENNESS:
        logger.warning("%s: slice spacing varies by up to %.1f %%; the mean is used", series.folder, 100 * unevenness)
    return float((depths[-1] - depths[0]) / (len(depths) - 1))


def _check_drift(series: Series, normal: np.ndarray, depths: np.ndarray) -> None:
    """Slices must be stacked without a shift; a tilted gantry shifts them."""
    first = series.slices[0]
    position, _, pixel_spacing = first.place
    moved = np.array([one.place[0] - position for one in series.slices])
    sideways = np.linalg.norm(moved - np.outer(depths - depths[0], normal), axis=1)
    if sideways.max() > LARGEST_DRIFT * pixel_spacing.min():
        raise UserError(
            f"{series.folder} was taken with a tilted gantry or its slices are shifted by up to "
            f"{sideways.max():.1f} mm; load it in 3D Slicer, harden the transform it adds, and "
            "save it as NRRD."
        )


def _axes(one: Slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors along a row, along a column and across the slice; exactly perpendicular."""
    _, orientation, _ = one.place
    row, column = orientation[:3], orientation[3:]
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if np.abs(np.array(lengths) - 1).max() > 0.01 or abs(row @ column) > 0.01:
        raise UserError(f"{one.path} has directions that are not perpendicular; export the series again.")
    row = row / lengths[0]
    column = column - (column @ row) * row
    column /= np.linalg.norm(column)
    return row, column, np.cross(row, column)


def _normal(one: Slice) -> np.ndarray:
    assert one.orientation is not None  # the callers have checked this
    return np.cross(one.orientation[:3], one.orientation[3:])


def _first(dataset: pydicom.Dataset | None, sequence: str) -> pydicom.Dataset | None:
    items = dataset.get(sequence) if dataset is not None else None
    return items[0] if items else None


def _vector(values: Any, length: int) -> np.ndarray | None:
    if values is None or values == "":
        return None
    vector = np.array([float(value) for value in values])
    if len(vector) != length or not np.isfinite(vector).all():
        raise ValueError(f"{length} numbers are needed, not {list(values)}")
    return vector
