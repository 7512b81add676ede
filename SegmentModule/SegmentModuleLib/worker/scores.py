"""Compares a segmentation with the reference labels of its case."""

from __future__ import annotations

from typing import Any

import numpy as np
from MedDeepLib.core import Prediction
from MedDeepLib.data.slots import Case
from MedDeepLib.data.sources.image import Image
from MedDeepLib.errors import UserError
from MedDeepLib.evaluation.overlap import structure_scores

from SegmentModuleLib.worker.cases import read_reference
from SegmentModuleLib.worker.prediction import SegmentationPrediction


def case_scores(prediction: Prediction, case: Case) -> list[dict[str, Any]]:
    """One row per structure, as :func:`MedDeepLib.evaluation.overlap.structure_scores` gives them.

    Raises UserError when the prediction is no label map, or the reference does not fit it.
    """
    if not isinstance(prediction, SegmentationPrediction):
        raise UserError("This model gives no label map, or its structures overlap: label images cannot evaluate it.")
    grid = Image(prediction.labels[None], prediction.affine)
    indices = read_reference(case, grid, prediction.classes, prediction.resample_labels)
    values = np.array([0, *(segment.value for segment in prediction.classes)])
    return structure_scores(prediction.labels, values[indices], prediction.affine, prediction.classes)
