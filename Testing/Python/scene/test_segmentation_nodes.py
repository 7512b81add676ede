"""Segmentation nodes from files and to arrays: voxels, positions, names, colours, terminology, transforms."""

import numpy as np
import pytest
from MedDeepLib.data.sources import image as images
from MedDeepLib.data.sources.labels import (
    Segment,
    place_on_grid,
    read_segmentation,
    terminology_entry,
    write_segmentation,
)
from MedDeepLib.errors import UserError
from MedDeepLib.scene import nodes
from sample_images import GRIDS, SHAPE, affine, largest_distance, rotation, volume

TOLERANCE_MM = 1e-4
HIPPOCAMPUS = terminology_entry(
    ("SCT", "123037004", "Anatomical Structure"), ("SCT", "2421006", "Hippocampus"), ("SCT", "7771000", "Left")
)
SEGMENTS = [
    Segment(3, "left hippocampus", (0.25, 0.5, 0.75), HIPPOCAMPUS),
    Segment(300, "größer 脳", (1.0, 0.0, 0.0), HIPPOCAMPUS),
    Segment(9, "empty", (0.0, 1.0, 0.0), HIPPOCAMPUS),
]


@pytest.fixture
def slicer(host):
    import slicer

    return slicer


def labels() -> np.ndarray:
    array = np.zeros(SHAPE, np.uint16)
    array[1:3, 2:, :4] = 3
    array[4, :, 5:] = 300
    return array


def make_volume(name="oblique", dtype=np.int16):
    return nodes.volume_from_image(images.Image(volume(dtype=dtype)[None], GRIDS[name]), "MR head")


def add_transform(slicer, volume_node):
    """Put a volume under a parent transform that rotates and shifts it; returns the matrix."""
    matrix = affine(rotation(5, 15, -25), origin=(10, -20, 30))
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    volume_node.SetAndObserveTransformNodeID(transform.GetID())
    return transform, matrix


@pytest.mark.parametrize("name", GRIDS)
def test_segmentation_loads_with_everything(slicer, tmp_path, name):
    path = tmp_path / "result.seg.nrrd"
    write_segmentation(path, labels(), GRIDS[name], SEGMENTS)
    reference = make_volume(name)
    node = nodes.segmentation_from_file(path, "Result", reference)
    contents = node.GetSegmentation()
    assert node.GetName() == "Result"
    assert contents.GetNumberOfSegments() == 3
    for number, expected in enumerate(SEGMENTS):
        segment = contents.GetNthSegment(number)
        assert contents.GetNthSegmentID(number) == f"Segment_{expected.value}"
        assert segment.GetName() == expected.name
        assert segment.GetColor() == pytest.approx(expected.color)
        assert segment.GetLabelValue() == expected.value
        assert segment.GetTerminology() == HIPPOCAMPUS
    entry = slicer.vtkSlicerTerminologyEntry()
    assert slicer.modules.terminologies.logic().DeserializeTerminologyEntry(HIPPOCAMPUS, entry)
    assert entry.GetTypeObject().GetCodeMeaning() == "Hippocampus"
    role = node.GetReferenceImageGeometryReferenceRole()
    assert node.GetNodeReference(role) is reference
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(node, "Segment_300", reference)
    assert np.array_equal(mask.T != 0, labels() == 300)
    assert node.GetStorageNode() is None  # saving the scene must not overwrite the worker's file


@pytest.mark.parametrize("name", GRIDS)
def test_exported_on_the_reference_grid(slicer, tmp_path, name):
    """As the DICOM SEG and label map exports do: all segments on the grid of the reference volume."""
    import vtk

    write_segmentation(tmp_path / "result.seg.nrrd", labels(), GRIDS[name], SEGMENTS)
    reference = make_volume(name)
    node = nodes.segmentation_from_file(tmp_path / "result.seg.nrrd", reference_volume=reference)
    label_node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    logic = slicer.modules.segmentations.logic()
    ids = vtk.vtkStringArray()
    node.GetSegmentation().GetSegmentIDs(ids)
    assert logic.ExportSegmentsToLabelmapNode(node, ids, label_node, reference)
    exported = nodes.image_from_volume(label_node)
    assert exported.shape == SHAPE
    assert largest_distance(exported.affine, GRIDS[name]) < TOLERANCE_MM
    # Slicer numbers the segments in their order.
    assert np.array_equal(exported.array[0] == 1, labels() == 3)
    assert np.array_equal(exported.array[0] == 2, labels() == 300)


@pytest.mark.parametrize("name", GRIDS)
def test_labels_of_a_segmentation_node(slicer, tmp_path, name):
    write_segmentation(tmp_path / "result.seg.nrrd", labels(), GRIDS[name], SEGMENTS)
    reference = make_volume(name)
    node = nodes.segmentation_from_file(tmp_path / "result.seg.nrrd", reference_volume=reference)
    array, segments = nodes.labels_from_segmentation(node, reference)
    assert np.array_equal(array, labels())
    assert segments == SEGMENTS
    path = nodes.segmentation_to_file(node, tmp_path / "work", reference)
    array, grid, segments = read_segmentation(path)
    assert np.array_equal(array, labels())
    assert segments == SEGMENTS
    assert largest_distance(grid, GRIDS[name]) < TOLERANCE_MM


@pytest.mark.parametrize("name", GRIDS)
def test_result_of_a_loaded_file_lies_on_its_voxels(slicer, tmp_path, name):
    """From the file through the worker and back; Slicer has flipped the last axis of left-handed volumes."""
    images.write_image(tmp_path / "image.nrrd", labels().astype(np.int16), GRIDS[name])
    reference = slicer.util.loadVolume(str(tmp_path / "image.nrrd"))
    image = images.read_image(nodes.volume_to_file(reference, tmp_path / "work"))
    write_segmentation(tmp_path / "result.seg.nrrd", image.array[0], image.affine, SEGMENTS)
    node = nodes.segmentation_from_file(tmp_path / "result.seg.nrrd", reference_volume=reference)
    array, _ = nodes.labels_from_segmentation(node, reference)
    assert np.array_equal(array, nodes.image_from_volume(reference).array[0])
    on_node_grid, grid, _ = read_segmentation(nodes.segmentation_to_file(node, tmp_path / "work", reference))
    on_file_grid = place_on_grid(on_node_grid, grid, image.affine, image.shape, "labels")
    assert np.array_equal(on_file_grid, labels())


@pytest.mark.parametrize("name", GRIDS)
def test_result_follows_its_image_under_a_transform(slicer, tmp_path, name):
    """A segment's centre in the world is the image's world matrix times the centre of its voxels."""
    reference = make_volume(name)
    transform, matrix = add_transform(slicer, reference)
    image = images.read_image(nodes.volume_to_file(reference, tmp_path))  # what the worker sees
    write_segmentation(tmp_path / "result.seg.nrrd", labels(), image.affine, SEGMENTS)
    node = nodes.segmentation_from_file(tmp_path / "result.seg.nrrd", reference_volume=reference)
    assert node.GetParentTransformNode() is transform
    node.CreateClosedSurfaceRepresentation()
    voxels = np.argwhere(labels() == 3)
    center = (voxels.min(0) + voxels.max(0)) / 2
    in_world = matrix @ GRIDS[name] @ [*center, 1]
    assert np.abs(np.array(node.GetSegmentCenterRAS("Segment_3")) - in_world[:3]).max() < 3
    array, _ = nodes.labels_from_segmentation(node, reference)
    assert np.array_equal(array, labels())
    warped = nodes.volume_from_image(images.Image(volume()[None], image.affine), "probability", like=reference)
    assert warped.GetParentTransformNode() is transform


def test_segmentation_goes_into_an_existing_node(slicer, tmp_path):
    write_segmentation(tmp_path / "first.seg.nrrd", labels(), GRIDS["LPS"], SEGMENTS)
    write_segmentation(tmp_path / "second.seg.nrrd", labels() // 300, GRIDS["LPS"], [Segment(1, "new", (1, 1, 0))])
    node = nodes.segmentation_from_file(tmp_path / "first.seg.nrrd", "Keep me")
    same = nodes.segmentation_from_file(tmp_path / "second.seg.nrrd", into=node)
    assert same is node
    assert node.GetName() == "Keep me"
    assert [node.GetSegmentation().GetNthSegment(0).GetName()] == ["new"]
    assert node.GetSegmentation().GetNumberOfSegments() == 1


def test_plain_label_image_becomes_a_segmentation(slicer, tmp_path):
    images.write_image(tmp_path / "labels.nii.gz", (labels() // 3).astype(np.uint8), GRIDS["oblique"])
    node = nodes.segmentation_from_file(tmp_path / "labels.nii.gz")
    assert node.GetSegmentation().GetNumberOfSegments() == 2


def test_bad_segmentation_files(slicer, tmp_path):
    count = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")
    with pytest.raises(UserError, match="does not exist"):
        nodes.segmentation_from_file(tmp_path / "gone.seg.nrrd")
    (tmp_path / "bad.seg.nrrd").write_text("nothing useful", encoding="utf-8")
    with pytest.raises(UserError, match="cannot be read as a segmentation"):
        nodes.segmentation_from_file(tmp_path / "bad.seg.nrrd")
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == count


def test_segmentations_that_make_no_labels(slicer):
    reference = make_volume("LPS")
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Drawn")
    node.SetReferenceImageGeometryParameterFromVolumeNode(reference)
    with pytest.raises(UserError, match="Drawn has no segments"):
        nodes.labels_from_segmentation(node, reference)
    mask = np.ones(SHAPE[::-1], np.uint8)
    for name in ("one", "two"):
        segment_id = node.GetSegmentation().AddEmptySegment("", name)
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, segment_id, reference)
    with pytest.raises(UserError, match="the segment two overlaps another one"):
        nodes.labels_from_segmentation(node, reference)
