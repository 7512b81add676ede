"""Images as input: channels on one grid, cropped around a region, on the network's grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from MedDeepLib.core import Context
from MedDeepLib.data import geometry
from MedDeepLib.data.padding import padding_in_words
from MedDeepLib.data.preparation import Plan, prepare, resample_array, stack_channels
from MedDeepLib.data.slots import Case, Source
from MedDeepLib.data.sources.image import read_image
from MedDeepLib.errors import Stopped, UserError
from MedDeepLib.training.dense.augmentation import Augmentation
from MedDeepLib.training.dense.cache import CaseCache, cache_key
from MedDeepLib.training.dense.patches import CachedCase, Volume

from ClassifyModuleLib.parameters import FLIP_AXES, ImageParameters
from ClassifyModuleLib.worker.data import Images, Inputs
from ClassifyModuleLib.worker.grid import dimensions_of, extent_of, grid_of, region_box
from ClassifyModuleLib.worker.inputs import Arrays, Learned, Read, needed

_FIT = 1.05  # how much larger than the grid an image may be before it is said that it is cut


@dataclass(frozen=True, eq=False)
class Grid:
    """The network's input in space, and the image that it was made from.

    Attributes:
        affine: of the network's input, IJK to RAS mm.
        native_shape, native_affine: of the image.
    """

    affine: np.ndarray
    native_shape: tuple[int, int, int]
    native_affine: np.ndarray

    def to_native(self, array: np.ndarray) -> np.ndarray:
        """A map (I, J, K) on the network's grid as (I, J, K) float32 on the image's own, 0 outside of what it saw."""
        padded = np.pad(array.astype(np.float32), 1, mode="edge")  # up to the outer faces of the border's voxels
        shifted = self.affine.copy()
        shifted[:3, 3] -= self.affine[:3, :3].sum(1)
        return resample_array(padded, shifted, self.native_shape, self.native_affine, 1)


class ImageInput:
    """Images of one case, a channel each, with an optional region around which they are cropped.

    Attributes:
        dimensions: "automatic", "2", "2.5", "3", or "slices": 2 or 2.5; or a function that finds it out.
        least: voxels along each axis that the network needs.
    """

    slot = "image"

    def __init__(self, settings: ImageParameters, dimensions: str | Callable[[], str], least: int):
        self._settings, self._dimensions, self._least = settings, dimensions, least

    def learn(self, cases: Sequence[Case], context: Context) -> Learned:
        settings = self._settings
        extents = []
        for case in cases:
            if context.stop_requested():
                raise Stopped
            extents.append(extent_of(case, settings.margin))
        wanted = self._dimensions if isinstance(self._dimensions, str) else self._dimensions()
        dimensions = dimensions_of(extents, wanted)
        size, spacing = settings.size, settings.spacing
        grid = grid_of(extents, dimensions, size, spacing, context.device.type, self._least)
        plan = grid | {
            "dimensions": dimensions,
            "channels": list(context.dataset.channels),
            "normalization": settings.normalization,
            "window": list(settings.window),
            "region": bool(cases[0].files("region")),
            "margin": settings.margin,
        }
        learned = Learned(plan)
        voxels = " x ".join(map(str, plan["size"][: 2 if dimensions == "2" else 3]))
        where = "region" if plan["region"] else "image"
        how = f"each {where} fitted into it" if plan["fit"] else f"voxels of {_numbers(plan['spacing'])} mm"
        learned.messages.append(f"The network sees a {dimensions}-dimensional {where} of {voxels} voxels, {how}.")
        if not plan["fit"] and dimensions != "2":
            seen = np.array(plan["size"]) * np.array(plan["spacing"])
            cut = [c.name for c, e in zip(cases, extents, strict=True) if (e.millimetres > _FIT * seen).any()]
            if cut:
                learned.messages.append(
                    f"{len(cut)} of {len(cases)} training images are larger than that and are cut at their borders: "
                    f"{', '.join(cut[:3])}{', ...' if len(cut) > 3 else ''}."
                )
        return learned

    def load(self, cases: Sequence[Case], learned: Learned, context: Context, cache: CaseCache) -> Inputs:
        found = []
        for number, case in enumerate(cases, start=1):
            if context.stop_requested():
                raise Stopped
            key = cache_key(*_existing(case), plan=learned.plan)
            known = cache.find(key)
            if known is None:
                tensor, _, _ = on_grid(case.inputs, learned.plan)
                known = cache.keep(key, CachedCase({"image": Volume(tensor, linear=True, intensity=True)}))
            found.append(known)
            context.report("progress", step=number, total=len(cases), remaining=None)
        settings = self._settings
        flat = learned.plan["dimensions"] == "2"
        axes = tuple(axis for axis in FLIP_AXES[settings.flips] if axis < 2 or not flat)
        augmentation = Augmentation(settings.rotation, settings.scaling, settings.elastic, axes, settings.intensity)
        return Images(found, augmentation)

    def read(self, inputs: Mapping[str, Source], plan: Mapping[str, Any], arrays: Arrays) -> Read:
        needed(inputs, self.slot)
        if plan["region"]:
            needed(inputs, "region")
        tensor, grid, notes = on_grid(inputs, plan)
        tensor = tensor[..., 0] if plan["dimensions"] == "2" else tensor
        return Read(tensor[None], notes=(notes,), grid=grid)


def on_grid(inputs: Mapping[str, Source], plan: Mapping[str, Any]) -> tuple[torch.Tensor, Grid, tuple[str, ...]]:
    """The image (C, I, J, K) float32 on the network's grid, its place in space, and what is to be said of it.

    Raises UserError when it has other channels or dimensions than the model.
    """
    images = [read_image(file) for file in inputs["image"].files]
    name = images[0].path.name if images[0].path else "The image"
    image = stack_channels(images, plan.get("resample_inputs", False))
    channels = plan["channels"]
    if len(image.array) != len(channels):
        raise UserError(
            f"{name} has {_channels(len(image.array))}, but {_channels(len(channels))} "
            f"({', '.join(channels)}) {'is' if len(channels) == 1 else 'are'} needed: "
            + (
                "convert colours to grey, or grey to colours."
                if {len(image.array), len(channels)} == {1, 3}
                else "give one image for each."
            )
        )
    flat = plan["dimensions"] == "2"
    if flat != (min(image.shape) == 1):
        kind = "single slices" if flat else "volumes"
        raise UserError(f"{name} has {min(image.shape)} slices, but the model takes {kind}.")
    center = region_box(inputs["region"].files[0], image.affine)[0] if plan["region"] else None
    size, spacing = plan["size"], list(plan["spacing"])
    order, _ = geometry.canonical_axes(image.affine)
    shape = np.array(image.shape)[list(order)]
    turn = _last(int(shape.argmin())) if flat else (0, 1, 2)  # the axes of the network's grid among the canonical ones
    if plan["fit"]:
        extent = (shape * np.array(image.spacing)[list(order)])[list(turn)]
        axes = 2 if flat else 3
        spacing[:axes] = [float((extent / size)[:axes].max())] * axes
    of_canonical = [0.0, 0.0, 0.0]
    for place, axis in enumerate(turn):
        of_canonical[axis] = spacing[place]
    deep = plan["dimensions"] == "3"  # a volume then needs a few slices
    right, anterior, superior = of_canonical
    prepared = prepare(
        image,
        Plan((right, anterior, superior), (1, 1, 2 if deep else 1), plan["normalization"], tuple(plan["window"])),
    )
    tensor = prepared.image.permute(0, *(axis + 1 for axis in turn))
    affine = prepared.affine[:, [*turn, 3]]
    middle = (np.array(tensor.shape[1:]) - 1) / 2
    if center is not None:
        middle = (np.linalg.inv(affine) @ np.append(center, 1.0))[:3]
    first = np.rint(middle - (np.array(size) - 1) / 2).astype(int)
    placed = affine.copy()
    placed[:3, 3] += affine[:3, :3] @ first
    notes = [sentence for sentence in (padding_in_words(images),) if sentence]
    seen = np.array(size) * np.array(spacing)
    extent = np.array(tensor.shape[1:]) * geometry.spacing_of(affine)
    if center is None and not plan["fit"] and (extent > _FIT * seen)[: 2 if flat else 3].any():
        notes.append("The image is larger than what the network sees and was cut at its borders.")
    return _window(tensor, first, size), Grid(placed, image.shape, image.affine), tuple(notes)


def _window(tensor: torch.Tensor, first: np.ndarray, size: Sequence[int]) -> torch.Tensor:
    """``size`` voxels from index ``first`` on; outside the image its border continues."""
    for axis, (start, length) in enumerate(zip(first, size, strict=True), start=1):
        index = torch.arange(int(start), int(start) + int(length)).clamp_(0, tensor.shape[axis] - 1)
        tensor = tensor.index_select(axis, index)
    return tensor.contiguous()


def _last(axis: int) -> tuple[int, int, int]:
    """The three axes, ``axis`` at the end."""
    others = [n for n in range(3) if n != axis]
    return others[0], others[1], axis


def _existing(case: Case) -> list[Any]:
    files = [*case.files("image"), *case.files("region")]
    return [file for file in files if file.exists()]


def _channels(count: int) -> str:
    return f"{count} channel{'' if count == 1 else 's'}"


def _numbers(values: Sequence[float]) -> str:
    return " x ".join(f"{value:.3g}" for value in values if value)
