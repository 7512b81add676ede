"""The initial transform of a registration, as a file: correct everywhere in the volume, and written quickly."""

from __future__ import annotations

import time

import numpy as np
import pytest
from MedDeepLib.data.sources.image import Image
from MedDeepLib.scene import nodes
from RegisterModuleLib.scene.transforms import transform_from_file, transform_to_file
from sample_images import affine, rotation

VOLUMES = {
    "oblique": (affine(rotation(10, -20, 35), (0.7, 0.8, 1.4), (-60, -80, -50)), (200, 180, 90)),
    "left-handed": (affine(rotation(-33, 12, 5) @ np.diag([1, -1, 1]), (0.6, 0.6, 5), (-40, 60, -50)), (220, 200, 24)),
    "a slice": (affine(rotation(0, 30, 0), (0.5, 0.5, 4), (-50, -60, 3)), (256, 240, 1)),
    "small": (affine(np.eye(3), (3, 3, 3), (-45, -45, -45)), (31, 30, 29)),
}  # fmt: skip


def bend(places: np.ndarray, factor: float = 1.0) -> np.ndarray:
    x, y, z = (places / 30).T
    return places + factor * np.stack([4 * np.sin(y), 3 * np.cos(z), 3 * np.sin(x)], 1)


def bending_transform(slicer):
    """A node with a thin-plate spline through many landmarks: neither a matrix nor a displacement field."""
    import vtk

    steps = np.linspace(-150, 150, 9)
    places = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)[::3]
    source, target = vtk.vtkPoints(), vtk.vtkPoints()
    for place, moved in zip(places, bend(places), strict=True):
        source.InsertNextPoint(place)
        target.InsertNextPoint(moved)
    spline = vtk.vtkThinPlateSplineTransform()
    spline.SetBasisToR()
    spline.SetSourceLandmarks(source)
    spline.SetTargetLandmarks(target)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", "bent")
    node.SetAndObserveTransformFromParent(spline)
    return node


def moved(node, points: np.ndarray) -> np.ndarray:
    return np.array([node.GetTransformFromParent().TransformPoint(point) for point in points])


@pytest.mark.parametrize("name", VOLUMES)
def test_any_transform_is_written_as_what_it_does_in_the_volume(host, tmp_path, name):
    import slicer

    grid, shape = VOLUMES[name]
    volume = nodes.volume_from_image(Image(np.zeros((1, *shape), np.uint8), grid), "fixed")
    node = bending_transform(slicer)
    before = slicer.mrmlScene.GetNumberOfNodes()
    path = transform_to_file(None, node, tmp_path, volume)
    assert slicer.mrmlScene.GetNumberOfNodes() == before, "nothing is left in the scene"
    index = np.random.default_rng(1).uniform(0, 1, (200, 3)) * (np.array(shape) - 1)
    index[:8] = np.array(np.meshgrid(*[(0, n - 1) for n in shape])).reshape(3, 8).T  # the corners
    points = index @ grid[:3, :3].T + grid[:3, 3]
    expected = moved(node, points)
    assert np.linalg.norm(expected - points, axis=1).mean() > 2
    error = np.linalg.norm(moved(transform_from_file(path, "read"), points) - expected, axis=1)
    assert error.max() < 0.5 and error.mean() < 0.2


def test_a_large_volume_does_not_keep_the_panel_waiting(host, tmp_path):
    """However many voxels the volume has, the transform is sampled at a limited number of points."""
    import slicer

    grid = affine(rotation(10, -20, 35), (0.4, 0.4, 0.4), (-90, -90, -90))
    volume = nodes.volume_from_image(Image(np.zeros((1, 460, 470, 460), np.uint8), grid), "fixed")
    node = bending_transform(slicer)
    small = nodes.volume_from_image(Image(np.zeros((1, 98, 100, 98), np.uint8), grid), "small")
    seconds = {}
    for name, one in (("small", small), ("large", volume)):
        times = []
        for number in range(3):
            started = time.process_time()
            path = transform_to_file(None, node, tmp_path / f"{name}{number}", one)
            times.append(time.process_time() - started)
            assert path.stat().st_size < 5e6
        seconds[name] = float(np.median(times))
    assert seconds["large"] < 20 * seconds["small"], "as many voxels take a hundred times as long"
