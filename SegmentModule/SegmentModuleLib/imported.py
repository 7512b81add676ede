"""Segmentation bundles from elsewhere: applied with their own configuration, shown as named and coloured segments."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from MedDeepLib.core import Context, Method, Prepared
from MedDeepLib.errors import UserError

from SegmentModuleLib.parameters import ImportedApplyParameters

if TYPE_CHECKING:
    from MedDeepLib.core import Predictor, TrainedModel


@dataclass(frozen=True)
class NoParameters:
    """A bundle from elsewhere is not trained here."""


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

    def stages(self, prepared: Prepared, context: Context) -> Iterable[Any]:
        raise UserError("A bundle from elsewhere cannot be trained here: choose a method.")

    def predictor(self, model: TrainedModel, context: Context, options: ImportedApplyParameters) -> Predictor:
        from SegmentModuleLib.worker.imported_prediction import ImportedPredictor

        return ImportedPredictor(model, context, options)
