"""Applies a trained segmentation network to the images of a case."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from MedDeepLib.core import Context, Prediction, Predictor, TrainedModel
from MedDeepLib.data.geometry import voxel_volume
from MedDeepLib.data.padding import padding_in_words
from MedDeepLib.data.preparation import Plan, prepare, stack_channels
from MedDeepLib.data.slots import Source
from MedDeepLib.data.sources.image import Image, read_image, write_image
from MedDeepLib.data.sources.labels import Segment, write_segmentation
from MedDeepLib.errors import UserError
from MedDeepLib.evaluation.overlap import count_labels
from MedDeepLib.inference.backends.backend import Backend
from MedDeepLib.inference.backends.converted import Converted
from MedDeepLib.inference.ladder import apply_within_memory
from MedDeepLib.inference.progress import TileProgress
from MedDeepLib.inference.sinks import Labels
from MedDeepLib.inference.sliding import TilingOptions
from MedDeepLib.training.precision import autocast_dtype

from SegmentModuleLib.parameters import ApplyParameters
from SegmentModuleLib.worker.postprocessing import classes_to_clean, keep_largest_components, removal_in_words


@dataclass(eq=False)
class SegmentationPrediction(Prediction):
    """A label map (I, J, K) on the case's own grid, with its classes.

    Attributes:
        resample_labels: whether reference labels on another grid may be resampled to it, as in the training.
        removed: by post-processing, ml by class.
    """

    unit = "ml"

    labels: np.ndarray
    affine: np.ndarray
    classes: tuple[Segment, ...]
    resample_labels: bool = False
    removed: dict[str, float] = field(default_factory=dict)

    def save(self, outputs: Mapping[str, Path]) -> list[Path]:
        for path in outputs.values():
            self.write(path)
        return list(outputs.values())

    def write(self, path: Path) -> None:
        """Write a segmentation (.seg.nrrd), or a plain label image for programs that do not know these."""
        if path.name.lower().endswith(".seg.nrrd"):
            write_segmentation(path, self.labels, self.affine, self.classes)
        else:
            write_image(path, self.labels, self.affine)

    def summary(self) -> dict[str, Any]:
        """Volume of every structure in ml."""
        counts = count_labels(self.labels, max(segment.value for segment in self.classes))
        millilitres = voxel_volume(self.affine) / 1000
        return {segment.name: round(float(counts[segment.value]) * millilitres, 4) for segment in self.classes}

    def in_words(self) -> str:
        """The note about what post-processing removed."""
        return removal_in_words(self.removed)


class ImagePredictor(Predictor):
    """Read the input "image": its channels on one grid."""

    def read(self, inputs: Mapping[str, Source]) -> list[Image]:
        return [read_image(file) for file in inputs["image"].files]


class SegmentationPredictor(ImagePredictor):
    """A segmentation network on its device, ready for any number of cases."""

    def __init__(
        self,
        network: torch.nn.Module,
        model: TrainedModel,
        context: Context,
        options: ApplyParameters,
        flip_axes: Sequence[int],
        downsampling: tuple[int, int, int] = (1, 1, 1),
        resample_labels: bool = False,
    ):
        """``flip_axes`` were mirrored in training; tiles are multiples of ``downsampling`` voxels, axis by axis.

        ``resample_labels``: see :class:`SegmentationPrediction`.
        """
        self._network, self._device = network.to(context.device).eval(), context.device
        self._model = model
        self._downsampling = downsampling
        self._resample_labels = resample_labels
        self._plan = Plan.from_dict(model.metadata["plan"])
        self._trained_flip_axes = tuple(flip_axes)
        self._backend: Any = None
        self._set_options(options)

    def with_options(self, options: ApplyParameters) -> SegmentationPredictor:
        other = copy.copy(self)
        other._set_options(options)
        return other

    def computed_with(self) -> str:
        return self._backend.in_words()

    def _set_options(self, options: ApplyParameters) -> None:
        if options.flips and not self._trained_flip_axes:
            raise UserError(
                "This model was trained without mirrored images, so averaging over mirrored copies would make it "
                "worse: switch the option flips off."
            )
        self._options = options
        self._flip_axes = self._trained_flip_axes if options.flips else ()
        self._cleaned = classes_to_clean(options.largest_component, self._model)
        if self._backend is None or self._backend.asked != options.backend:
            self._backend = Backend(self._network, options.backend, self._device, Converted(self._model.folder))

    def predict(
        self, images: Sequence[Image], context: Context, wanted: Collection[str] = ()
    ) -> SegmentationPrediction:
        with context.phases("prepare"):
            image = stack_channels(images, self._options.resample_inputs)
        channels = self._model.channels
        if len(image.array) != len(channels):
            raise UserError(
                f"The model needs {len(channels)} input channel{'s' if len(channels) > 1 else ''} "
                f"({', '.join(channels)}), but {len(image.array)} were given."
            )
        affine, shape = image.affine, image.shape
        padding = padding_in_words(images)
        if padding:
            context.report("message", message=padding)
        with context.phases("prepare"):
            prepared = prepare(image, self._plan)
        del image
        tiling = TilingOptions(
            size=self._plan.patch_size,
            overlap=self._options.overlap,
            batch_size=self._options.tile_batch,
            whole_image=self._options.whole_image,
            flip_axes=self._flip_axes,
            autocast=autocast_dtype("auto", context.device),
        )
        with context.phases("network"):
            labels = apply_within_memory(
                self._backend,
                prepared,
                tiling,
                context.device,
                Labels(),
                step=self._downsampling,
                warn=lambda sentence: context.report("warning", message=sentence),
                allow_cpu=self._options.allow_cpu,
                progress=TileProgress(context),
                stop_requested=context.stop_requested,
            )
        self._backend.finish(context)
        with context.phases("post-process"):
            labels = prepared.to_native(labels)
            del prepared
            return self._post_processed(labels, affine, shape)

    def _post_processed(self, labels: np.ndarray, affine: np.ndarray, shape: tuple[int, ...]) -> SegmentationPrediction:
        classes, millilitres = self._model.classes, voxel_volume(affine) / 1000
        voxels = keep_largest_components(labels, len(classes), self._cleaned) if self._cleaned else {}
        removed = {classes[index - 1]: count * millilitres for index, count in voxels.items()}
        assert labels.shape == shape
        segments = self._model.segments
        return SegmentationPrediction(self._as_values(labels), affine, segments, self._resample_labels, removed)

    def _as_values(self, labels: np.ndarray) -> np.ndarray:
        values = np.array([0, *(segment.value for segment in self._model.segments)])
        if (values == np.arange(len(values))).all():
            return labels
        return values.astype(np.uint8 if values.max() < 256 else np.uint16)[labels]
