"""Transform nodes to files and back.

A registration's file takes points of the fixed image's space to the moving image's, as ITK expects it. Slicer calls
that *from parent*: the node that is made from it belongs above what lies in the moving image's space.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from MedDeepLib.errors import UserError

_MOST_POINTS = 80_000  # of a sampled transform: more would block the panel for longer than 50 ms


def transform_to_file(fixed: Any, moving: Any, folder: str | Path, around: Any) -> Path | None:
    """A file with the transform from the space under one transform node to that under another; None if both are the
    same.

    Args:
        fixed, moving: transform nodes; None stands for the world.
        around: the fixed volume. A transform that is neither a matrix nor a plain displacement field is sampled within
            this volume, at every n-th voxel if there are many.

    Raises UserError when it cannot be written.
    """
    import slicer
    import vtk

    if fixed is moving:
        return None
    path = Path(folder) / "initial.h5"
    path.parent.mkdir(parents=True, exist_ok=True)
    between = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(fixed, moving, between)
    linear = vtk.vtkTransform()
    if slicer.vtkMRMLTransformNode.IsGeneralTransformLinear(between, linear):
        node = slicer.vtkMRMLLinearTransformNode()
        node.SetMatrixTransformFromParent(linear.GetMatrix())
        return _write(node, path)
    own = moving.GetTransformFromParentAs("vtkOrientedGridTransform", False, True) if moving is not None else None
    if fixed is None and moving is not None and own is not None and moving.GetParentTransformNode() is None:
        return _write(moving, path)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", "initial")
    node.SetAndObserveTransformFromParent(between)
    places = _every_nth_voxel(around)
    try:
        grid = slicer.modules.transforms.logic().ConvertToGridTransform(node, places)
    finally:
        for made in (node, places):
            slicer.mrmlScene.RemoveNode(made)
    try:
        return _write(grid, path)
    finally:
        slicer.mrmlScene.RemoveNode(grid)


def _every_nth_voxel(volume: Any) -> Any:
    """A volume node on every n-th voxel of another one along all axes, to the last voxel and beyond."""
    import slicer
    import vtk

    shape = np.array(volume.GetImageData().GetDimensions())
    factor = 1
    while np.prod(_reaching(shape, factor)) > _MOST_POINTS:
        factor += 1
    image = vtk.vtkImageData()
    image.SetDimensions([int(n) for n in _reaching(shape, factor)])
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    to_ras, step = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(to_ras)
    for axis in range(3):
        step.SetElement(axis, axis, factor)
    vtk.vtkMatrix4x4.Multiply4x4(to_ras, step, to_ras)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "places of the initial transform")
    node.SetAndObserveImageData(image)
    node.SetIJKToRASMatrix(to_ras)
    return node


def _reaching(shape: np.ndarray, factor: int) -> np.ndarray:
    """How many points, ``factor`` voxels apart, reach from the first to the last of ``shape`` voxels."""
    return -(-(shape - 1) // factor) + 1


def transform_from_file(path: str | Path, name: str, into: Any = None) -> Any:
    """A transform node with the result of a registration; displacement fields are interpolated linearly, as ITK does.

    Args:
        into: replace the contents of this node instead of making one. Where it cannot hold the result, as a linear
            transform node cannot hold a deformation, a new node is made anyway.

    Raises UserError when the file cannot be read as a transform.
    """
    import slicer

    storage = slicer.vtkMRMLTransformStorageNode()  # outside the scene: saving the scene must not overwrite the file
    storage.SetFileName(str(path))
    found = slicer.vtkMRMLTransformNode()
    if not storage.ReadData(found):
        raise UserError(f"{path} cannot be read as a transform; apply the model again.")
    transform = found.GetTransformFromParent()
    for part in _parts(transform):
        if part.IsA("vtkOrientedGridTransform"):
            part.SetInterpolationModeToLinear()
    if into is not None and can_hold(into, found):
        into.SetAndObserveTransformFromParent(transform)
        return into
    kind = "LinearTransform" if found.IsLinear() else "GridTransform" if len(_parts(transform)) == 1 else "Transform"
    node = slicer.mrmlScene.AddNewNodeByClass(f"vtkMRML{kind}Node", name)
    node.SetAndObserveTransformFromParent(transform)
    return node


def can_hold(node: Any, found: Any) -> bool:
    """Whether a transform node can hold what another one does."""
    if node.IsA("vtkMRMLLinearTransformNode"):
        return bool(found.IsLinear())
    if node.IsA("vtkMRMLGridTransformNode"):
        parts = _parts(found.GetTransformFromParent())
        return len(parts) == 1 and parts[0].IsA("vtkOrientedGridTransform")
    return not node.IsA("vtkMRMLBSplineTransformNode")


def _parts(transform: Any) -> list[Any]:
    """The transforms that a node's transform consists of."""
    import slicer
    import vtk

    parts = vtk.vtkCollection()
    slicer.vtkMRMLTransformNode.FlattenGeneralTransform(parts, transform)
    return [parts.GetItemAsObject(number) for number in range(parts.GetNumberOfItems())]


def _write(node: Any, path: Path) -> Path:
    import slicer

    storage = slicer.vtkMRMLTransformStorageNode()
    storage.SetFileName(str(path))
    if not storage.WriteData(node):
        raise UserError(f"{path} cannot be written; free space or choose another folder for temporary files.")
    return path
