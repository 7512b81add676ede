"""The voxels of findings as a segmentation, a structure for each class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from MedDeepLib.data.classes import numbered_classes
from MedDeepLib.data.sources.image import write_image
from MedDeepLib.data.sources.labels import write_segmentation
from MedDeepLib.errors import UserError

from DetectModuleLib.findings import Finding


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
