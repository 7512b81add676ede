"""Applies a trained detection method to the images of a case."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from MedDeepLib.core import Context, Prediction, Predictor, TrainedModel
from MedDeepLib.data.padding import padding_in_words
from MedDeepLib.data.preparation import Plan, Prepared, prepare, stack_channels
from MedDeepLib.data.slots import Source
from MedDeepLib.data.sources.image import Image, read_image
from MedDeepLib.errors import UserError

from DetectModuleLib.findings import Finding, write_findings
from DetectModuleLib.parameters import ApplyParameters
from DetectModuleLib.worker.masks import write_masks
from DetectModuleLib.worker.references import Reading


@dataclass(eq=False)
class FindingsPrediction(Prediction):
    """What was found in one image.

    Attributes:
        candidates: all findings, the highest score first, below the threshold too: FROC needs them.
        threshold: those with a lower score are left out of files and summaries.
        shape, affine: of the image, (I, J, K) and IJK to RAS mm.
        path: of the image, or of its DICOM series; None if it has none.
        reading: how targets of cases that this is compared with are read, as in the training.
        remark: what has to be said of the result.
    """

    candidates: Sequence[Finding]
    threshold: float
    shape: tuple[int, ...]
    affine: np.ndarray
    path: Path | None
    reading: Reading
    remark: str = ""

    @property
    def findings(self) -> list[Finding]:
        """Those with a score of the threshold or above."""
        return [finding for finding in self.candidates if finding.score >= self.threshold]

    def save(self, outputs: Mapping[str, Path]) -> list[Path]:
        for name, path in outputs.items():
            if name == "masks":
                write_masks(path, self.findings, self.shape, self.affine, self.reading.classes)
            else:
                write_findings(path, self.findings, self.path)
        return list(outputs.values())

    def summary(self) -> dict[str, Any]:
        """The number of findings of each class."""
        found = [finding.class_name for finding in self.findings]
        return {name: found.count(name) for name in self.reading.classes}

    def in_words(self) -> str:
        return self.remark


class DetectionPredictor(Predictor):
    """Brings a case to the network's grid, has it searched, and returns what was found in RAS mm."""

    def __init__(self, model: TrainedModel, options: ApplyParameters):
        self.model, self.options = model, options
        self.plan = Plan.from_dict(model.metadata["plan"])

    @abstractmethod
    def find(self, prepared: Prepared, image: Image, context: Context) -> tuple[list[Finding], str]:
        """Findings of one case and a remark on them, which may be empty.

        Args:
            prepared: the case on the network's grid; see ``self.plan``.
            image: all channels on the case's own grid, for methods that measure intensities.

        Raises Stopped when the user asked to stop.
        """

    def with_options(self, options: ApplyParameters) -> DetectionPredictor:
        other = copy.copy(self)
        other.options = options
        return other

    def read(self, inputs: Mapping[str, Source]) -> list[Image]:
        return [read_image(file) for file in inputs["image"].files]

    def predict(self, images: Sequence[Image], context: Context, wanted: Collection[str] = ()) -> FindingsPrediction:
        with context.phases("prepare"):
            image = stack_channels(images, self.options.resample_inputs)
        channels = self.model.channels
        if len(image.array) != len(channels):
            raise UserError(
                f"The model needs {len(channels)} input channel{'s' if len(channels) > 1 else ''} "
                f"({', '.join(channels)}), but {len(image.array)} were given."
            )
        padding = padding_in_words(images)
        if padding:
            context.report("message", message=padding)
        with context.phases("prepare"):
            prepared = prepare(image, self.plan)
        with context.phases("network"):
            found, remark = self.find(prepared, image, context)
        found = sorted(found, key=lambda finding: -finding.score)
        if len(found) > self.options.most:
            kept = f"{len(found)} places were found, and the {self.options.most} with the highest scores kept."
            found, remark = found[: self.options.most], f"{remark} {kept}".strip()
        threshold = self.options.threshold
        return FindingsPrediction(found, threshold, image.shape, image.affine, image.path, self.reading, remark)

    @property
    def reading(self) -> Reading:
        """How targets are read, as in the training."""
        parameters: Mapping[str, Any] = self.model.metadata["parameters"]
        return Reading(
            self.model.classes,
            self.model.segments,
            float(parameters.get("point_diameter", 0.0)),
            float(parameters.get("smallest_piece", 0.0)),
        )
