"""Conversion of volume and table nodes to arrays and files and back."""

import numpy as np
import pytest
from MedDeepLib.data import geometry
from MedDeepLib.data.sources import image as images
from MedDeepLib.errors import UserError
from MedDeepLib.scene import nodes
from sample_images import GRIDS, SHAPE, affine, dicom_slices, largest_distance, rotation, save_dicom, volume

TOLERANCE_MM = 1e-4


@pytest.fixture
def slicer(host):
    import slicer

    return slicer


def assert_same_voxels_at_same_places(image, voxels, grid) -> None:
    """Slicer flips the last axis of left-handed images when it loads them, so compare along fixed axes."""
    found, found_grid = geometry.to_canonical(image.array[0], image.affine)
    expected, expected_grid = geometry.to_canonical(voxels, grid)
    assert np.array_equal(found, expected)
    assert largest_distance(found_grid, expected_grid, expected.shape) < TOLERANCE_MM


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
@pytest.mark.parametrize("ending", [".nrrd", ".nii.gz", ".mha"])
def test_slicer_and_images_agree_about_files(slicer, tmp_path, name, ending):
    path = tmp_path / f"Büro 1{ending}"
    images.write_image(path, volume(), GRIDS[name])
    node = slicer.util.loadVolume(str(path))
    image = nodes.image_from_volume(node)
    assert_same_voxels_at_same_places(image, volume(), GRIDS[name])
    assert image.path == path
    slicer.util.saveNode(node, str(tmp_path / f"saved{ending}"))
    assert_same_voxels_at_same_places(images.read_image(tmp_path / f"saved{ending}"), volume(), GRIDS[name])


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32"])
def test_volume_node_holds_the_image(slicer, name, dtype):
    node = make_volume(name, dtype)
    image = nodes.image_from_volume(node)
    assert image.array.shape == (1, *SHAPE)
    assert image.array.dtype == dtype
    assert np.array_equal(image.array[0], volume())
    assert largest_distance(image.affine, GRIDS[name]) < 1e-9
    assert node.GetDisplayNode() is not None
    image.array[0, 1, 2, 3] = 111
    assert slicer.util.arrayFromVolume(node)[3, 2, 1] == 111  # a view, not a copy


def test_channels_and_label_maps(slicer):
    colours = volume((3, *SHAPE), np.uint8)
    node = nodes.volume_from_image(images.Image(colours, GRIDS["LPS"]), "colours")
    assert node.GetClassName() == "vtkMRMLVectorVolumeNode"
    assert np.array_equal(nodes.image_from_volume(node).array, colours)
    label_node = nodes.volume_from_image(
        images.Image((volume() % 3).astype(np.uint8)[None], np.eye(4)), "labels", label_map=True
    )
    assert label_node.GetClassName() == "vtkMRMLLabelMapVolumeNode"
    mask = nodes.volume_from_image(images.Image((volume() % 3)[None] > 0, np.eye(4)), "mask", node=label_node)
    assert mask is label_node
    assert np.array_equal(nodes.image_from_volume(mask).array[0], volume() % 3 > 0)


def test_empty_volume_is_refused(slicer, tmp_path):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "nothing")
    with pytest.raises(UserError, match="The volume nothing holds no voxels"):
        nodes.image_from_volume(node)
    with pytest.raises(UserError, match="holds no voxels"):
        nodes.volume_to_file(node, tmp_path)


@pytest.mark.parametrize("name", GRIDS)
def test_new_volume_is_written_for_the_worker(slicer, tmp_path, name):
    node = make_volume(name)
    path = nodes.volume_to_file(node, tmp_path / "new")
    image = images.read_image(path)
    assert np.array_equal(image.array[0], volume())
    assert largest_distance(image.affine, GRIDS[name]) < TOLERANCE_MM
    assert path.stat().st_size > volume().nbytes  # not compressed, so that the application does not wait
    assert node.GetStorageNode() is None


def test_file_of_an_unchanged_volume_is_used(slicer, tmp_path):
    path = tmp_path / "image.nii.gz"
    images.write_image(path, volume(), GRIDS["oblique"])
    node = slicer.util.loadVolume(str(path))
    assert nodes.volume_to_file(node, tmp_path / "work") == path
    add_transform(slicer, node)
    assert nodes.volume_to_file(node, tmp_path / "work") == path
    assert not (tmp_path / "work").exists()


def change_voxels(slicer, node):
    slicer.util.arrayFromVolume(node)[0, 0, 0] += 1
    slicer.util.arrayFromVolumeModified(node)


def change_place(slicer, node):
    matrix = nodes.affine_of(node)
    matrix[0, 3] += 1
    nodes.set_affine(node, matrix)


def harden_transform(slicer, node):
    add_transform(slicer, node)
    node.HardenTransform()


def delete_file(slicer, node):
    from pathlib import Path

    Path(node.GetStorageNode().GetFileName()).unlink()


@pytest.mark.parametrize("change", [change_voxels, change_place, harden_transform, delete_file])
def test_changed_volume_is_written_anew(slicer, tmp_path, change):
    path = tmp_path / "image.nrrd"
    images.write_image(path, volume(), GRIDS["LPS"])
    node = slicer.util.loadVolume(str(path))
    change(slicer, node)
    written = nodes.volume_to_file(node, tmp_path / "work")
    assert written != path
    image = images.read_image(written)
    assert np.array_equal(image.array, nodes.image_from_volume(node).array)
    assert largest_distance(image.affine, nodes.affine_of(node), image.shape) < TOLERANCE_MM


def test_volume_centred_while_loading_is_written_anew(slicer, tmp_path):
    images.write_image(tmp_path / "image.nrrd", volume(), GRIDS["oblique"])
    node = slicer.util.loadVolume(str(tmp_path / "image.nrrd"), {"center": True})
    assert largest_distance(nodes.affine_of(node), GRIDS["oblique"]) > 1
    written = images.read_image(nodes.volume_to_file(node, tmp_path / "work"))
    assert largest_distance(written.affine, nodes.affine_of(node)) < TOLERANCE_MM


def test_table(slicer):
    rows = [["hippocampus", 0.875, 12], ["amygdala", None, 7]]
    node = nodes.table_from_rows("Metrics", ["structure", "Dice", "volume"], rows)
    assert [node.GetColumnName(number) for number in range(3)] == ["structure", "Dice", "volume"]
    assert node.GetCellText(0, 0) == "hippocampus"
    assert node.GetTable().GetColumnByName("Dice").GetValue(0) == 0.875
    assert np.isnan(node.GetTable().GetColumnByName("Dice").GetValue(1))
    same = nodes.table_from_rows("ignored", ["x"], [["only"]], node)
    assert same is node
    assert (node.GetNumberOfColumns(), node.GetNumberOfRows()) == (1, 1)
    with pytest.raises(ValueError, match="needs 2 values"):
        nodes.table_from_rows("bad", ["a", "b"], [[1]])


def test_dicom_folder_loads_in_slice_order(slicer, tmp_path):
    save_dicom(dicom_slices(volume(), GRIDS["oblique"], RescaleIntercept="-5", RescaleSlope="1"), tmp_path)
    node = nodes.load_dicom_folder(tmp_path)
    assert node.GetName() == "Thorax"
    assert np.array_equal(nodes.image_from_volume(node).array[0], volume() - 5)
    assert largest_distance(nodes.affine_of(node), GRIDS["oblique"]) < TOLERANCE_MM
    written = images.read_image(nodes.volume_to_file(node, tmp_path / "work"))
    assert np.array_equal(written.array[0], volume() - 5)


def test_incomplete_dicom_folder_is_refused(slicer, tmp_path):
    paths = save_dicom(dicom_slices(volume(), GRIDS["oblique"]), tmp_path)
    paths[3].unlink()
    with pytest.raises(UserError, match="lacks 1 slice"):
        nodes.load_dicom_folder(tmp_path)
