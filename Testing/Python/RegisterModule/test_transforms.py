"""Transforms: ITK and Slicer apply the files exactly as the registration itself does."""

from __future__ import annotations

import itertools

import itk
import numpy as np
import pytest
import torch
from MedDeepLib.data import geometry
from MedDeepLib.data.sources.image import Image, read_image
from MedDeepLib.errors import UserError
from RegisterModuleLib.worker.fields import jacobian_determinant
from RegisterModuleLib.worker.grids import Grid
from RegisterModuleLib.worker.inputs import Pair
from RegisterModuleLib.worker.prediction import RegistrationPrediction
from RegisterModuleLib.worker.transforms import Displacement, SpatialTransform, read_transform, write_transform
from toy_pairs import GRIDS, displacement, inner_points, matrix_of, write

MATRIX = matrix_of((4, -7, 10), (3, -2, 5), (1.05, 0.95, 1.02))


def through_itk(path, points: np.ndarray) -> np.ndarray:
    """Points (N, 3) in RAS mm, mapped by ITK with the transform in a file."""
    (transform,) = itk.transformread(str(path))
    flip = np.array([-1, -1, 1.0])
    return np.array([transform.TransformPoint((point * flip).tolist()) for point in points]) * flip


@pytest.mark.parametrize("ending", [".h5", ".tfm"])
@pytest.mark.parametrize("steps", ["matrix", "field", "field and matrix"])
def test_itk_moves_points_as_we_do(tmp_path, ending, steps):
    parts = {"matrix": (MATRIX,), "field": (displacement(),), "field and matrix": (displacement(), MATRIX)}[steps]
    transform = SpatialTransform(parts)
    write_transform(tmp_path / f"t{ending}", transform)
    points = inner_points()
    assert np.abs(transform.of_points(points) - points).max() > 3
    np.testing.assert_allclose(through_itk(tmp_path / f"t{ending}", points), transform.of_points(points), atol=1e-6)
    read = read_transform(tmp_path / f"t{ending}", Grid(*GRIDS["plain"]))
    np.testing.assert_allclose(read.of_points(points), transform.of_points(points), atol=1e-6)


def test_there_and_back(tmp_path):
    transform = SpatialTransform((displacement(), MATRIX))
    points = inner_points()
    there = transform.of_points(points)
    assert np.linalg.norm(transform.inverse().of_points(there) - points, axis=1).max() < 0.1
    write_transform(tmp_path / "inverse.h5", transform.inverse())
    assert np.linalg.norm(through_itk(tmp_path / "inverse.h5", there) - points, axis=1).max() < 0.1


def test_the_inverse_of_a_field_that_is_only_read(tmp_path):
    write_transform(tmp_path / "t.h5", SpatialTransform((displacement(), MATRIX)))
    transform = read_transform(tmp_path / "t.h5", Grid(*GRIDS["plain"]))
    points = inner_points()
    assert np.linalg.norm(transform.inverse().of_points(transform.of_points(points)) - points, axis=1).max() < 0.1


def test_a_flow_does_not_fold_and_its_determinant_is_that_of_its_derivative():
    field = displacement(4.0, size=12.0, seed=3)
    voxels = field.vectors / 4.0
    determinant = jacobian_determinant(voxels)
    assert float(determinant.min()) > 0 and float(determinant.max()) > 1.5
    # From finite differences of the transform at one point.
    index = (12, 15, 14)
    corner = np.array(field.grid.affine @ [*index, 1.0])[:3]
    corners = {
        offset: SpatialTransform((field,)).of_points((corner + 4.0 * np.array(offset))[None])[0]
        for offset in itertools.product((0, 1), repeat=3)
    }
    columns = []
    for axis in range(3):
        ends = [np.mean([p for o, p in corners.items() if o[axis] == side], axis=0) for side in (0, 1)]
        columns.append((ends[1] - ends[0]) / 4.0)
    assert float(determinant[index]) == pytest.approx(np.linalg.det(np.array(columns).T), rel=1e-3)


@pytest.mark.parametrize(
    ("fixed", "moving"), [("oblique", "left-handed"), ("anisotropic", "oblique"), ("plain", "anisotropic")]
)
def test_the_volume_is_what_itk_resamples(tmp_path, fixed, moving):
    """Our warp against ITK's resampler with the file, on pairs of different size, spacing and handedness."""
    transform = SpatialTransform((displacement(), MATRIX))
    write_transform(tmp_path / "t.h5", transform)
    write(tmp_path / "moving.nrrd", moving)
    image = read_image(tmp_path / "moving.nrrd")
    affine, shape = GRIDS[fixed]
    pair = Pair(Image(np.zeros((1, *shape), np.float32), affine), image, SpatialTransform())
    own = RegistrationPrediction(pair, transform).warped()

    spacing, direction, origin = geometry.lps_from_affine(affine)
    (read,) = itk.transformread(str(tmp_path / "t.h5"))
    resampled = itk.resample_image_filter(
        itk.imread(str(tmp_path / "moving.nrrd"), itk.F),
        transform=read,
        size=list(shape),
        output_spacing=spacing.tolist(),
        output_origin=origin.tolist(),
        output_direction=itk.matrix_from_array(np.ascontiguousarray(direction)),
    )
    theirs = itk.array_from_image(resampled).transpose(2, 1, 0)
    inside = theirs > 0
    difference = np.abs(own - theirs)[inside]
    assert inside.mean() > 0.3
    # An error of 0.1 voxel at the steepest edge of the body would exceed this by far.
    assert np.percentile(difference, 99.9) < 2.0, np.percentile(difference, 99.9)


@pytest.mark.parametrize("shape", [(9, 12, 10), (1, 12, 10), (9, 12, 1)])
def test_the_map_of_determinants_is_the_same_slab_by_slab(monkeypatch, shape):
    from RegisterModuleLib.worker import scores

    transform = SpatialTransform((displacement(), MATRIX))
    grid = Grid(GRIDS["oblique"][0], shape)
    whole = scores.jacobian_map(transform, grid)
    monkeypatch.setattr(scores, "SLAB_VOXELS", 2 * shape[1] * shape[2])
    assert whole.shape == shape and whole.std() > 0.01
    assert np.allclose(scores.jacobian_map(transform, grid), whole, atol=1e-6)


def test_a_slice_keeps_its_plane(tmp_path):
    """A field of a single slice is written with neighbours, so that ITK interpolates within it."""
    grid = Grid(np.diag([2.0, 2.0, 5.0, 1.0]), (20, 22, 1))
    vectors = torch.zeros((3, 20, 22, 1))
    vectors[0] = torch.linspace(0, 3, 20)[:, None, None]
    transform = SpatialTransform((Displacement(grid, vectors),))
    write_transform(tmp_path / "t.h5", transform)
    points = np.array([[10, 12, 0], [21, 7, 0.0]])
    np.testing.assert_allclose(through_itk(tmp_path / "t.h5", points), transform.of_points(points), atol=1e-5)
    assert transform.of_points(points)[1, 0] > 22


@pytest.mark.parametrize("shift", [0.0, 80.0])
def test_a_spline_after_a_matrix_is_taken_where_the_fixed_image_lies(tmp_path, shift):
    """However far away the moving image is: the spline's grid covers the fixed image."""
    spline = itk.BSplineTransform[itk.D, 3, 3].New()
    spline.SetTransformDomainOrigin([-70.0 + shift] * 3)
    spline.SetTransformDomainPhysicalDimensions([140.0] * 3)
    spline.SetTransformDomainMeshSize([6] * 3)
    values = itk.OptimizerParameters[itk.D](spline.GetNumberOfParameters())
    for number, value in enumerate(np.random.default_rng(0).normal(0, 4, values.Size())):
        values.SetElement(number, value)
    spline.SetParameters(values)
    matrix = itk.AffineTransform[itk.D, 3].New()
    matrix.SetTranslation([shift] * 3)
    whole = itk.CompositeTransform[itk.D, 3].New()
    whole.AddTransform(spline)  # ITK applies first what was added last
    whole.AddTransform(matrix)
    writer = itk.TransformFileWriterTemplate[itk.D].New(FileName=str(tmp_path / "t.h5"))
    writer.SetInput(whole)
    writer.Update()
    found = read_transform(tmp_path / "t.h5", Grid(*GRIDS["plain"]))
    flip, points = np.array([-1, -1, 1.0]), inner_points(100)
    wanted = np.array([whole.TransformPoint((point * flip).tolist()) for point in points]) * flip
    assert np.linalg.norm(wanted - points - np.array([-1, -1, 1]) * shift, axis=1).mean() > 2
    assert np.linalg.norm(found.of_points(points) - wanted, axis=1).max() < 0.1
    back = found.inverse().of_points(wanted)
    assert np.linalg.norm(back - points, axis=1).max() < 0.1


def test_transforms_that_cannot_be_used(tmp_path):
    grid = Grid(*GRIDS["plain"])
    with pytest.raises(UserError, match="does not exist"):
        read_transform(tmp_path / "none.h5", grid)
    (tmp_path / "broken.h5").write_bytes(b"no transform")
    with pytest.raises(UserError, match="cannot be read: it is damaged or not a transform"):
        read_transform(tmp_path / "broken.h5", grid)
    with pytest.raises(UserError, match="end in one of"):
        write_transform(tmp_path / "t.nrrd", SpatialTransform())


def test_slicer_hardens_the_file_as_we_do(tmp_path):
    """A fiducial and a volume under the loaded node end up where the registration puts them."""
    from MedDeepLib.scene import headless

    headless.start()
    import slicer

    transform = SpatialTransform((displacement(), MATRIX))
    write_transform(tmp_path / "t.h5", transform)
    node = slicer.util.loadTransform(str(tmp_path / "t.h5"))
    # The node belongs above nodes in the moving image's space, and maps them to the fixed image's.
    points = inner_points(40)
    markups = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
    for point in transform.of_points(points):
        markups.AddControlPoint(*point)
    markups.SetAndObserveTransformNodeID(node.GetID())
    markups.HardenTransform()
    found = slicer.util.arrayFromMarkupsControlPoints(markups)
    assert np.linalg.norm(found - points, axis=1).max() < 0.3, "0.1 voxel of the body's images"
    slicer.mrmlScene.Clear()
