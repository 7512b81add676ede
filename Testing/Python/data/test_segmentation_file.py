"""Segmentation files: values, names, colours, terminology and grids."""

import itk
import nibabel
import nrrd
import numpy as np
import pytest
from MedDeepLib.data.sources import image as images
from MedDeepLib.data.sources.labels import (
    Segment,
    label_image,
    place_on_grid,
    read_segmentation,
    terminology_entry,
    write_segmentation,
)
from MedDeepLib.errors import UserError
from sample_images import GRIDS, SHAPE, largest_distance, volume

ANATOMY = ("SCT", "123037004", "Anatomical Structure")
HIPPOCAMPUS = ("SCT", "2421006", "Hippocampus")
LEFT = ("SCT", "7771000", "Left")
SEGMENTS = [
    Segment(3, "left hippocampus", (0.25, 0.5, 0.75), terminology_entry(ANATOMY, HIPPOCAMPUS, LEFT)),
    Segment(300, "größer \\ Ω 脳", (1.0, 0.0, 0.0), terminology_entry(ANATOMY, HIPPOCAMPUS)),
    Segment(9, "empty", (0.0, 1.0, 0.0), terminology_entry(ANATOMY, ANATOMY)),
]


def labels(dtype=np.int64) -> np.ndarray:
    array = np.zeros(SHAPE, dtype)
    array[1:3, 2:, :4] = 3
    array[4, :, 5:] = 300
    return array


@pytest.mark.parametrize("name", GRIDS)
def test_round_trip(tmp_path, name):
    path = tmp_path / "new" / "result.seg.nrrd"
    write_segmentation(path, labels(), GRIDS[name], SEGMENTS)
    read, grid, segments = read_segmentation(path)
    assert read.dtype == np.uint16
    assert np.array_equal(read, labels())
    assert largest_distance(grid, GRIDS[name]) < 1e-9
    assert segments == SEGMENTS
    assert [file.name for file in path.parent.iterdir()] == ["result.seg.nrrd"]


def test_other_readers_see_the_same_labels(tmp_path):
    write_segmentation(tmp_path / "result.seg.nrrd", labels(), GRIDS["oblique"], SEGMENTS)
    by_itk = itk.array_from_image(itk.imread(str(tmp_path / "result.seg.nrrd")))
    assert np.array_equal(by_itk.transpose(2, 1, 0), labels())
    by_pynrrd, header = nrrd.read(str(tmp_path / "result.seg.nrrd"))
    assert np.array_equal(by_pynrrd, labels())
    assert header["Segment0_ID"] == "Segment_3"
    assert header["Segment0_LabelValue"] == "3"
    assert header["Segment1_Layer"] == "0"
    assert header["Segment0_Extent"] == "0 5 0 6 0 7"
    assert header["Segment0_Tags"].startswith("TerminologyEntry:Segmentation category")
    assert header["Segmentation_MasterRepresentation"] == "Binary labelmap"


def test_small_values_take_one_byte(tmp_path):
    write_segmentation(
        tmp_path / "result.seg.nrrd", (labels() > 0).astype(np.int32), np.eye(4), [Segment(1, "a", (1, 0, 0))]
    )
    assert read_segmentation(tmp_path / "result.seg.nrrd")[0].dtype == np.uint8


def test_segment_without_terminology_is_tissue(tmp_path):
    write_segmentation(
        tmp_path / "result.seg.nrrd",
        labels() // 3,
        np.eye(4),
        [Segment(1, "a", (1, 0, 0)), Segment(100, "b", (1, 0, 0))],
    )
    assert "SCT^85756007^Tissue" in read_segmentation(tmp_path / "result.seg.nrrd")[2][0].terminology


def test_value_without_a_segment_is_refused(tmp_path):
    with pytest.raises(UserError, match="values 300, for which no segment"):
        write_segmentation(tmp_path / "result.seg.nrrd", labels(), np.eye(4), SEGMENTS[:1])
    assert not list(tmp_path.iterdir())


def test_wrong_ending_is_refused(tmp_path):
    with pytest.raises(UserError, match="end in .seg.nrrd"):
        write_segmentation(tmp_path / "result.nrrd", labels(), np.eye(4), SEGMENTS)


@pytest.mark.parametrize(
    "segments", [[Segment(0, "a", (1, 0, 0))], [SEGMENTS[0]] * 2, [Segment(70000, "a", (1, 0, 0))]]
)
def test_impossible_values_are_a_programming_error(tmp_path, segments):
    with pytest.raises(ValueError, match="its own value"):
        write_segmentation(tmp_path / "result.seg.nrrd", np.zeros(SHAPE, int), np.eye(4), segments)


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize(
    ("dtype", "expected"), [("uint8", "uint8"), ("int16", "uint8"), ("float32", "uint8"), ("int32", "uint8")]
)
def test_plain_label_images(tmp_path, ending, dtype, expected):
    plain = (labels() // 3).astype(dtype)
    images.write_image(tmp_path / f"labels{ending}", plain, GRIDS["LPS"])
    read, grid, segments = read_segmentation(tmp_path / f"labels{ending}")
    assert read.dtype == expected
    assert np.array_equal(read, plain)
    assert segments == []
    assert largest_distance(grid, GRIDS["LPS"]) < 1e-4


def test_64_bit_labels_of_nibabel(tmp_path):
    nibabel.save(nibabel.Nifti1Image(labels(), np.eye(4), dtype=np.int64), tmp_path / "labels.nii.gz")
    assert np.array_equal(read_segmentation(tmp_path / "labels.nii.gz")[0], labels())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda array: array - 1.0, "from -1 to"),
        (lambda array: array + 0.5, "fractional"),
        (lambda array: array * 1000.0, "to 300000"),
        (lambda array: array * np.nan, "nan"),
    ],
)
def test_images_that_are_no_labels(tmp_path, change, words):
    images.write_image(tmp_path / "image.nrrd", change(labels()).astype(np.float32), np.eye(4))
    with pytest.raises(UserError, match=words):
        read_segmentation(tmp_path / "image.nrrd")


def test_image_with_channels_is_no_label_image(tmp_path):
    images.write_image(tmp_path / "image.nrrd", volume((2, *SHAPE), np.uint8), np.eye(4))
    with pytest.raises(UserError, match="2 values per voxel"):
        read_segmentation(tmp_path / "image.nrrd")
    with pytest.raises(UserError, match="2 channels"):
        label_image(images.read_image(tmp_path / "image.nrrd"))


def layered_file(path, layers, values) -> None:
    """A segmentation as Slicer writes it when segments overlap; here each has its own layer."""
    header = {"space": "LPS", "space origin": [0, 0, 0], "kinds": ["list", "domain", "domain", "domain"]}
    header["space directions"] = np.vstack([[np.nan] * 3, np.eye(3)])
    for number, value in enumerate(values):
        header |= {
            f"Segment{number}_ID": f"S{number}",
            f"Segment{number}_Name": f"structure {number}",
            f"Segment{number}_Color": "1 0 0",
            f"Segment{number}_LabelValue": str(value),
            f"Segment{number}_Layer": str(number),
        }
    nrrd.write(str(path), np.stack(layers), header)


def test_layers_without_overlap_are_merged(tmp_path):
    first, second = np.zeros((2, *SHAPE), np.uint8)
    first[:2], second[3:] = 1, 2
    layered_file(tmp_path / "result.seg.nrrd", [first, second], [1, 2])
    read, _, segments = read_segmentation(tmp_path / "result.seg.nrrd")
    assert np.array_equal(read, first + second)
    assert [segment.name for segment in segments] == ["structure 0", "structure 1"]


def test_overlap_is_refused_with_advice(tmp_path):
    first, second = np.zeros((2, *SHAPE), np.uint8)
    first[:4], second[3:] = 1, 2
    layered_file(tmp_path / "result.seg.nrrd", [first, second], [1, 2])
    with pytest.raises(UserError, match=r"overlap \(structure 1 and another\); in 3D Slicer"):
        read_segmentation(tmp_path / "result.seg.nrrd")


def test_one_value_in_two_layers_is_refused_with_advice(tmp_path):
    first, second = np.zeros((2, *SHAPE), np.uint8)
    first[:2], second[3:] = 1, 1
    layered_file(tmp_path / "result.seg.nrrd", [first, second], [1, 1])
    with pytest.raises(UserError, match="share a label value.*export it to a label map"):
        read_segmentation(tmp_path / "result.seg.nrrd")


@pytest.mark.parametrize("name", GRIDS)
def test_cropped_labels_go_back_to_their_place(name):
    grid, whole = GRIDS[name], labels()
    crop_grid = grid.copy()
    crop_grid[:3, 3] += grid[:3, :3] @ [1, 2, 0]
    assert np.array_equal(
        place_on_grid(whole[1:5, 2:, :], crop_grid, grid, SHAPE, "labels") * 1,
        np.where(np.indices(SHAPE)[1] >= 2, whole, 0) * (np.indices(SHAPE)[0] >= 1),
    )
    padded = np.pad(whole, 3)
    padded_grid = grid.copy()
    padded_grid[:3, 3] -= grid[:3, :3] @ [3, 3, 3]
    assert np.array_equal(place_on_grid(padded, padded_grid, grid, SHAPE, "labels"), whole)


@pytest.mark.parametrize("name", GRIDS)
def test_labels_with_turned_axes_go_back_to_their_place(name):
    grid, whole = GRIDS[name], labels()
    turned_grid = grid[:, [2, 0, 1, 3]].copy()
    turned_grid[:3, 3] += turned_grid[:3, 0] * (SHAPE[2] - 1)
    turned_grid[:3, 0] *= -1
    turned = whole.transpose(2, 0, 1)[::-1]
    assert np.array_equal(place_on_grid(turned, turned_grid, grid, SHAPE, "labels"), whole)


def test_labels_on_another_grid_are_refused():
    finer = np.diag([0.5, 1, 1, 1.0])
    with pytest.raises(UserError, match="a.seg.nrrd is on another voxel grid"):
        place_on_grid(labels(), finer, np.eye(4), SHAPE, "a.seg.nrrd")
    far = np.eye(4)
    far[0, 3] = 4
    with pytest.raises(UserError, match="labelled voxels outside its image"):
        place_on_grid(labels(), far, np.eye(4), SHAPE, "a.seg.nrrd")
    far[0, 3] = 400
    with pytest.raises(UserError, match="labelled voxels outside its image"):
        place_on_grid(labels(), far, np.eye(4), SHAPE, "a.seg.nrrd")
