"""How well two label maps agree: Dice, Hausdorff distance, surface distance, volume error, for each structure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from MedDeepLib.data.geometry import spacing_of, voxel_volume
from MedDeepLib.data.sources.labels import Segment


def structure_scores(
    prediction: np.ndarray, reference: np.ndarray, affine: np.ndarray, classes: Iterable[Segment]
) -> list[dict[str, Any]]:
    """One row per structure.

    Args:
        prediction, reference: label maps (I, J, K) on the same grid.
        affine: of that grid, IJK to RAS, mm.
        classes: the structures to compare.

    Returns:
        Rows with ``structure``, ``dice`` (2|A∩B|/(|A|+|B|)), ``hd95_mm`` (95th percentile of the symmetric Hausdorff
        distance), ``assd_mm`` (average symmetric surface distance), ``volume_ml``, ``reference_ml``,
        ``volume_error_ml`` and ``volume_error_percent``. A structure that neither map has gives None for all metrics
        of agreement; one that only one map has gives Dice 0 and None for the distances, which do not exist.
    """
    spacing = spacing_of(affine)
    millilitres = voxel_volume(affine) / 1000
    rows = []
    for segment in classes:
        a, b = prediction == segment.value, reference == segment.value
        volume, true_volume = int(a.sum()) * millilitres, int(b.sum()) * millilitres
        dice = hd95 = assd = None
        if a.any() and b.any():
            a, b = _cropped(a, b)
            dice = 2 * float((a & b).sum()) / float(a.sum() + b.sum())
            hd95, assd = _distances(a, b, spacing)
        elif a.any() or b.any():
            dice = 0.0
        rows.append(
            {
                "structure": segment.name,
                "dice": dice,
                "hd95_mm": hd95,
                "assd_mm": assd,
                "volume_ml": volume,
                "reference_ml": true_volume,
                "volume_error_ml": volume - true_volume,
                "volume_error_percent": 100 * (volume / true_volume - 1) if true_volume else None,
            }
        )
    return rows


def cases_without_structures(rows: Iterable[dict[str, Any]]) -> list[str]:
    """Names of the cases whose reference is empty, from rows of :func:`structure_scores` with a ``case`` each."""
    volumes: dict[str, list[float | None]] = {}
    for row in rows:
        volumes.setdefault(row["case"], []).append(row.get("reference_ml"))
    return [case for case, references in volumes.items() if all(volume == 0 for volume in references)]


def count_labels(labels: np.ndarray, highest: int) -> np.ndarray:
    """How many voxels of ``labels`` (I, J, K) have each value from 0 to ``highest``, and beyond if there are any.

    Plane by plane, because numpy counts in eight bytes per voxel.
    """
    highest = max(highest, int(labels.max()))
    counts = (np.bincount(plane.ravel(), minlength=highest + 1) for plane in labels)
    return sum(counts, np.zeros(highest + 1, np.intp))


def mean_dice(prediction: np.ndarray, reference: np.ndarray, values: Iterable[int]) -> float:
    """Mean Dice over those of ``values`` that occur in either map, 0 when none does; quick, for use during training.

    A structure that only the prediction has counts as 0.
    """
    values = list(values)
    highest = max(0, *values, int(prediction.max()), int(reference.max()))  # each may have values that the other lacks
    both = count_labels(np.where(prediction == reference, prediction, 0), highest)
    total = count_labels(prediction, highest) + count_labels(reference, highest)
    scores = [2 * both[value] / total[value] for value in values if total[value]]
    return float(np.mean(scores)) if scores else 0.0


def _cropped(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both masks cut to what they contain, with a margin, so that the cost depends on the structure's size."""
    union = a | b
    box = []
    for axis in range(3):
        present = np.flatnonzero(union.any(axis=tuple(other for other in range(3) if other != axis)))
        box.append(slice(max(0, int(present[0]) - 1), int(present[-1]) + 2))
    return a[tuple(box)], b[tuple(box)]


def _distances(a: np.ndarray, b: np.ndarray, spacing: np.ndarray) -> tuple[float, float]:
    from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance

    masks = {
        "y_pred": a[None, None],
        "y": b[None, None],
        "include_background": True,
        "spacing": spacing.tolist(),
    }
    hd95 = compute_hausdorff_distance(percentile=95, **masks)
    assd = compute_average_surface_distance(symmetric=True, **masks)
    return float(hd95), float(assd)
