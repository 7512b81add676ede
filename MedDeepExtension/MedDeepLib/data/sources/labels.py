"""Segmentations as files: label images with names, colours and terminology, in 3D Slicer's .seg.nrrd format.

A label image holds one integer per voxel; 0 is background. A ``Segment`` says what a value means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from MedDeepLib.data import geometry
from MedDeepLib.data.files import atomic_path
from MedDeepLib.data.formats import nrrd_file
from MedDeepLib.data.sources.image import Image, read_image
from MedDeepLib.errors import UserError

LARGEST_LABEL = np.iinfo(np.uint16).max
TERMINOLOGY_TAG = "TerminologyEntry"
CATEGORY_CONTEXT = "Segmentation category and type - 3D Slicer General Anatomy list"
REGION_CONTEXT = "Anatomic codes - DICOM master list"
TISSUE = ("SCT", "85756007", "Tissue")

Code = tuple[str, str, str]
"""Coding scheme, code value and code meaning, for instance ``("SCT", "10200004", "Liver")``."""


class OtherGridError(UserError):
    """Labels are on another voxel grid than their image; only resampling could match them."""


@dataclass(frozen=True)
class Segment:
    """One structure of a segmentation.

    Attributes:
        value: voxel value, 1 to 65535.
        color: red, green and blue from 0 to 1.
        terminology: entry as 3D Slicer serialises it, see :func:`terminology_entry`; empty means plain
        tissue.
    """

    value: int
    name: str
    color: tuple[float, float, float]
    terminology: str = ""


def terminology_entry(category: Code, segment_type: Code, modifier: Code | None = None) -> str:
    """Serialise coded terms in the way 3D Slicer does and its DICOM SEG export reads."""
    terms = [_serialised(category), _serialised(segment_type), _serialised(modifier)]
    return "~".join([CATEGORY_CONTEXT, *terms, REGION_CONTEXT, _serialised(None), _serialised(None)])


def _serialised(code: Code | None) -> str:
    return "^".join(code or ("", "", ""))


def write_segmentation(path: str | Path, labels: np.ndarray, affine: np.ndarray, segments: Sequence[Segment]) -> None:
    """Write a segmentation that 3D Slicer loads with names, colours, terminology and values.

    ``path`` is either complete or untouched.

    Args:
        path: ends in .seg.nrrd; missing folders are made.
        labels: (I, J, K) integers; stored as uint8 if the values allow, else as uint16.
        affine: 4x4, IJK to RAS, millimetres.
        segments: one for every value in ``labels`` besides 0; there may be more, which are then empty.

    Raises:
        UserError: another ending, a value without a segment, unwritable folder, full disk.
    """
    path = Path(path)
    if not path.name.lower().endswith(".seg.nrrd"):
        raise UserError(f"{path} cannot be written as a segmentation; its name must end in .seg.nrrd.")
    geometry.check_affine(affine, str(path))
    stored = _stored_labels(labels, segments, path)
    affine = np.asarray(affine, float)
    key_values = _slicer_fields(stored.shape, affine, segments)
    with atomic_path(path, ".nrrd") as temporary:
        nrrd_file.write_labels(temporary, stored, geometry.LPS_TO_RAS @ affine, key_values)


def write_layers(path: str | Path, masks: np.ndarray, affine: np.ndarray, segments: Sequence[Segment]) -> None:
    """Write structures that may overlap as a segmentation that 3D Slicer loads, with a layer for each.

    Args:
        masks: (S, I, J, K), not 0 where a voxel belongs to the structure; in the order of ``segments``.
        path, affine, segments: as for :func:`write_segmentation`, and so are the errors.
    """
    path = Path(path)
    if masks.ndim != 4 or len(masks) != len(segments):
        raise ValueError(f"a mask (I, J, K) for each of {len(segments)} segments is needed, not {masks.shape}")
    if len(segments) == 1:
        write_segmentation(path, (masks[0] != 0) * np.uint8(segments[0].value), affine, segments)
        return
    geometry.check_affine(affine, str(path))
    kind = np.uint8 if max(segment.value for segment in segments) <= 255 else np.uint16
    values = np.array([segment.value for segment in segments], kind)[:, None, None, None]
    affine = np.asarray(affine, float)
    key_values = _slicer_fields(masks.shape[1:], affine, segments)
    key_values |= {f"Segment{number}_Layer": str(number) for number in range(len(segments))}
    with atomic_path(path, ".nrrd") as temporary:
        nrrd_file.write_labels(temporary, (masks != 0) * values, geometry.LPS_TO_RAS @ affine, key_values)


def read_segmentation(path: str | Path) -> tuple[np.ndarray, np.ndarray, list[Segment]]:
    """Read a .seg.nrrd file, or any label image, as one label array.

    Returns:
        ``(labels, affine, segments)``: labels (I, J, K) as uint8 or uint16, affine 4x4 IJK to RAS in
        millimetres. ``segments`` is empty for files that are plain label images.

        3D Slicer crops a segmentation to its contents when it saves it, so the grid may be a part of the
        image's grid; :func:`place_on_grid` puts the labels onto the whole of it.

    Raises:
        UserError: as for :func:`~MedDeepLib.data.sources.image.read_image`; values that are not labels; segments
            that overlap or share a value.
    """
    image = read_image(path)
    fields = _segmentation_fields(Path(path))
    layers = [_as_labels(channel, path) for channel in image.array]
    if not fields:
        if len(layers) > 1:
            raise UserError(f"{path} has {len(layers)} values per voxel, but labels have one; choose a label image.")
        return layers[0], image.affine, []
    segments, layer_numbers = _parse_segments(fields)
    return _merge_layers(layers, segments, layer_numbers, path), image.affine, segments


def place_on_grid(
    labels: np.ndarray, affine: np.ndarray, grid_affine: np.ndarray, grid_shape: Sequence[int], name: str
) -> np.ndarray:
    """Put labels that cover part of a grid, or have flipped axes, onto the grid; nothing is interpolated.

    Args:
        labels: (i, j, k) on ``affine``.
        grid_affine, grid_shape: the image's grid.
        name: of the labels, for error messages.

    Returns:
        Labels of ``grid_shape``, 0 where ``labels`` does not reach.

    Raises:
        OtherGridError: the voxels of the two grids do not coincide.
        UserError: labelled voxels lie outside the image.
    """
    if labels.shape == tuple(grid_shape) and geometry.affines_match(affine, grid_affine, labels.shape):
        return labels
    turned = geometry.with_axes_of(labels, affine, grid_affine)
    offset = None
    if turned is not None:
        labels, affine = turned
        offset = geometry.voxel_offset(affine, labels.shape, grid_affine)
    if offset is None:
        raise OtherGridError(f"{name} is on another voxel grid than its image; resample it to the image's grid first.")
    target_slices, source_slices = [], []
    for start, size, grid_size in zip(offset, labels.shape, grid_shape, strict=True):
        low, high = max(start, 0), max(min(start + size, grid_size), max(start, 0))
        target_slices.append(slice(low, high))
        source_slices.append(slice(low - start, high - start))
    inside = labels[tuple(source_slices)]
    if np.count_nonzero(inside) != np.count_nonzero(labels):
        raise UserError(f"{name} has labelled voxels outside its image; check that the two belong together.")
    placed = np.zeros(tuple(grid_shape), labels.dtype)
    placed[tuple(target_slices)] = inside
    return placed


def _stored_labels(labels: np.ndarray, segments: Sequence[Segment], path: Path) -> np.ndarray:
    values = [segment.value for segment in segments]
    if labels.ndim != 3 or labels.size == 0 or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels must be integers of shape (I, J, K), not {labels.dtype} {labels.shape}")
    if len(set(values)) != len(values) or not all(1 <= value <= LARGEST_LABEL for value in values):
        raise ValueError(f"every segment needs its own value from 1 to {LARGEST_LABEL}, not {values}")
    unknown = sorted(set(np.unique(labels).tolist()) - set(values) - {0})
    if unknown:
        shown = ", ".join(str(value) for value in unknown[:10])
        raise UserError(f"{path} was not written: voxels have the values {shown}, for which no segment is named.")
    return labels.astype(np.uint8 if max(values, default=0) <= 255 else np.uint16)


def _slicer_fields(shape: tuple[int, int, int], affine: np.ndarray, segments: Sequence[Segment]) -> dict[str, str]:
    extent = " ".join(f"0 {size - 1}" for size in shape)
    grid = ";".join([*(repr(float(value)) for value in affine.ravel()), *extent.split()])
    fields = {
        "Segmentation_ContainedRepresentationNames": "Binary labelmap|",
        "Segmentation_ConversionParameters": f"Reference image geometry|{grid};|Grid of the labels.&",
        "Segmentation_MasterRepresentation": "Binary labelmap",
        "Segmentation_ReferenceImageExtentOffset": "0 0 0",
    }
    for number, segment in enumerate(segments):
        terminology = segment.terminology or terminology_entry(TISSUE, TISSUE)
        fields |= {
            f"Segment{number}_Color": " ".join(f"{value:.6f}" for value in segment.color),
            f"Segment{number}_ColorAutoGenerated": "0",
            f"Segment{number}_Extent": extent,
            f"Segment{number}_ID": f"Segment_{segment.value}",
            f"Segment{number}_LabelValue": str(segment.value),
            f"Segment{number}_Layer": "0",
            f"Segment{number}_Name": " ".join(segment.name.split()),
            f"Segment{number}_NameAutoGenerated": "0",
            f"Segment{number}_Tags": f"{TERMINOLOGY_TAG}:{terminology}|",
        }
    return fields


def _segmentation_fields(path: Path) -> dict[str, str]:
    """The ``Segment...`` fields of an NRRD header; empty for every other file."""
    if not path.name.lower().endswith((".nrrd", ".nhdr")):
        return {}
    fields = nrrd_file.read_key_values(path)
    return {key: value for key, value in fields.items() if key.startswith("Segment")}


def _parse_segments(fields: Mapping[str, str]) -> tuple[list[Segment], list[int]]:
    segments, layer_numbers = [], []
    while f"Segment{len(segments)}_ID" in fields:
        number = len(segments)
        tags = dict(tag.split(":", 1) for tag in fields.get(f"Segment{number}_Tags", "").split("|") if ":" in tag)
        color: Any = tuple(float(value) for value in fields.get(f"Segment{number}_Color", "0.5 0.5 0.5").split())
        segments.append(
            Segment(
                value=int(fields.get(f"Segment{number}_LabelValue", 1)),
                name=fields.get(f"Segment{number}_Name", fields[f"Segment{number}_ID"]),
                color=color,
                terminology=tags.get(TERMINOLOGY_TAG, ""),
            )
        )
        # Files of old versions have no layer numbers and one layer per segment.
        layer_numbers.append(int(fields.get(f"Segment{number}_Layer", number)))
    return segments, layer_numbers


def _merge_layers(
    layers: list[np.ndarray], segments: list[Segment], layer_numbers: list[int], path: str | Path
) -> np.ndarray:
    if len(layers) == 1:
        return layers[0]
    values = [segment.value for segment in segments]
    advice = (
        "; in 3D Slicer's Segmentations module export it to a label map, or erase the overlap and choose "
        "Collapse labelmap layers, and save it again."
    )
    if len(set(values)) != len(values):
        raise UserError(f"{path} has segments that share a label value in different layers{advice}")
    merged = np.zeros_like(layers[0], dtype=max(layers, key=lambda layer: layer.dtype.itemsize).dtype)
    for segment, layer_number in zip(segments, layer_numbers, strict=True):
        voxels = layers[layer_number] == segment.value
        if (merged[voxels] != 0).any():
            raise UserError(f"{path} has segments that overlap ({segment.name} and another){advice}")
        merged[voxels] = segment.value
    return merged


def _as_labels(array: np.ndarray, path: str | Path) -> np.ndarray:
    """Labels (I, J, K) as uint8 or uint16, whatever type the file holds."""
    lowest, highest = array.min(), array.max()
    if not (lowest >= 0 and highest <= LARGEST_LABEL):  # also catches voxels that are not a number
        raise UserError(
            f"{path} has values from {lowest:g} to {highest:g}, but labels run from 0 to {LARGEST_LABEL}; "
            "choose a label image."
        )
    labels = array.astype(np.uint8 if highest <= 255 else np.uint16, copy=False)
    if np.issubdtype(array.dtype, np.inexact) and not np.array_equal(labels, array):
        raise UserError(f"{path} has fractional values, but labels are whole numbers; choose a label image.")
    return labels


def label_image(image: Image) -> np.ndarray:
    """Labels (I, J, K) as uint8 or uint16 of a one-channel image that is already in memory."""
    if len(image.array) != 1:
        raise UserError(f"{image.path or 'The image'} has {len(image.array)} channels, but labels have one.")
    return _as_labels(image.array[0], image.path or "The image")
