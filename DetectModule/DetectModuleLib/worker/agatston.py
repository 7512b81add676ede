"""Coronary calcium scores: Agatston's, and volume (Agatston et al. 1990, 10.1016/0735-1097(90)90282-T).

Agatston's score is a sum over slices and, in each slice, over separate calcifications: the area in mm2 times a density
factor that follows from the brightest voxel *of this calcification in this slice*. Programs that take one factor for a
lesion in 3D overrate lesions with a single dense spot.

============  ======================================================================================================
peak in HU    130 to 199: 1, 200 to 299: 2, 300 to 399: 3, from 400: 4
minimum area  pieces in a slice of less than 1 mm2 are noise and count in no score
slices        defined for 3 mm from slice to slice; other distances are scaled: twice as many slices add up to twice
              the area (distance / 3 mm)
============  ======================================================================================================

The threshold of 130 HU belongs to scans without contrast agent. In contrast CT angiography blood is brighter, so that
it has to be higher; such a score ranks patients, but does not compare with published scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from MedDeepLib.data import geometry
from scipy import ndimage

from DetectModuleLib.worker.masks import label_pieces

THRESHOLD = 130.0  # HU
MINIMUM_AREA = 1.0  # mm2
SLICES = 3.0  # mm
RISKS = ("0", "1-10", "11-100", "101-400", "> 400")
_FACTOR_LIMITS, _RISK_LIMITS = (200.0, 300.0, 400.0), (10.0, 100.0, 400.0)


@dataclass(frozen=True)
class CalciumScore:
    """The calcium of one lesion or of all of them.

    Attributes:
        agatston: its score, scaled to slices of 3 mm.
        volume: mm3 of the voxels that count.
        lesions: the scores of each lesion by its label.
    """

    agatston: float = 0.0
    volume: float = 0.0
    lesions: Mapping[int, CalciumScore] = field(default_factory=dict)

    @property
    def risk(self) -> str:
        """One of :data:`RISKS`; any calcium at all is more than 0."""
        if self.agatston <= 0:
            return RISKS[0]
        return RISKS[1 + sum(self.agatston > limit for limit in _RISK_LIMITS)]


def density_factor(peak: float) -> int:
    """1 to 4 for the highest value in HU of a calcification in a slice."""
    return 1 + sum(peak >= limit for limit in _FACTOR_LIMITS)


def calcium_score(
    values: np.ndarray,
    affine: np.ndarray,
    lesions: np.ndarray,
    threshold: float = THRESHOLD,
    minimum_area: float = MINIMUM_AREA,
) -> CalciumScore:
    """The scores of all lesions together, and of each.

    Args:
        values: (I, J, K) in HU.
        affine: IJK to RAS in mm. Slices are those along the axis nearest to the patient's own.
        lesions: (I, J, K) the label of the lesion that a voxel belongs to, 0: none. Voxels below the threshold do not
            count. Parts that touch in a slice, corners included, are one calcification.
        minimum_area: mm2 of a calcification in a slice.
    """
    order, _ = geometry.canonical_axes(affine)
    across = order[2]  # the axis along which slices lie
    spacing = geometry.spacing_of(affine)
    area = float(np.prod(np.delete(spacing, across)))
    found = {}
    for number, box in enumerate(ndimage.find_objects(lesions), start=1):
        if box is not None:
            part, mask = (np.moveaxis(array[box], across, -1) for array in (values, lesions))
            mask = (mask == number) & (part >= threshold)
            found[number] = _of_lesion(part, mask, area, float(spacing[across]), minimum_area)
    agatston = float(sum(score.agatston for score in found.values()))
    volume = float(sum(score.volume for score in found.values()))
    return CalciumScore(agatston, volume, found)


def _of_lesion(values: np.ndarray, mask: np.ndarray, area: float, distance: float, minimum_area: float) -> CalciumScore:
    score = voxels = 0.0
    for number in range(mask.shape[2]):
        pieces, count = label_pieces(mask[..., number], np.ones((3, 3)))
        for piece in range(1, count + 1):
            within = pieces == piece
            size = int(within.sum())
            # A hair's breadth less, since 4 voxels of .5 x .5 mm are 1 mm2 only up to rounding.
            if size * area >= minimum_area * (1 - 1e-6):
                score += size * area * density_factor(float(values[..., number][within].max()))
                voxels += size
    return CalciumScore(score * distance / SLICES, voxels * area * distance)
