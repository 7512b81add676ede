"""Candidates of PET/CT from both images, and what is measured of them: shape in CT, uptake in PET."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from MedDeepLib.core import Context
from MedDeepLib.data.geometry import spacing_of
from MedDeepLib.data.preparation import Prepared
from MedDeepLib.training.dense.patches import CachedCase
from scipy import ndimage

from DetectModuleLib.worker.candidates import Candidates, thinned
from DetectModuleLib.worker.cases import boxes_of
from DetectModuleLib.worker.masks import label_pieces
from DetectModuleLib.worker.screening import Proposing, Screen, Search

FEATURES = (
    "network",  # log odds of the network of several views
    "contrast",  # answer of the filter on CT
    "density",  # mean of the CT in its region there
    "volume",  # mm3 of that region
    "compactness",  # that volume as a share of the sphere about the region
    "uptake",  # highest in PET
    "mean uptake",  # in the region of at least 40 % of it, counted from the uptake around
    "metabolic volume",  # mm3 of that region
)
RULED = slice(1, None)  # features that the rules look at: all that are measured
_SHARE = 0.4  # of the highest uptake, and of the contrast, that a region begins at
_MARGIN = 0.8  # of the weakest lesion's answer, which a candidate must reach


@dataclass(frozen=True)
class Streams:
    """The two images of a case on one grid, as filters see them.

    Attributes:
        contrast: (I, J, K) how much brighter the CT is within a ball than in the shell around it, the highest of
            several radii.
        uptake: (I, J, K) PET, slightly smoothed.
    """

    density: np.ndarray
    contrast: np.ndarray
    uptake: np.ndarray


def streams(image: np.ndarray, spacing: np.ndarray, radii: Sequence[float]) -> Streams:
    """From (C, I, J, K), of which the first channel is the CT and the last one the PET; ``radii`` of lesions in mm."""
    density, uptake = image[0], image[-1]
    answers = []
    for radius in radii:
        inner, outer = radius / np.sqrt(3) / spacing, 2 * radius / np.sqrt(3) / spacing
        ball, around = (ndimage.gaussian_filter(density, sigma, truncate=3.0) for sigma in (inner / 1.5, outer / 1.5))
        answers.append(ball - around)
    smoothed = ndimage.gaussian_filter(uptake, min(radii) / 3 / spacing, truncate=3.0)
    return Streams(density, np.max(answers, axis=0), smoothed)


class TwoStreams(Search):
    """Peaks of the contrast in CT and of the uptake in PET, merged; no network screens."""

    def __init__(self) -> None:
        self.limits: tuple[float, float] = (-np.inf, -np.inf)
        """Of contrast and uptake, which candidates must reach, each in its own stream."""

    def answers(self, case: CachedCase, affine: np.ndarray, radii: Sequence[float]) -> np.ndarray:
        """The highest contrast and uptake (N, 2) within each box of a training case."""
        made = streams(case["image"].numpy(), spacing_of(affine), radii)
        found = []
        for box in boxes_of(case)[0]:
            low = np.clip(np.floor(box[:3] - box[3:] / 2).astype(int), 0, np.array(case.shape) - 1)
            high = np.maximum(low + 1, np.ceil(box[:3] + box[3:] / 2).astype(int) + 1)
            cut = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
            found.append([made.contrast[cut].max(), made.uptake[cut].max()])
        return np.array(found).reshape(-1, 2)

    @staticmethod
    def limits_of(answers: np.ndarray) -> np.ndarray:
        """(2,) what nineteen of twenty lesions reach in each stream, and a margin; answers are (N, 2)."""
        weakest = np.quantile(answers, 0.05, axis=0)
        return weakest - (1 - _MARGIN) * np.abs(weakest)

    def propose(
        self,
        screen: Screen | None,
        prepared: Prepared,
        how: Proposing,
        context: Context,
        warn: Callable[[str], None],
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Candidates:
        """Candidates with how far they exceed the limits as a score, 0 to 1."""
        spacing = spacing_of(prepared.affine)
        made = streams(prepared.image.numpy(), spacing, radii_of(how.diameters))
        places, strengths = [], []
        for values, limit in zip((made.contrast, made.uptake), self.limits, strict=True):
            footprint = np.maximum(1, np.round(how.distance / spacing)).astype(int) // 2 * 2 + 1
            peak = (values == ndimage.maximum_filter(values, footprint)) & (values >= limit)
            voxels = np.argwhere(peak)
            heights = values[tuple(voxels.T)]
            extent = max(float(values.max()) - max(limit, float(values.min())), 1e-6)
            places.append(voxels)
            strengths.append((heights - max(limit, float(values.min()))) / extent)
        voxels, scores = np.concatenate(places).astype(float), np.concatenate(strengths)
        points = voxels @ prepared.affine[:3, :3].T + prepared.affine[:3, 3]
        kept = thinned(points, scores, how.distance, how.most + 1)
        if len(kept) > how.most:
            warn(f"More than {how.most} candidates were found: only the {how.most} strongest are kept.")
        return Candidates.at(points, scores)[kept[: how.most]]


def radii_of(diameters: Sequence[float]) -> tuple[float, ...]:
    """The radii in mm that the filter looks for: half, once and twice those of a typical finding."""
    typical = float(np.median(diameters)) / 2
    return typical / 2, typical, 2 * typical


def measured(image: np.ndarray, affine: np.ndarray, voxels: np.ndarray, diameters: Sequence[float]) -> np.ndarray:
    """The features (N, 7) of candidates at voxels (N, 3) of (C, I, J, K): all of :data:`FEATURES` but the first."""
    spacing, radii = spacing_of(affine), radii_of(diameters)
    made, reach = streams(image, spacing, radii), np.ceil(2 * max(radii) / spacing).astype(int)
    rows = [_measured_one(made, np.rint(voxel).astype(int), reach, spacing) for voxel in voxels]
    return np.array(rows).reshape(-1, len(FEATURES) - 1)


def _measured_one(made: Streams, voxel: np.ndarray, reach: np.ndarray, spacing: np.ndarray) -> list[float]:
    low = np.maximum(voxel - reach, 0)
    high = np.minimum(voxel + reach + 1, made.density.shape)
    cut = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    middle = tuple(voxel - low)
    density, contrast, uptake = made.density[cut], made.contrast[cut], made.uptake[cut]
    dense, active = _region(contrast, middle, 0.0), _region(uptake, middle, float(np.median(uptake)))
    size = float(np.prod(spacing))
    volume = float(dense.sum()) * size
    farthest = np.linalg.norm((np.argwhere(dense) - middle) * spacing, axis=1).max() + spacing.mean() / 2
    return [
        float(contrast[middle]),
        float(density[dense].mean()),
        volume,
        min(1.0, volume / (4 / 3 * np.pi * farthest**3)),
        float(uptake[active].max()),
        float(uptake[active].mean()),
        float(active.sum()) * size,
    ]


def _region(values: np.ndarray, middle: tuple[int, ...], base: float) -> np.ndarray:
    """The connected voxels about the middle that exceed ``base`` by the share of what the middle exceeds it by."""
    mask = values >= base + _SHARE * (values[middle] - base)
    labels, _ = label_pieces(mask)
    if not labels[middle]:  # the middle lies below the base: it is a region of its own
        region = np.zeros(values.shape, bool)
        region[middle] = True
        return region
    return labels == labels[middle]
