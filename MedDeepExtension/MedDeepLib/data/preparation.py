"""From the images of a case to the input of a network: one orientation, one voxel spacing, one range of intensities.

A network's grid is the case's own grid with its axes permuted and flipped to the closest right-anterior-superior
order, at the model's spacing. Nothing is rotated, so the way back is exact up to interpolation along each axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from MedDeepLib.data import geometry
from MedDeepLib.data.padding import fill_padding, without_padding
from MedDeepLib.data.sources.image import Image, check_finite, check_not_constant
from MedDeepLib.errors import UserError

if TYPE_CHECKING:
    import torch

_SAMPLED_VOXELS = 500_000
_SLAB_VOXELS = 4
_MOST_DEVIATIONS = 20.0  # of an unclipped image: beyond them is metal, or a broken voxel


@dataclass(frozen=True)
class Plan:
    """How images are converted to the input of a network; part of every model.

    Attributes:
        spacing: voxel spacing of the network's grid along right, anterior, superior, in mm; 0: the image's own.
        patch_size: voxels (I, J, K) the network is trained on and applied to at a time; K is 1 in 2D.
        normalization: "zscore" (each image by its own foreground; the darkest and brightest values are cut off),
            "unclipped" (the same, but they stay: small lesions may be all there is of them) or "window" (fixed values,
            e.g. HU).
        window: lowest and highest value of "window".
    """

    spacing: tuple[float, float, float]
    patch_size: tuple[int, int, int]
    normalization: str = "zscore"
    window: tuple[float, float] = (0.0, 0.0)

    def as_dict(self) -> dict[str, Any]:
        return {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Plan:
        """The plan from a model's metadata; raises UserError when it is damaged."""
        try:
            values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in content.items()}
            return cls(**values)
        except TypeError:
            raise UserError("The model's plan is damaged: copy or train the model again.") from None


@dataclass(frozen=True, eq=False)
class Prepared:
    """A case on the network's grid.

    Attributes:
        image: float32 tensor (C, I, J, K) on the network's grid.
        affine: of the network's grid, IJK to RAS, mm.
        axes: axis ``n`` of the network's grid is axis ``axes[n]`` of the case's own grid.
        flips: whether that axis runs backwards.
        native_shape: (I, J, K) of the case's own grid, its axes already in the network's order.
        scale, offset: network index = scale * native index + offset, along each axis of the network.
    """

    image: torch.Tensor
    affine: np.ndarray
    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]
    native_shape: tuple[int, int, int]
    scale: np.ndarray
    offset: np.ndarray

    def to_native(self, array: np.ndarray) -> np.ndarray:
        """A view of ``array`` (..., I, J, K), of native shape, from the network's axis order to the case's own."""
        others = array.ndim - 3
        flipped = np.flip(array, tuple(others + axis for axis in range(3) if self.flips[axis]))
        return np.transpose(flipped, [*range(others), *(others + np.argsort(self.axes))])


def stack_channels(images: Sequence[Image], resample: bool = False) -> Image:
    """One image with a channel per input; all must be on the grid of the first one.

    Raises:
        UserError: another grid (unless ``resample``), voxels that are not finite, an image that is constant.
    """
    first = images[0]
    arrays = []
    for image in images:
        check_finite(image)
        check_not_constant(image)
        if image.shape != first.shape or not geometry.affines_match(image.affine, first.affine, first.shape):
            if not resample:
                raise UserError(
                    f"{_name(image)} is on another grid than {_name(first)}: resample it to the first image's grid "
                    "(option resample_inputs), or choose images of one grid."
                )
            array = without_padding(image).array
            arrays += [resample_array(channel, image.affine, first.shape, first.affine, 1) for channel in array]
        else:
            arrays += list(image.array)
    array = np.stack(arrays) if len(arrays) > 1 else arrays[0][None]
    return Image(array, first.affine, first.path, first.metadata)


def resample_array(array: np.ndarray, affine: np.ndarray, shape, target_affine: np.ndarray, order: int) -> np.ndarray:
    """``array`` (I, J, K) on another grid; order 0 for labels, 1 for images; 0 outside."""
    from scipy import ndimage

    to_source = np.linalg.inv(affine) @ target_affine
    offset: Any = to_source[:3, 3]  # SciPy's type hints allow one number, its documentation one for each axis
    return ndimage.affine_transform(array, to_source[:3, :3], offset, tuple(shape), order=order, cval=0)


def prepare(image: Image, plan: Plan) -> Prepared:
    """Resample a case to the network's grid and normalise its intensities; CT padding is replaced by air first.

    Raises UserError when the image has too few slices for a three-dimensional network.
    """
    import torch

    _check_dimensions(image, plan)
    axes, flips = geometry.canonical_axes(image.affine)
    array, native_affine = geometry.to_canonical(image.array, image.affine)
    native_shape = array.shape[1:]
    spacing = geometry.spacing_of(native_affine)
    target = np.where(np.asarray(plan.spacing) > 0, plan.spacing, spacing)
    factor = target / spacing  # > 1: the network's grid is coarser
    factor = np.where(np.abs(factor - 1) < 0.01, 1.0, factor)
    tensor = torch.from_numpy(np.array(array, dtype=np.float32, order="C"))
    fill_padding(tensor.numpy())
    tensor = normalize(tensor, plan)
    shape = [max(1, round(n / f)) for n, f in zip(native_shape, factor, strict=True)]
    first = [_first_voxel(n, m, f) for n, m, f in zip(native_shape, shape, factor, strict=True)]
    for axis in np.argsort(-factor):  # first the axes that shrink the image: this needs the least memory
        if factor[axis] != 1:
            tensor = _resample_axis(tensor, axis + 1, shape[axis], float(factor[axis]), first[axis])
    to_native = np.diag([*factor, 1.0])
    to_native[:3, 3] = first
    return Prepared(
        image=tensor,
        affine=native_affine @ to_native,
        axes=axes,
        flips=flips,
        native_shape=native_shape,
        scale=1 / factor,
        offset=-np.asarray(first) / factor,
    )


def prepare_labels(labels: np.ndarray, prepared: Prepared) -> torch.Tensor:
    """Class indices (I, J, K) of a case on the network's grid: uint8 tensor (1, I, J, K), the nearest voxel of each."""
    import torch

    array = np.flip(np.transpose(labels, prepared.axes), tuple(axis for axis in range(3) if prepared.flips[axis]))
    for axis in range(3):
        index = (np.arange(prepared.image.shape[axis + 1]) - prepared.offset[axis]) / prepared.scale[axis]
        # rint rounds halves to even, so that labels between two voxels do not all move to one side.
        nearest = np.clip(np.rint(index).astype(int), 0, array.shape[axis] - 1)
        if len(nearest) != array.shape[axis] or (nearest != np.arange(len(nearest))).any():
            array = np.take(array, nearest, axis=axis)
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.uint8))[None]


def normalize(tensor: torch.Tensor, plan: Plan) -> torch.Tensor:
    """Normalise intensities to a common range, in place: tensor (C, I, J, K) float32."""
    for channel in tensor:
        if plan.normalization == "window":
            low, high = plan.window
            channel.clamp_(low, high).sub_((low + high) / 2).div_(max((high - low) / 2, 1e-6))
            continue
        sample = sample_voxels(channel)
        inside = sample[sample > background_threshold(sample)]
        inside = inside if inside.size else sample
        low, high = np.percentile(inside, (0.5, 99.5))
        inside = np.clip(inside, low, high)
        if plan.normalization != "unclipped":
            channel.clamp_(float(min(low, sample.min())), float(high))
        channel.sub_(float(inside.mean())).div_(max(float(inside.std()), 1e-6))
        if plan.normalization == "unclipped":
            channel.clamp_(-_MOST_DEVIATIONS, _MOST_DEVIATIONS)
    return tensor


def sample_voxels(channel: torch.Tensor) -> np.ndarray:
    """Enough voxels of one channel, evenly spread, to estimate its distribution."""
    stride = int(np.ceil((channel.numel() / _SAMPLED_VOXELS) ** (1 / 3)))
    strides = [slice(None, None, stride if n > 4 * stride else 1) for n in channel.shape]
    return channel[tuple(strides)].cpu().numpy().ravel()


def background_threshold(values: np.ndarray) -> float:
    """A threshold with air below it and tissue, except its darkest part, above it.

    A quarter of the way from the darkest values to the middle of Otsu's gap between dark and bright: chosen low to
    keep the whole body, since some air in the foreground only costs time.
    """
    from skimage.filters import threshold_otsu

    low, high = np.percentile(values, (0.5, 99.5))
    if not high > low:
        return float(low) - 1.0
    values = np.clip(values, low, high)
    bright = values > threshold_otsu(values)
    # Any threshold in the gap between air and tissue is optimal, and Otsu's method takes the lowest: use the middle.
    middle = (float(values[bright].mean()) + float(values[~bright].mean())) / 2
    return float(low) + 0.25 * (middle - float(low))


def _first_voxel(length: int, size: int, factor: float) -> float:
    """The position of the first network voxel along one axis, in native voxels.

    The network's grid is centred on the image. If it is coarser by a whole number, its voxels coincide with native
    ones: half-way between two, every label would have to move by half a voxel, all to the same side.
    """
    margin = ((length - 1) - (size - 1) * factor) / 2
    return float(np.floor(margin)) if factor == round(factor) else margin


def _resample_axis(tensor: torch.Tensor, axis: int, size: int, factor: float, first: float) -> torch.Tensor:
    """Linear interpolation along one axis, after smoothing, in place, when the new grid is coarser (against aliasing).

    Done in slabs, so that nothing large is in memory besides the old and the new image.
    """
    import torch

    if factor > 1.2:
        sigma = 0.5 * np.sqrt(factor**2 - 1)
        _smooth_axis(tensor, axis, float(sigma))
    position = (first + factor * torch.arange(size, dtype=torch.float64)).clamp_(0, tensor.shape[axis] - 1)
    lower = position.floor().long().clamp_(max=max(0, tensor.shape[axis] - 2))
    weight = (position - lower).float().reshape([-1 if a == axis else 1 for a in range(tensor.ndim)])
    upper = (lower + 1).clamp_(max=tensor.shape[axis] - 1)
    resampled = tensor.new_empty([size if a == axis else n for a, n in enumerate(tensor.shape)])
    for start in range(0, size, _SLAB_VOXELS):
        length = min(_SLAB_VOXELS, size - start)
        below, above = (tensor.index_select(axis, index.narrow(0, start, length)) for index in (lower, upper))
        resampled.narrow(axis, start, length).copy_(below.lerp_(above, weight.narrow(axis, start, length)))
    return resampled


def _smooth_axis(tensor: torch.Tensor, axis: int, sigma: float) -> None:
    from scipy.ndimage import gaussian_filter1d

    values = tensor.numpy()
    gaussian_filter1d(values, sigma, axis=axis, truncate=2.0, mode="nearest", output=values)


def _check_dimensions(image: Image, plan: Plan) -> None:
    thinnest = min(image.shape)
    if plan.patch_size[2] > 1 and thinnest < 4:
        raise UserError(
            f"{_name(image)} has only {thinnest} slice{'s' if thinnest > 1 else ''}: this model needs a "
            "three-dimensional image of at least 4 slices; use a two-dimensional model for single slices."
        )


def _name(image: Image) -> str:
    return image.path.name if image.path else "the image"
