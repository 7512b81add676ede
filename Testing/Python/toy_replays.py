"""Replays of applications: recorded events, with output files that fit the nodes a test has put into the scene."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import toy_cases
import toy_pairs
from replay import RECORDINGS, Recording, recorded


def segmented() -> Recording:
    """An application whose result for a volume is that of the toy case 9."""

    def write(folder) -> None:
        from MedDeepLib.data.sources.labels import Segment, write_segmentation

        _image, label = toy_cases.toy_image(9)
        segments = [Segment(int(value), name, (1.0, 0.0, 0.0)) for value, name in toy_cases.CLASSES.items()]
        write_segmentation(folder.path / "output.seg.nrrd", label, toy_cases.toy_affine(), segments)

    return recorded("segment_apply").writing(write)


def trained() -> Recording:
    """A training that leaves a model without weights."""

    def write(folder) -> None:
        import shutil

        shutil.copytree(RECORDINGS / "segment_train" / "model", folder.model_folder)
        (folder.model_folder / "models").mkdir()
        (folder.model_folder / "models" / "model.pt").touch()

    return recorded("segment_train").writing(write)


def registered(
    write_transform: Callable[[Path], None], name: str = "register_apply", fixed: str = "plain"
) -> Recording:
    """An application that finds the transform written by ``write_transform``.

    The optional output volumes hold the values 1, 2, 3 and 4, on the grid ``fixed`` of ``toy_pairs``.
    """

    def write(folder) -> None:
        from MedDeepLib.data.sources.image import write_image

        write_transform(folder.path / "transform.h5")
        grid, shape = toy_pairs.GRIDS[fixed]
        for value, title in enumerate(("volume", "checkerboard", "difference", "jacobian"), start=1):
            write_image(folder.path / f"{title}.nrrd", np.full(shape, value, np.float32), grid)

    return recorded(name).writing(write)


def matrix(found: np.ndarray) -> Callable[[Path], None]:
    """For ``registered``: a matrix (4, 4) from the fixed image's space to the moving one's."""

    def write(path: Path) -> None:
        import slicer

        node = slicer.vtkMRMLLinearTransformNode()
        node.SetMatrixTransformFromParent(slicer.util.vtkMatrixFromArray(found))
        _save(node, path)

    return write


def deformation(bend: Callable[[np.ndarray], np.ndarray], spacing: float = 4.0) -> Callable[[Path], None]:
    """For ``registered``: a displacement field that follows ``bend``, points (N, 3) of the fixed image's space to
    points of the moving one's, on a grid around the toy body."""

    def write(path: Path) -> None:
        import slicer
        import vtk
        from vtk.util import numpy_support

        low, shape = np.array((-80.0, -90.0, -80.0)), np.array((160, 180, 160)) // int(spacing) + 1
        points = np.indices(shape).reshape(3, -1).T * spacing + low
        shifts = (bend(points) - points).reshape(*shape, 3).transpose(2, 1, 0, 3).reshape(-1, 3)
        image = vtk.vtkImageData()
        image.SetDimensions([int(n) for n in shape])
        image.SetOrigin(*low)
        image.SetSpacing(spacing, spacing, spacing)
        image.GetPointData().SetScalars(numpy_support.numpy_to_vtk(np.ascontiguousarray(shifts), deep=True))
        transform = slicer.vtkOrientedGridTransform()
        transform.SetDisplacementGridData(image)
        node = slicer.vtkMRMLGridTransformNode()
        node.SetAndObserveTransformFromParent(transform)
        _save(node, path)

    return write


def _save(node, path: Path) -> None:
    import slicer

    storage = slicer.vtkMRMLTransformStorageNode()
    storage.SetFileName(str(path))
    assert storage.WriteData(node)
