"""MRML nodes to arrays and files and back, with their geometry.

Arrays are channel first with axes in I, J, K order; affines are IJK to RAS in millimetres. A volume under a
parent transform is taken as it is stored, without the transform; results made from it are put under the same
transform, so they stay on the image when it is moved. Every function needs a scene: the application's, or
the one ``headless.start()`` makes.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from MedDeepLib.data import geometry
from MedDeepLib.data.sources.image import READABLE_ENDINGS, Image
from MedDeepLib.data.sources.labels import LARGEST_LABEL, Segment, write_segmentation
from MedDeepLib.errors import UserError

LONGEST_FILE_STEM = 60


def affine_of(volume: Any) -> np.ndarray:
    """IJK to RAS affine (4, 4) of a volume node, without its parent transform."""
    import slicer
    import vtk

    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def set_affine(volume: Any, affine: np.ndarray) -> None:
    """Give a volume node an IJK to RAS affine."""
    import slicer

    volume.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(np.asarray(affine, float)))


def image_from_volume(volume: Any) -> Image:
    """The voxels of a volume node, (C, I, J, K), as a view of the node's own memory.

    Raises:
        UserError: the node holds no voxels.
    """
    import slicer

    if volume.GetImageData() is None or volume.GetImageData().GetNumberOfPoints() == 0:
        raise UserError(f"The volume {volume.GetName()} holds no voxels; load it again or choose another one.")
    array = slicer.util.arrayFromVolume(volume)
    if array.ndim == 3:
        array = array[..., np.newaxis]
    return Image(array.transpose(3, 2, 1, 0), affine_of(volume), _own_file(volume))


def volume_from_image(image: Image, name: str, like: Any = None, label_map: bool = False, node: Any = None) -> Any:
    """Put an image into the scene.

    Args:
        image: one channel makes a scalar volume, several make a vector volume.
        like: a volume whose parent transform and place in the subject hierarchy the new node gets.
        label_map: make a label map volume (one channel of integers).
        node: fill this node instead of making one.

    Returns:
        The volume node, with a display node.
    """
    import slicer

    array = image.array.transpose(3, 2, 1, 0)
    if len(image.array) == 1:
        array = array[..., 0]
    array = array.astype({np.bool_: np.uint8, np.float16: np.float32}.get(array.dtype.type, array.dtype))
    if node is None:
        kind = "LabelMap" if label_map else "Vector" if len(image.array) > 1 else "Scalar"
        node = slicer.mrmlScene.AddNewNodeByClass(f"vtkMRML{kind}VolumeNode", name)
    slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(array))
    set_affine(node, image.affine)
    node.CreateDefaultDisplayNodes()
    follow(node, like)
    return node


def follow(node: Any, volume: Any) -> None:
    """Put ``node`` under the parent transform and into the subject hierarchy folder of ``volume`` (may be
    None)."""
    import slicer

    if volume is None:
        return
    node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item, volume_item = hierarchy.GetItemByDataNode(node), hierarchy.GetItemByDataNode(volume)
    if item and volume_item:
        hierarchy.SetItemParent(item, hierarchy.GetItemParent(volume_item))


def volume_to_file(volume: Any, folder: str | Path) -> Path:
    """A file with the volume for the worker to read.

    The file the node was read from is used if the node has not changed since; otherwise an uncompressed NRRD
    file is written into ``folder``. The node's own storage is left alone.

    Raises:
        UserError: the node holds no voxels, or the file cannot be written.
    """
    own_file = _own_file(volume)
    if own_file is not None:
        return own_file
    return write_volume(volume, _new_file(folder, volume.GetName(), ".nrrd"))


def write_volume(volume: Any, path: Path) -> Path:
    """Write the voxels of a volume node as an uncompressed NRRD file; the node's own storage is left alone.

    Raises:
        UserError: the node holds no voxels, or the file cannot be written.
    """
    import slicer

    image_from_volume(volume)  # raises for an empty node
    storage_node = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage_node.SetFileName(str(path))
    storage_node.SetUseCompression(False)
    if not storage_node.WriteData(volume):
        path.unlink(missing_ok=True)
        raise UserError(f"{path} cannot be written; free space or choose another folder for temporary files.")
    return path


def segmentation_from_file(
    path: str | Path, name: str | None = None, reference_volume: Any = None, into: Any = None
) -> Any:
    """Load a segmentation with names, colours, terminology and values.

    Args:
        path: .seg.nrrd, or any label image.
        name: of the node; by default that of the file.
        reference_volume: the volume that was segmented. It becomes the reference geometry, which DICOM SEG
        export
            needs, and the segmentation goes under its parent transform and beside it in the subject
            hierarchy.
        into: replace the contents of this segmentation node instead of making one.

    Raises:
        UserError: the file is missing or cannot be read as a segmentation.
    """
    import slicer

    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} does not exist; check the name and the folder.")
    node = into or slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", path.name.split(".")[0])
    # A storage node outside the scene: saving the scene later must not overwrite this file.
    storage_node = slicer.vtkMRMLSegmentationStorageNode()
    storage_node.SetFileName(str(path))
    if not storage_node.ReadData(node):
        if into is None:
            slicer.mrmlScene.RemoveNode(node)
        raise UserError(f"{path} cannot be read as a segmentation; export it again as .seg.nrrd.")
    if name:
        node.SetName(name)
    node.CreateDefaultDisplayNodes()
    if reference_volume is not None:
        node.SetReferenceImageGeometryParameterFromVolumeNode(reference_volume)
        follow(node, reference_volume)
    return node


def labels_from_segmentation(segmentation: Any, reference_volume: Any) -> tuple[np.ndarray, list[Segment]]:
    """One label array on the grid of a volume.

    Segments keep their label values if these differ from each other, otherwise they are numbered from 1 in
    order.

    Returns:
        ``(labels, segments)``: labels (I, J, K) as uint8 or uint16.

    Raises:
        UserError: there are no segments, or two overlap.
    """
    import slicer

    contents = segmentation.GetSegmentation()
    ids = [contents.GetNthSegmentID(number) for number in range(contents.GetNumberOfSegments())]
    if not ids:
        raise UserError(f"The segmentation {segmentation.GetName()} has no segments; add one and draw it.")
    values = [contents.GetSegment(segment_id).GetLabelValue() for segment_id in ids]
    if len(set(values)) != len(values) or not all(1 <= value <= LARGEST_LABEL for value in values):
        values = list(range(1, len(ids) + 1))
    shape = reference_volume.GetImageData().GetDimensions()
    labels = np.zeros(shape, np.uint8 if max(values) <= 255 else np.uint16)
    segments = []
    for segment_id, value in zip(ids, values, strict=True):
        segment = contents.GetSegment(segment_id)
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segment_id, reference_volume)
        inside = mask.T != 0
        if labels[inside].any():
            raise UserError(
                f"In the segmentation {segmentation.GetName()} the segment {segment.GetName()} overlaps another "
                "one, but every voxel can have one label only; erase the overlap."
            )
        labels[inside] = value
        segments.append(Segment(value, segment.GetName(), tuple(segment.GetColor()), segment.GetTerminology()))
    return labels, segments


def segmentation_to_file(segmentation: Any, folder: str | Path, reference_volume: Any) -> Path:
    """Write a segmentation as .seg.nrrd on the whole grid of a volume; raises what its two steps raise."""
    labels, segments = labels_from_segmentation(segmentation, reference_volume)
    path = _new_file(folder, segmentation.GetName(), ".seg.nrrd")
    write_segmentation(path, labels, affine_of(reference_volume), segments)
    return path


def table_from_rows(name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], node: Any = None) -> Any:
    """A table node; a column of numbers becomes a numeric column, in which None is shown as nan.

    Args:
        node: replace the contents of this table node instead of making one.
    """
    import slicer
    import vtk

    if any(len(row) != len(columns) for row in rows):
        raise ValueError(f"every row needs {len(columns)} values")
    if node is None:
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", name)
    table = vtk.vtkTable()
    for number, title in enumerate(columns):
        values = [row[number] for row in rows]
        is_numeric = all(value is None or isinstance(value, (int, float, np.number)) for value in values)
        array = vtk.vtkDoubleArray() if is_numeric and values else vtk.vtkStringArray()
        array.SetName(title)
        for value in values:
            if is_numeric:
                array.InsertNextValue(float("nan") if value is None else float(value))
            else:
                array.InsertNextValue("" if value is None else str(value))
        table.AddColumn(array)
    node.SetAndObserveTable(table)
    node.SetUseColumnTitleAsColumnHeader(True)  # the titles are the array names
    return node


def load_dicom_folder(path: str | Path, name: str | None = None) -> Any:
    """Load a DICOM series as a volume node, in slice order whatever the file names.

    Args:
        path: a folder, or ``folder::SeriesInstanceUID``.

    Raises:
        UserError: as for ``data.dicom.choose_series`` and ``series_info``, or the series cannot be
        loaded.
    """
    import slicer

    from MedDeepLib.data.formats import dicom

    series = dicom.choose_series(path)
    info = dicom.series_info(series)
    files = [str(file) for file in series.files]
    properties: dict[str, Any] = {"name": name or series.description or Path(files[0]).parent.name}
    if len(files) > 1:
        properties["fileNames"] = files
    try:
        volume = slicer.util.loadVolume(files[0], properties)
    except RuntimeError as error:
        raise UserError(f"{path} cannot be loaded as a volume; export the series again.") from error
    if volume.GetImageData().GetDimensions() == info.shape and geometry.affines_match(
        affine_of(volume), info.affine, info.shape
    ):
        return volume
    # Slicer's reader derives the slice distance from two slices only, and does not know every multi-frame
    # type.
    return volume_from_image(dicom.read_series(series), volume.GetName(), node=volume)


def _own_file(volume: Any) -> Path | None:
    """The file that holds exactly what the node holds, if there is one that the worker can read."""
    storage_node = volume.GetStorageNode()
    if storage_node is None or not storage_node.GetFileName() or storage_node.GetNumberOfFileNames() > 1:
        return None
    # The worker has another working folder.
    path = Path(storage_node.GetFileName()).absolute()
    if volume.GetModifiedSinceRead() or not path.is_file():
        return None
    if hasattr(storage_node, "GetCenterImage") and storage_node.GetCenterImage():
        return None  # the node was centred on loading, so its position differs from the file
    return path if path.name.lower().endswith(READABLE_ENDINGS) else None


def _new_file(folder: str | Path, name: str, ending: str) -> Path:
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be made ({error.strerror}); choose another folder.") from error
    stem = re.sub(r"[^\w-]+", "_", name, flags=re.ASCII)[:LONGEST_FILE_STEM] or "node"
    return folder / f"{stem}-{uuid.uuid4().hex[:8]}{ending}"
