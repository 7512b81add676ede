"""Voxels of findings: connected pieces, and all of them as a segmentation with a structure for each class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from MedDeepLib.data.classes import numbered_classes
from MedDeepLib.data.sources.image import write_image
from MedDeepLib.data.sources.labels import write_segmentation
from MedDeepLib.errors import UserError
from scipy import ndimage

from DetectModuleLib.findings import Finding


def label_pieces(mask: np.ndarray, structure: np.ndarray | None = None) -> tuple[np.ndarray, int]:
    """The connected pieces of a mask, numbered from 1, and their count.

    ``structure`` says which voxels are neighbours, by default those with a common face.
    """
    found: Any = ndimage.label(mask, structure)
    return found


def write_masks(
    path: Path, findings: Sequence[Finding], shape: Sequence[int], affine: np.ndarray, classes: Sequence[str]
) -> None:
    """Write a segmentation (.seg.nrrd) or a plain label image, on the grid of the image.

    Raises UserError when a finding has no voxels, only a box.
    """
    labels = np.zeros(tuple(shape), np.uint8)
    for finding in findings:
        if finding.mask is None:
            raise UserError(f"{path.name} was not written: this method finds boxes, not the voxels of the findings.")
        labels[tuple(finding.mask.voxels.T)] = 1 + list(classes).index(finding.class_name)
    if path.name.lower().endswith(".seg.nrrd"):
        write_segmentation(path, labels, affine, numbered_classes(classes))
    else:
        write_image(path, labels, affine)
