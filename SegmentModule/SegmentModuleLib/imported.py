"""Segmentation bundles from elsewhere: applied with their own configuration, shown as named and coloured segments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from MedDeepLib.errors import UserError
from MedDeepLib.methods import Context, Method, parameter

if TYPE_CHECKING:
    from MedDeepLib.bundles.model import Model
    from MedDeepLib.data.dataset import Case
    from MedDeepLib.methods import Prediction, Predictor


@dataclass(frozen=True)
class NoParameters:
    """A bundle from elsewhere is not trained here."""


@dataclass(frozen=True)
class ImportedApplyParameters:
    """How a bundle from elsewhere is applied; all else is in its own configuration."""

    largest_component: bool = parameter(False, "Keep only the largest connected piece of each structure.")
    allow_cpu: bool = parameter(
        False,
        "Compute on the CPU what does not fit into the card's memory, which takes much longer.",
        advanced=True,
        matters=False,
    )
    resample_inputs: bool = parameter(
        False, "Resample further input images to the grid of the first one when theirs differs.", advanced=True
    )


class Imported(Method):
    """A MONAI bundle whose own inference configuration says how it is applied."""

    task = "segment"
    name = "monai-bundle"
    title = "MONAI bundle"
    reference = "MONAI Bundle Specification"
    summary = "A bundle from elsewhere, applied with its own preprocessing, inferer and postprocessing."
    Parameters: ClassVar[type] = NoParameters
    ApplyParameters: ClassVar[type] = ImportedApplyParameters
    output_endings = (".seg.nrrd", ".nrrd", ".nii.gz", ".nii", ".mha")

    def stages(self, context: Context) -> Iterable[Any]:
        raise UserError("A bundle from elsewhere cannot be trained here: choose a method.")

    def model_metadata(self, context: Context) -> dict[str, Any]:
        raise UserError("A bundle from elsewhere cannot be trained here: choose a method.")

    def predictor(self, model: Model, context: Context, options: ImportedApplyParameters) -> Predictor:
        from SegmentModuleLib.imported_prediction import ImportedPredictor

        return ImportedPredictor(model, context, options)

    def score(self, prediction: Prediction, case: Case) -> Sequence[dict[str, Any]]:
        from SegmentModuleLib.imported_prediction import score

        return score(prediction, case)
