"""The grids that registration computes on, and sampling images on them.

A *box* is a part of space, upright in RAS for volumes and along the image's own axes for single slices. Grids of any
voxel size fill the same box with their outermost voxel centres on its corners, so values are interpolated from one to
another without regard to their position in space.

Tensors are (C, I, J, K) float32; coordinates are voxel indices (3, I, J, K) in the order i, j, k.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from MedDeepLib.data import geometry
from numpy.typing import ArrayLike

_TAPERED_VOXELS = 2
_FEWEST_DIVIDED = 20_000  # points that are worth several threads

SLAB_VOXELS = 2_000_000  # of a large image that are computed at once


@dataclass(frozen=True, eq=False)
class Grid:
    """Voxel centres in space: ``affine`` (4x4) takes indices (i, j, k) to RAS mm; ``shape`` is (I, J, K)."""

    affine: np.ndarray
    shape: tuple[int, ...]

    @property
    def spacing(self) -> np.ndarray:
        """Voxel size (3,) in mm."""
        return geometry.spacing_of(self.affine)

    @property
    def moving_axes(self) -> tuple[int, ...]:
        """The axes along which there is more than one voxel."""
        return tuple(axis for axis in range(3) if self.shape[axis] > 1)

    def indices(self, device: torch.device | str = "cpu", first: int = 0, last: int | None = None) -> torch.Tensor:
        """The indices of all voxels (3, I, J, K), or of those from ``first`` to before ``last`` along i."""
        sizes = [range(n) for n in self.shape]
        axes = [torch.arange(n.start, n.stop, dtype=torch.float32, device=device) for n in sizes]
        axes[0] = axes[0][first:last]
        return torch.stack(torch.meshgrid(*axes, indexing="ij"))


@dataclass(frozen=True, eq=False)
class Box:
    """A part of space that grids fill.

    Attributes:
        directions: (3, 3), column n is the unit vector of axis n in RAS.
        origin: (3,) RAS mm, the corner where all indices are 0.
        extent: (3,) mm from the first to the last voxel centre along each axis; 0: a single slice.
        thickness: (3,) mm, voxel size to record along axes whose extent is 0.
    """

    directions: np.ndarray
    origin: np.ndarray
    extent: np.ndarray
    thickness: np.ndarray

    @property
    def center(self) -> np.ndarray:
        """Its centre, RAS mm."""
        return self.origin + self.directions @ (self.extent / 2)

    @property
    def unit(self) -> float:
        """A length in mm that is as large for this box as 1 mm is for a head."""
        return float(self.extent.max()) / 200

    def grown(self, unit: float) -> Box:
        """The box enlarged symmetrically to a multiple of ``unit`` mm along each axis it extends along."""
        flat = self.extent <= 0
        extent = np.where(flat, 0.0, np.ceil(self.extent / unit - 1e-6).clip(1) * unit)
        origin = self.origin - self.directions @ ((extent - np.where(flat, 0.0, self.extent)) / 2)
        return Box(self.directions, origin, extent, self.thickness)

    def grid(self, spacing: float) -> Grid:
        """The grid whose voxels are as close to ``spacing`` mm as fits the box exactly."""
        steps = np.maximum(np.rint(self.extent / spacing), 1).astype(int)
        flat = self.extent <= 0
        size = np.where(flat, self.thickness, self.extent / steps)
        affine = np.eye(4)
        affine[:3, :3] = self.directions * size
        affine[:3, 3] = self.origin
        return Grid(affine, tuple(int(1 if f else n + 1) for n, f in zip(steps, flat, strict=True)))


def is_flat(shape: Sequence[int]) -> bool:
    """Whether an image is a single slice."""
    return min(shape) == 1


def box_around(affine: np.ndarray, first: ArrayLike, last: ArrayLike, margin: float) -> Box:
    """The box around the voxels ``first`` to ``last`` of a grid, with ``margin`` mm on all sides.

    Upright in RAS; along the grid's own axes, and without margin across the slice, where the grid is a single slice.
    """
    first, last = np.asarray(first, float), np.asarray(last, float)
    flat = last <= first
    if flat.any():
        spacing = geometry.spacing_of(affine)
        directions = np.asarray(affine, float)[:3, :3] / spacing
        pad = np.where(flat, 0.0, margin)
        origin = affine[:3, :3] @ first + affine[:3, 3] - directions @ pad
        return Box(directions, origin, (last - first) * spacing + 2 * pad, spacing)
    corners = np.array(list(itertools.product(*zip(first, last, strict=True))))
    points = corners @ affine[:3, :3].T + affine[:3, 3]
    low, high = points.min(0) - margin, points.max(0) + margin
    return Box(np.eye(3), low, high - low, np.ones(3))


def box_of(grid: Grid) -> Box:
    """The box that a grid fills."""
    spacing = grid.spacing
    extent = (np.array(grid.shape) - 1) * spacing
    return Box(grid.affine[:3, :3] / spacing, grid.affine[:3, 3].copy(), extent, spacing)


def sampled(
    volume: torch.Tensor,
    coordinates: torch.Tensor,
    mode: str = "bilinear",
    outside: str = "zeros",
    divided: bool | None = None,
):
    """Values (C, ...) of ``volume`` (C, I, J, K) at voxel coordinates (3, I', J', K').

    Args:
        mode: "bilinear" (which is trilinear here) or "nearest".
        outside: "zeros", or "border": the nearest voxel's.
        divided: see :func:`sampled_at`.
    """
    scale = [2 / max(n - 1, 1) for n in volume.shape[1:]]
    # As grid_sample expects it: -1 to 1, the last axis first.
    parts = [coordinates[axis] * scale[axis] - 1 for axis in (2, 1, 0)]
    return sampled_at(volume, torch.stack(parts, dim=-1), mode, outside, divided)


def sampled_at(
    volume: torch.Tensor,
    places: torch.Tensor,
    mode: str = "bilinear",
    outside: str = "zeros",
    divided: bool | None = None,
):
    """The same at ``places`` (I', J', K', 3) from -1 to 1 between the outermost voxel centres, the last axis first.

    On a CPU grid_sample computes a volume in one thread, but several volumes in one each. The points are therefore
    divided among as many views of the volume.

    Args:
        divided: None: unless a gradient by the volume is wanted, whose parts would be summed in another order, so that
            a training depended on the number of threads.
    """
    threads = torch.get_num_threads() if volume.device.type == "cpu" else 1
    if divided is None:
        divided = not (torch.is_grad_enabled() and volume.requires_grad)
    count = places[..., 0].numel()
    if threads == 1 or not divided or count < _FEWEST_DIVIDED:
        return F.grid_sample(volume[None], places[None], mode, outside, align_corners=True)[0]
    points = F.pad(places.reshape(count, 3), (0, 0, 0, -count % threads)).reshape(threads, 1, 1, -1, 3)
    copies = volume[None].expand(threads, *volume.shape)
    values = F.grid_sample(copies, points, mode, outside, align_corners=True)
    return values.transpose(0, 1).reshape(len(volume), -1)[:, :count].reshape(-1, *places.shape[:3])


def resized(field: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Values (C, I, J, K) on another grid of the same box."""
    if tuple(field.shape[1:]) == tuple(shape):
        return field
    return F.interpolate(field[None], tuple(shape), mode="trilinear", align_corners=True)[0]


def matrix_coordinates(matrix: np.ndarray | torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """Coordinates (3, I, J, K) under a 4x4 matrix that takes indices to indices of another grid."""
    if isinstance(matrix, np.ndarray):
        matrix = torch.from_numpy(np.array(matrix, np.float32)).to(indices.device)
    return torch.einsum("ab,bijk->aijk", matrix[:3, :3], indices) + matrix[:3, 3][:, None, None, None]


def to_grid(
    volume: torch.Tensor, affine: np.ndarray, grid: Grid, matrix: np.ndarray | None = None, mode: str = "bilinear"
) -> tuple[torch.Tensor, torch.Tensor]:
    """An image on a grid, smoothed first as far as the grid is coarser.

    Args:
        volume: (C, I, J, K) float32 on ``affine``.
        matrix: 4x4, from RAS of the grid to RAS of the image; None: the same space.

    Returns:
        The values (C, I, J, K), and 1 where the grid's voxels lie within the image, else 0: (1, I, J, K).
    """
    to_image = np.linalg.inv(affine) @ (np.eye(4) if matrix is None else matrix) @ grid.affine
    if mode == "bilinear":
        volume, to_image = _reduced(volume, to_image)
    points = matrix_coordinates(to_image, grid.indices(volume.device))
    return sampled(volume, points, mode, "border"), inside(points, volume.shape[1:])


def inside(coordinates: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """1 where voxel coordinates (3, ...) lie within a grid of that shape, else 0: (1, ...) float32."""
    within = torch.ones_like(coordinates[:1], dtype=torch.bool)
    for axis, length in enumerate(shape):
        within &= (coordinates[axis : axis + 1] >= -0.5) & (coordinates[axis : axis + 1] <= length - 0.5)
    return within.float()


def taper(grid: Grid, device: torch.device | str = "cpu") -> torch.Tensor:
    """A factor (1, I, J, K) that falls to 0 at the border of a field, which then continues outside without a jump."""
    factor = torch.ones((1, *grid.shape), device=device)
    for axis in grid.moving_axes:
        index = torch.arange(grid.shape[axis], dtype=torch.float32, device=device)
        to_border = torch.minimum(index, grid.shape[axis] - 1 - index)
        ramp = (to_border / _TAPERED_VOXELS).clamp(0, 1)
        factor = factor * ramp.reshape([-1 if n == axis + 1 else 1 for n in range(4)])
    return factor


def block_means(volume: torch.Tensor, blocks: Sequence[int]) -> tuple[torch.Tensor, np.ndarray]:
    """The mean of each block of ``blocks`` (3) voxels, and the 4x4 matrix from blocks' indices to the volume's."""
    if max(blocks) == 1:
        return volume, np.eye(4)
    from_block = np.diag([*map(float, blocks), 1.0])
    from_block[:3, 3] = (np.array(blocks) - 1) / 2
    return F.avg_pool3d(volume[None], list(blocks), ceil_mode=True, count_include_pad=False)[0], from_block


def _reduced(volume: torch.Tensor, to_image: np.ndarray) -> tuple[torch.Tensor, np.ndarray]:
    """The image averaged over blocks that are no larger than the grid's voxels, and the matrix to its indices."""
    reach = np.abs(to_image[:3, :3]).max(axis=1)
    blocks = [int(max(1, min(round(r), n))) for r, n in zip(reach, volume.shape[1:], strict=True)]
    volume, from_block = block_means(volume, blocks)
    return volume, np.linalg.inv(from_block) @ to_image
