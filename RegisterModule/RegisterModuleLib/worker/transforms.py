"""Spatial transforms in RAS millimetres, and the files in which ITK and 3D Slicer keep them.

A transform takes points of the fixed image's space to the moving image's: this is what resampling needs, and what ITK
writes. Slicer calls it *from parent*; a transform node loaded from the file therefore puts the moving volume, its
segmentations and its markups onto the fixed one. Files are in LPS, everything here is in RAS.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from MedDeepLib.data import geometry
from MedDeepLib.data.files import atomic_path
from MedDeepLib.data.formats.lean_itk import load_itk_with_transforms
from MedDeepLib.errors import UserError

from RegisterModuleLib.worker.fields import inverted
from RegisterModuleLib.worker.grids import Box, Grid, box_of, matrix_coordinates, sampled

ENDINGS = (".h5", ".hdf5", ".tfm", ".txt")
_FLIP = geometry.LPS_TO_RAS
_SAMPLED_SPACING = 2.0  # mm, of the grid on which a transform of another kind is sampled
_MOST_SAMPLES = 128  # along its longest axis
_PADDED_SLICES = 1


@dataclass(frozen=True, eq=False)
class Displacement:
    """x to x + u(x), u interpolated linearly on a grid and 0 outside.

    Attributes:
        vectors: (3, I, J, K) float32, RAS mm.
        inverse_vectors: those of the inverse on the same grid, or None if they are not known.
    """

    grid: Grid
    vectors: torch.Tensor
    inverse_vectors: torch.Tensor | None = None

    @classmethod
    def from_voxels(cls, grid: Grid, displacement: torch.Tensor, inverse: torch.Tensor | None = None) -> Displacement:
        """From displacements (3, I, J, K) in voxels of the grid."""
        matrix = torch.from_numpy(grid.affine[:3, :3].astype(np.float32)).to(displacement.device)

        def in_mm(field: torch.Tensor) -> torch.Tensor:
            return torch.einsum("ab,bijk->aijk", matrix, field).cpu()

        return cls(grid, in_mm(displacement), None if inverse is None else in_mm(inverse))

    def at(self, points: torch.Tensor) -> torch.Tensor:
        """Where points (3, I, J, K) in RAS mm go."""
        index = _moved(np.linalg.inv(self.grid.affine), points)
        # Half a voxel beyond the outermost centres ITK still takes the border's value, and 0 from there on.
        shape = torch.tensor(self.grid.shape, dtype=points.dtype)[:, None, None, None]
        within = ((index >= -0.5) & (index <= shape - 0.5)).all(0, keepdim=True)
        return points + sampled(self.vectors, index, outside="border") * within

    def inverse(self) -> Displacement:
        vectors = self.inverse_vectors
        if vectors is None:
            back = torch.from_numpy(np.linalg.inv(self.grid.affine[:3, :3]).astype(np.float32))
            field = torch.einsum("ab,bijk->aijk", back, self.vectors)
            field = inverted(field, self.grid.indices())
            vectors = Displacement.from_voxels(self.grid, field).vectors
        return Displacement(self.grid, vectors, self.vectors)


@dataclass(frozen=True, eq=False)
class SpatialTransform:
    """Steps that are applied one after the other: matrices (4x4, RAS) and displacements."""

    steps: tuple[np.ndarray | Displacement, ...] = ()

    @property
    def matrix(self) -> np.ndarray | None:
        """The 4x4 matrix if all steps are matrices, else None."""
        matrix = np.eye(4)
        for step in self.steps:
            if isinstance(step, Displacement):
                return None
            matrix = step @ matrix
        return matrix

    def at(self, points: torch.Tensor) -> torch.Tensor:
        """Where points (3, I, J, K) in RAS mm go."""
        for step in self.steps:
            points = step.at(points) if isinstance(step, Displacement) else _moved(step, points)
        return points

    def of_points(self, points: np.ndarray) -> np.ndarray:
        """Where points (N, 3) in RAS mm go."""
        tensor = torch.from_numpy(np.asarray(points, np.float64).T.reshape(3, -1, 1, 1))
        moved = SpatialTransform(tuple(_in_double(step) for step in self.steps)).at(tensor)
        return moved.reshape(3, -1).T.numpy()

    def then(self, other: SpatialTransform) -> SpatialTransform:
        """This transform and the other one after it; neighbouring matrices become one."""
        steps: list[np.ndarray | Displacement] = []
        for step in self.steps + other.steps:
            if steps and not isinstance(step, Displacement) and not isinstance(steps[-1], Displacement):
                steps[-1] = step @ steps[-1]
            else:
                steps.append(step)
        return SpatialTransform(tuple(steps))

    def inverse(self) -> SpatialTransform:
        """The transform from the moving image's space to the fixed image's."""
        inverse = [s.inverse() if isinstance(s, Displacement) else np.linalg.inv(s) for s in reversed(self.steps)]
        return SpatialTransform(tuple(inverse))


def write_transform(path: str | Path, transform: SpatialTransform) -> None:
    """Write a file that ITK and Slicer read: an affine, a displacement field, or a composite of several.

    Raises UserError for another ending, or when the file cannot be written.
    """
    itk = load_itk_with_transforms()
    path = Path(path)
    ending = next((ending for ending in ENDINGS if path.name.lower().endswith(ending)), None)
    if ending is None:
        raise UserError(f"{path} cannot be written as a transform; its name must end in one of {', '.join(ENDINGS)}.")
    steps = transform.steps or (np.eye(4),)
    parts = [_itk_displacement(s) if isinstance(s, Displacement) else _itk_affine(s) for s in steps]
    whole = parts[0]
    if len(parts) > 1:
        whole = itk.CompositeTransform[itk.D, 3].New()
        for part in reversed(parts):  # ITK applies first what was added last
            whole.AddTransform(part)
    with atomic_path(path, ending) as temporary:
        writer = itk.TransformFileWriterTemplate[itk.D].New(FileName=str(temporary))
        writer.SetInput(whole)
        writer.SetUseCompression(True)
        try:
            writer.Update()
        except RuntimeError as error:
            raise OSError(str(error).strip().splitlines()[-1]) from error


def read_transform(path: str | Path, around: Grid) -> SpatialTransform:
    """Read a transform as ITK or Slicer write it.

    Args:
        around: grid of the fixed image; transforms that are neither linear nor displacement fields (B-splines, say) are
            sampled within it.

    Raises UserError when the file is missing or holds no transform.
    """
    itk = load_itk_with_transforms()
    path = Path(path)
    if not path.is_file():
        raise UserError(f"The transform {path} does not exist; check the name and the folder.")
    try:
        listed = list(itk.transformread(str(path)))
    except Exception:  # ITK's wrapping raises many exception types, with messages for programmers
        raise UserError(
            f"The transform {path} cannot be read: it is damaged or not a transform; save it again as .h5 or .tfm."
        ) from None
    transform = SpatialTransform()
    for part in reversed(listed) if len(listed) > 1 else listed:
        transform = transform.then(_from_itk(part, around, path))
    return transform


def _from_itk(transform: Any, around: Grid, path: Path) -> SpatialTransform:
    if transform.GetInputSpaceDimension() != 3:
        raise UserError(f"The transform {path} is not for three dimensions: save it again from a 3D scene.")
    if not _is_exact(transform):  # as a whole, since a spline after a matrix has its own domain, not the fixed image's
        return _sampled(transform, around)
    if _is_composite(transform):
        whole = SpatialTransform()
        for part in _parts(transform):
            whole = whole.then(_from_itk(part, around, path))
        return whole
    if transform.IsLinear():
        return SpatialTransform((_FLIP @ _linear(transform) @ _FLIP,))
    return SpatialTransform((_displacement_of(transform),))


def _is_exact(transform: Any) -> bool:
    """Whether it is made of matrices and displacement fields only."""
    if _is_composite(transform):
        return all(_is_exact(part) for part in _parts(transform))
    return transform.IsLinear() or "DisplacementFieldTransform" in type(transform).__name__


def _is_composite(transform: Any) -> bool:
    return "CompositeTransform" in type(transform).__name__


def _parts(transform: Any) -> list[Any]:
    """The transforms of a composite, in the order in which they are applied."""
    count = transform.GetNumberOfTransforms()
    return [_downcast(transform.GetNthTransformConstPointer(n)) for n in reversed(range(count))]


def _downcast(transform: Any) -> Any:
    itk = load_itk_with_transforms()
    return itk.down_cast(transform) if hasattr(itk, "down_cast") else transform


def _linear(transform: Any) -> np.ndarray:
    matrix = np.eye(4)
    corner = np.array(transform.TransformPoint([0.0, 0.0, 0.0]))
    for axis in range(3):
        unit = [float(n == axis) for n in range(3)]
        matrix[:3, axis] = np.array(transform.TransformPoint(unit)) - corner
    matrix[:3, 3] = corner
    return matrix


def _displacement_of(transform: Any) -> Displacement:
    itk = load_itk_with_transforms()
    fixed = itk.array_from_vnl_vector(transform.GetFixedParameters())
    shape = tuple(int(n) for n in fixed[:3])
    affine = geometry.affine_from_lps(fixed[6:9], fixed[9:18].reshape(3, 3), fixed[3:6])
    values = itk.array_from_vnl_vector(transform.GetParameters())
    vectors = values.reshape(*shape[::-1], 3).transpose(3, 2, 1, 0).astype(np.float32)
    vectors = np.ascontiguousarray(vectors * np.array([-1, -1, 1], np.float32)[:, None, None, None])
    return Displacement(Grid(affine, shape), torch.from_numpy(vectors))


def _sampled(transform: Any, around: Grid) -> SpatialTransform:
    """A transform of any kind, sampled on a grid around the fixed image: a displacement, then a matrix.

    The matrix is the best fit, and applies alone beyond the grid.
    """
    found = _sampled_displacement(transform, around)
    points = matrix_coordinates(found.grid.affine, found.grid.indices()).reshape(3, -1).T.numpy().astype(np.float64)
    moves = found.vectors.reshape(3, -1).T.numpy().astype(np.float64)
    center = points.mean(0)
    # Fitted to displacements, not to targets: across a single slice, where nothing is known, nothing is stretched.
    slopes, *_ = np.linalg.lstsq(np.c_[points - center, np.ones(len(points))], moves, rcond=None)
    matrix = np.eye(4)
    matrix[:3, :3] += slopes[:3].T
    matrix[:3, 3] = slopes[3] - slopes[:3].T @ center
    rest = (points + moves - matrix[:3, 3]) @ np.linalg.inv(matrix[:3, :3]).T - points
    rest = torch.from_numpy(np.ascontiguousarray(rest.T.reshape(3, *found.grid.shape), np.float32))
    return SpatialTransform((Displacement(found.grid, rest), matrix))


def _sampled_displacement(transform: Any, around: Grid) -> Displacement:
    """The displacement on a grid around the fixed image."""
    itk = load_itk_with_transforms()
    box = box_of(around)
    margin = np.where(box.extent > 0, 0.1 * box.extent.max(), 0.0)
    box = Box(box.directions, box.origin - box.directions @ margin, box.extent + 2 * margin, box.thickness)
    grid = box.grid(max(_SAMPLED_SPACING, float(box.extent.max()) / _MOST_SAMPLES))
    spacing, direction, origin = geometry.lps_from_affine(grid.affine)
    image = itk.transform_to_displacement_field_filter(
        transform=transform,
        size=[int(n) for n in grid.shape],
        output_spacing=[float(value) for value in spacing],
        output_origin=[float(value) for value in origin],
        output_direction=itk.matrix_from_array(np.ascontiguousarray(direction)),
    )
    array = np.asarray(itk.array_from_image(image), np.float32) * np.array([-1, -1, 1], np.float32)
    return Displacement(grid, torch.from_numpy(np.ascontiguousarray(array.transpose(3, 2, 1, 0))))


def _itk_affine(matrix: np.ndarray) -> Any:
    itk = load_itk_with_transforms()
    lps = _FLIP @ matrix @ _FLIP
    transform = itk.AffineTransform[itk.D, 3].New()
    transform.SetMatrix(itk.matrix_from_array(np.ascontiguousarray(lps[:3, :3])))
    transform.SetTranslation([float(value) for value in lps[:3, 3]])
    return transform


def _itk_displacement(step: Displacement) -> Any:
    itk = load_itk_with_transforms()
    vectors, affine = step.vectors.numpy(), step.grid.affine.copy()
    for axis in range(3):
        if vectors.shape[axis + 1] == 1:  # a single slice would have no neighbours to interpolate between
            vectors = np.repeat(vectors, 1 + 2 * _PADDED_SLICES, axis + 1)
            affine[:3, 3] -= _PADDED_SLICES * affine[:3, axis]
    spacing, direction, origin = geometry.lps_from_affine(affine)
    fixed = [*map(float, vectors.shape[1:]), *origin, *spacing, *direction.ravel()]
    lps = vectors * np.array([-1, -1, 1], np.float32)[:, None, None, None]
    transform = itk.DisplacementFieldTransform[itk.D, 3].New()
    transform.SetFixedParameters(_itk_parameters(np.array(fixed)))
    # The image's own parameters are the field's memory: vectors one after the other, the first axis fastest.
    transform.SetParameters(_itk_parameters(lps.transpose(3, 2, 1, 0).ravel()))
    return transform


def _itk_parameters(values: np.ndarray) -> Any:
    itk = load_itk_with_transforms()
    return itk.OptimizerParameters[itk.D](np.asarray(values, np.float64).tolist())


def _moved(matrix: np.ndarray, points: torch.Tensor) -> torch.Tensor:
    tensor = torch.from_numpy(np.asarray(matrix, np.float64)).to(points)
    return torch.einsum("ab,bijk->aijk", tensor[:3, :3], points) + tensor[:3, 3][:, None, None, None]


def _in_double(step: np.ndarray | Displacement) -> np.ndarray | Displacement:
    if not isinstance(step, Displacement):
        return step
    return Displacement(step.grid, step.vectors.double())
