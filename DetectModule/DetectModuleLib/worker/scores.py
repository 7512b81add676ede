"""Compares findings with those that a case is known to have, class by class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from MedDeepLib.core import Prediction
from MedDeepLib.data.slots import Case
from MedDeepLib.data.sources.boxes import Box
from MedDeepLib.errors import UserError
from MedDeepLib.evaluation.average_precision import match_boxes
from MedDeepLib.evaluation.detection import MISSED, counts_at, detection_rows
from MedDeepLib.evaluation.froc import FALSE_POSITIVE, HIT, match_luna16

from DetectModuleLib.worker.prediction import FindingsPrediction
from DetectModuleLib.worker.references import excluded_boxes, reference_boxes


def case_scores(prediction: Prediction, case: Case) -> list[dict[str, Any]]:
    """The rows of :func:`MedDeepLib.evaluation.detection.detection_rows` for every class.

    A finding hits a reference if it is nearer to its centre than half the mean length of the edges of its box. Besides,
    at the threshold of the application, "sensitivity" is 1 for a reference that was found and 0 for another, and
    "false_positives" in the first row is their number in the case.

    Raises UserError when the targets cannot be read, or have a class that the model does not know.
    """
    if not isinstance(prediction, FindingsPrediction):
        raise UserError("This model gives no findings: boxes cannot evaluate it.")
    shape, affine, threshold = prediction.shape, prediction.affine, prediction.threshold
    references = reference_boxes(case, shape, affine, prediction.reading)
    excluded = excluded_boxes(case, affine)
    flat = [axis for axis in range(3) if shape[axis] == 1]
    rows: list[dict[str, Any]] = []
    for name in prediction.reading.classes:
        found = [finding.box for finding in prediction.candidates if finding.class_name == name]
        known = [box for box in references if box.class_name == name]
        scores = np.array([1.0 if box.score is None else box.score for box in found])
        regions = _spheres(excluded, affine, flat)
        hits = match_luna16((_centers(found), scores), _spheres(known, affine, flat), regions)
        own = detection_rows(hits, match_boxes(found, scores.tolist(), known, excluded))
        false = counts_at([row | {"case": case.name} for row in own], threshold)[FALSE_POSITIVE]
        for number, row in enumerate(own):
            is_reference = row["outcome"] in (HIT, MISSED)
            shown = row["score"] is not None and row["score"] >= threshold
            row["sensitivity"] = float(shown) if is_reference else None
            row["false_positives"] = false if number == 0 else None
            rows.append({"class": name} | row)
    return rows


def _centers(boxes: Sequence[Box]) -> np.ndarray:
    return np.array([box.center for box in boxes]).reshape(-1, 3)


def _spheres(boxes: Sequence[Box], affine: np.ndarray, flat: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Centres (N, 3) and radii (N,) in mm, half the mean edge; without the edges across a flat image."""
    radii = []
    for box in boxes:
        across = {int(np.abs(box.axes.T @ affine[:3, axis]).argmax()) for axis in flat}
        radii.append(np.mean([size for axis, size in enumerate(box.size) if axis not in across]) / 2)
    return _centers(boxes), np.array(radii)
