"""Applies a registration method to a pair of images, and holds the result."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
import torch
from MedDeepLib.core import Context, Prediction, Predictor
from MedDeepLib.data.slots import Source
from MedDeepLib.data.sources.image import write_image
from MedDeepLib.data.sources.labels import Segment, write_segmentation
from MedDeepLib.devices.memory import is_out_of_memory
from MedDeepLib.errors import OutOfMemory, UserError

from RegisterModuleLib.worker.alignment import Aligned, Alignment
from RegisterModuleLib.worker.grids import SLAB_VOXELS, Grid, inside, matrix_coordinates, sampled
from RegisterModuleLib.worker.inputs import Labels, Pair, anatomy_warnings, read_pair
from RegisterModuleLib.worker.scores import deformation_metrics, jacobian_map
from RegisterModuleLib.worker.transforms import SpatialTransform, write_transform

if TYPE_CHECKING:
    from MedDeepLib.core import TrainedModel
    from MedDeepLib.data.image import Image

    from RegisterModuleLib.parameters import ApplyParameters

_LEAST_GAIN, _LOW_SIMILARITY = 0.01, 0.85  # of pairs hardly aligned; chests 20 mm apart have 0.5 to 0.8, matched 0.96
_CHECKERS = 8  # fields of a checkerboard along the longest axis


@dataclass(eq=False)
class RegistrationPrediction(Prediction):
    """A pair with its transform from the fixed image's space to the moving image's."""

    pair: Pair
    transform: SpatialTransform
    figures: dict[str, Any] = field(default_factory=dict)

    def save(self, outputs: Mapping[str, Path]) -> list[Path]:
        """Write transform, inverse, volume, labels, jacobian, difference and checkerboard, whichever are requested."""
        makers = {
            "transform": lambda path: write_transform(path, self.transform),
            "inverse": lambda path: write_transform(path, self.transform.inverse()),
            "volume": lambda path: write_image(path, self.warped(), self.pair.fixed.affine),
            "labels": self._write_labels,
            "jacobian": lambda path: write_image(
                path, jacobian_map(self.transform, self.pair.grid), self.pair.fixed.affine
            ),
            "difference": lambda path: write_image(path, self.difference(), self.pair.fixed.affine),
            "checkerboard": lambda path: write_image(path, self.checkerboard(), self.pair.fixed.affine),
        }
        unknown = sorted(set(outputs) - set(makers))
        if unknown:
            raise UserError(f"There is no output '{unknown[0]}': choose from {', '.join(makers)}.")
        for name, path in outputs.items():
            makers[name](path)
        return list(outputs.values())

    def summary(self) -> dict[str, Any]:
        """Similarity before and after, size and smoothness of the displacement, share of folded voxels."""
        return self.figures

    def in_words(self) -> str:
        """The achieved alignment; always reports folding, padding, and images that were hardly aligned."""
        figures = self.figures
        words = f"Points move by {figures['displacement_mean_mm']:.1f} mm on average"
        if "similarity_after" in figures:
            before, after = figures["similarity_before"], figures["similarity_after"]
            words = f"Similarity {before:.3f} before, {after:.3f} after; p{words[1:]}"
        folded = figures["folded_percent"]
        words += f"; {folded:.3g} % of the voxels fold." if folded else "; nothing folds."
        if figures.get("stopped_early"):
            words += f" Stopped after {figures['steps']} steps."
        if self.hardly_aligned:
            words += (
                " The images were hardly aligned: unless they matched before, switch on the option center, give an "
                "initial transform, or choose another similarity."
            )
        if self.pair.padding:
            words += f" {self.pair.padding}"
        return words

    @property
    def hardly_aligned(self) -> bool:
        """Whether the similarity is low and no better than before."""
        if "similarity_after" not in self.figures:
            return False
        before, after = self.figures["similarity_before"], self.figures["similarity_after"]
        return after < _LOW_SIMILARITY and after < before + _LEAST_GAIN

    def warped(self) -> np.ndarray:
        """The moving image (C, I, J, K) on the fixed image's grid, with the moving image's intensities and dtype."""
        moving = self.pair.moving
        values = torch.from_numpy(np.array(moving.array, np.float32, order="C"))
        outside = values.amin((1, 2, 3))[:, None, None, None]
        warped = resampled(values, moving.affine, self.transform, self.pair.grid, "bilinear", outside)
        if np.issubdtype(moving.array.dtype, np.integer):
            limits = np.iinfo(moving.array.dtype)
            warped = np.clip(np.rint(warped), limits.min, limits.max).astype(moving.array.dtype)
        return warped if len(warped) > 1 else warped[0]

    def warped_labels(self, labels: Labels) -> np.ndarray:
        """A label map of the moving image (I, J, K) on the fixed image's grid."""
        values = torch.from_numpy(np.array(labels.array, np.float32, order="C"))[None]
        warped = resampled(values, labels.affine, self.transform, self.pair.grid, "nearest", torch.zeros(1, 1, 1, 1))
        return warped[0].astype(labels.array.dtype)

    def difference(self) -> np.ndarray:
        """Fixed minus warped image, each scaled to 0 to 1 (I, J, K)."""
        fixed, warped = self._comparable()
        return fixed - warped

    def checkerboard(self) -> np.ndarray:
        """A checkerboard of fixed and warped image, each scaled to 0 to 1 (I, J, K)."""
        fixed, warped = self._comparable()
        edge = max(fixed.shape) / _CHECKERS
        index = sum(np.ogrid[tuple(map(slice, fixed.shape))][axis] // edge for axis in range(3))
        return np.where(index % 2 == 0, fixed, warped).astype(np.float32)

    def _comparable(self) -> tuple[np.ndarray, np.ndarray]:
        from RegisterModuleLib.worker.painting import rescaled

        warped = self.warped()
        warped = warped if warped.ndim == 3 else warped[0]
        pair = (np.array(self.pair.fixed.array[0], np.float32, order="C"), np.array(warped, np.float32, order="C"))
        fixed, warped = (rescaled(torch.from_numpy(one)[None])[0].numpy() for one in pair)
        return fixed, warped

    def _write_labels(self, path: Path) -> None:
        labels = self.pair.labels
        if labels is None:
            raise UserError("There are no labels to move: name the moving image's label map with --labels.")
        warped, affine = self.warped_labels(labels), self.pair.fixed.affine
        if not path.name.lower().endswith(".seg.nrrd"):
            write_image(path, warped, affine)
            return
        named = {segment.value for segment in labels.segments}
        others = [int(value) for value in np.unique(labels.array) if value and int(value) not in named]
        segments = [*labels.segments, *(Segment(value, f"label {value}", (0.8, 0.6, 0.3)) for value in others)]
        write_segmentation(path, warped, affine, segments)


class Aligning(Protocol):
    """The method to apply: a :class:`RegisterModuleLib.method.RegistrationMethod`."""

    needs_overlap: ClassVar[bool]

    def check_pair(self, fixed: Image, moving: Image) -> None: ...

    def align(self, alignment: Alignment, networks: dict[str, Any], model: TrainedModel, options: Any) -> None: ...


class RegistrationPredictor(Predictor):
    """A registration method with its networks, if it has any, ready for any number of pairs."""

    def __init__(
        self,
        method: Aligning,
        networks: dict[str, torch.nn.Module],
        model: TrainedModel,
        context: Context,
        options: ApplyParameters,
    ):
        self._method, self._model, self._options = method, model, options
        self._networks = {name: network.to(context.device).eval() for name, network in networks.items()}

    def with_options(self, options: ApplyParameters) -> RegistrationPredictor:
        other = copy.copy(self)
        other._options = options
        return other

    def read(self, inputs: Mapping[str, Source]) -> Pair:
        return read_pair(inputs, self._method.check_pair)

    def predict(self, pair: Pair, context: Context, wanted: Collection[str] = ()) -> RegistrationPrediction:
        channels = self._model.channels
        if self._model.trained and len(pair.fixed.array) != len(channels):
            raise UserError(
                f"The model needs images with {len(channels)} channel{'s' if len(channels) > 1 else ''} "
                f"({', '.join(channels)}), but these have {len(pair.fixed.array)}."
            )
        try:
            with context.phases("align"):
                aligned = self.align(pair, context)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise OutOfMemory(
                "There was not enough memory to align these images: choose a coarser finest_spacing, resample them, "
                "close other programs, or use another device."
            ) from error
        with context.phases("post-process"):
            figures = aligned.figures | deformation_metrics(aligned.transform, pair)
        if figures["folded_percent"] > 0:
            context.report(
                "warning",
                message=f"The transform folds in {figures['folded_percent']:.3g} % of the voxels: raise the "
                "smoothness, or take fewer steps.",
            )
        return RegistrationPrediction(pair, aligned.transform, figures)

    def align(self, pair: Pair, context: Context) -> Aligned:
        """The transform of a pair, without the metrics that all methods share."""
        alignment = Alignment(pair, self._options, context)
        if self._model.trained:
            for sentence in anatomy_warnings(self._model, alignment.extents(), alignment.brightness()):
                context.report("warning", message=sentence)
        alignment.start(self._method.needs_overlap)
        self._method.align(alignment, self._networks, self._model, self._options)
        return alignment.result()


def resampled(
    values: torch.Tensor, affine: np.ndarray, transform: SpatialTransform, grid: Grid, mode: str, outside: torch.Tensor
) -> np.ndarray:
    """An image (C, I, J, K) of the moving side at the voxels of a grid of the fixed side, slab by slab.

    Args:
        mode: "bilinear" or "nearest".
        outside: (C, 1, 1, 1), where the image does not reach.
    """
    to_index = np.linalg.inv(affine)
    plane = grid.shape[1] * grid.shape[2]
    slab = max(1, SLAB_VOXELS // plane)
    parts = []
    for first in range(0, grid.shape[0], slab):
        points = matrix_coordinates(grid.affine, grid.indices(first=first, last=first + slab))
        index = matrix_coordinates(to_index, transform.at(points))
        within = inside(index, values.shape[1:])
        parts.append(torch.where(within > 0, sampled(values, index, mode, "border"), outside).numpy())
    return np.concatenate(parts, axis=1)
