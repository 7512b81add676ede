"""Applies a segmentation bundle from elsewhere, and reads its result as structures."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from MedDeepLib.bundles.foreign.inspection import read_bundle
from MedDeepLib.bundles.foreign.workflow import Workflow
from MedDeepLib.bundles.metadata import has_background
from MedDeepLib.core import Context, Prediction, TrainedModel
from MedDeepLib.data.geometry import voxel_volume
from MedDeepLib.data.preparation import stack_channels
from MedDeepLib.data.sources.image import Image, write_image
from MedDeepLib.data.sources.labels import Segment, write_layers
from MedDeepLib.errors import UserError
from MedDeepLib.inference.backends.backend import Backend
from MedDeepLib.inference.backends.converted import Converted
from MedDeepLib.inference.progress import TileProgress

from SegmentModuleLib.parameters import ImportedApplyParameters
from SegmentModuleLib.worker.memory_steps import predict_within_memory
from SegmentModuleLib.worker.postprocessing import classes_to_clean, keep_largest_components, removal_in_words
from SegmentModuleLib.worker.prediction import ImagePredictor, SegmentationPrediction


@dataclass(eq=False)
class OverlappingPrediction(Prediction):
    """Structures that may overlap: masks (S, I, J, K), uint8, in the order of ``classes``."""

    unit = "ml"

    masks: np.ndarray
    affine: np.ndarray
    classes: tuple[Segment, ...]
    removed: dict[str, float] = field(default_factory=dict)

    def save(self, outputs: Mapping[str, Path]) -> list[Path]:
        for path in outputs.values():
            self.write(path)
        return list(outputs.values())

    def write(self, path: Path) -> None:
        """Write a segmentation with a layer for each structure, or an image with a channel for each."""
        if path.name.lower().endswith(".seg.nrrd"):
            write_layers(path, self.masks, self.affine, self.classes)
        else:
            write_image(path, self.masks, self.affine)

    def summary(self) -> dict[str, Any]:
        """Volume of every structure in ml."""
        millilitres = voxel_volume(self.affine) / 1000
        counts = [int(np.count_nonzero(mask)) for mask in self.masks]
        return {s.name: round(count * millilitres, 4) for s, count in zip(self.classes, counts, strict=True)}

    def in_words(self) -> str:
        return removal_in_words(self.removed)


class ImportedPredictor(ImagePredictor):
    """A bundle from elsewhere on its device, ready for any number of cases."""

    def __init__(self, model: TrainedModel, context: Context, options: ImportedApplyParameters):
        self._model, self._device = model, context.device
        self._bundle = read_bundle(model.folder)
        self._workflow = Workflow(self._bundle, context.device)
        self._set_options(options)
        for fact in self._bundle.facts():
            context.report("message", message=fact)

    def with_options(self, options: ImportedApplyParameters) -> ImportedPredictor:
        other = copy.copy(self)
        other._workflow = copy.copy(self._workflow)
        other._set_options(options)
        return other

    def computed_with(self) -> str:
        return self._workflow.network.in_words()

    def _set_options(self, options: ImportedApplyParameters) -> None:
        self._options = options
        network = self._workflow.network
        if isinstance(network, Backend):
            if network.asked == options.backend:
                return
            network = network.network
        # The folder is somebody else's, and the bundle is trusted for just the files that are in it.
        kept = Converted(self._model.folder, own=False)
        self._workflow.network = Backend(network, options.backend, self._device, kept)

    def predict(self, images: Sequence[Image], context: Context, wanted: Collection[str] = ()) -> Prediction:
        image = stack_channels(images, self._options.resample_inputs)
        channels = self._model.channels
        if len(image.array) != len(channels):
            raise UserError(
                f"The model needs {len(channels)} input channel{'s' if len(channels) > 1 else ''} "
                f"({', '.join(channels)}), but {len(image.array)} were given."
            )
        result = predict_within_memory(self._workflow, image, context, TileProgress(context), self._options.allow_cpu)
        self._workflow.network.finish(context)
        if self._is_overlapping(result):
            masks = (result > 0.5).to(torch.uint8).cpu().numpy()
            removed = [sum(keep_largest_components(mask, 1).values()) for mask in masks if self._cleans()]
            voxels = {s.name: count for s, count in zip(self._model.segments, removed, strict=False) if count}
            return OverlappingPrediction(masks, image.affine, self._model.segments, _in_ml(voxels, image.affine))
        labels = self._labels(result)
        voxels = {}
        if self._cleans():
            names = {int(segment.value): segment.name for segment in self._model.segments}
            removed = keep_largest_components(labels, max(names))
            voxels = {names[value]: count for value, count in removed.items()}
        removed = _in_ml(voxels, image.affine)
        return SegmentationPrediction(labels, image.affine, self._model.segments, removed=removed)

    def _cleans(self) -> bool:
        return bool(classes_to_clean(self._options.largest_component, self._model))

    def _is_overlapping(self, result: torch.Tensor) -> bool:
        return self._bundle.overlapping and len(result) == len(self._bundle.outputs)

    def _labels(self, result: torch.Tensor) -> np.ndarray:
        """One label per voxel: the bundle's own, the strongest channel, or probabilities above one half."""
        outputs = len(self._bundle.outputs)
        background = has_background(list(self._bundle.outputs))
        if len(result) == 1:
            values = result[0].to(torch.int32)
            if torch.is_floating_point(result) and not bool((values == result[0]).all()):
                values = (result[0] > 0.5).to(torch.int32)  # probabilities
        elif len(result) == outputs and background:
            values = result.argmax(0).to(torch.int32)
        else:
            raise UserError(
                f"The bundle {self._bundle.folder} gives {len(result)} channels, but its metadata name {outputs}: "
                "correct its channel_def."
            )
        self._check_named(values)
        largest = max(segment.value for segment in self._model.segments)
        return values.cpu().numpy().astype(np.uint8 if largest < 256 else np.uint16)

    def _check_named(self, values: torch.Tensor) -> None:
        known = {0, *(segment.value for segment in self._model.segments)}
        lowest, highest = (int(value) for value in values.aminmax())
        present = {lowest, highest}
        if lowest >= 0 and highest < 1 << 16:
            present = set(torch.bincount(values.flatten()).nonzero().flatten().tolist())
        unknown = sorted(present - known)
        if unknown:
            raise UserError(
                f"The bundle {self._bundle.folder} gives the label {unknown[0]}, which its metadata do not name: "
                "correct its channel_def."
            )


def _in_ml(voxels: dict[str, int], affine: np.ndarray) -> dict[str, float]:
    return {name: count * voxel_volume(affine) / 1000 for name, count in voxels.items()}
