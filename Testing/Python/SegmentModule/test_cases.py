"""Training cases: labels are matched to classes by name or value, and placed on the image's grid."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from MedDeepLib.data.preparation import Plan
from MedDeepLib.data.slots import Case, Source
from MedDeepLib.data.sources.image import Image, write_image
from MedDeepLib.data.sources.labels import Segment, write_segmentation
from MedDeepLib.errors import UserError
from sample_images import GRIDS
from SegmentModuleLib.worker.cases import load_case, read_reference

LIVER, SPLEEN = Segment(3, "liver", (1, 0, 0)), Segment(9, "spleen", (0, 1, 0))
CLASSES = (LIVER, SPLEEN)
SHAPE = (10, 9, 8)


def two_boxes(first: int, second: int, shape=SHAPE) -> np.ndarray:
    labels = np.zeros(shape, np.uint8)
    labels[2:4, 2:5, 2:4] = first
    labels[6:8, 2:5, 2:4] = second
    return labels


def reference(path, resample=False, affine=None, shape=SHAPE) -> np.ndarray:
    grid = Image(np.zeros((1, *shape), np.float32), np.eye(4) if affine is None else affine)
    return read_reference(case_of(path, path), grid, CLASSES, resample)


def case_of(image, label) -> Case:
    return Case("case", {"image": Source("image", (image,))}, {"label": Source("labels", (label,))})


def test_plain_labels_are_matched_by_value(tmp_path):
    write_image(tmp_path / "l.nrrd", two_boxes(3, 9), np.eye(4))
    np.testing.assert_array_equal(reference(tmp_path / "l.nrrd"), two_boxes(1, 2))


def test_segments_are_matched_by_name(tmp_path):
    """The names of the segments count, whatever values a segmentation uses."""
    segments = [Segment(1, "spleen", (0, 1, 0)), Segment(2, "liver", (1, 0, 0))]
    write_segmentation(tmp_path / "l.seg.nrrd", two_boxes(2, 1), np.eye(4), segments)
    np.testing.assert_array_equal(reference(tmp_path / "l.seg.nrrd"), two_boxes(1, 2))


def test_segments_with_other_names_are_matched_by_value(tmp_path):
    segments = [Segment(3, "Leber", (1, 0, 0)), Segment(9, "Milz", (0, 1, 0))]
    write_segmentation(tmp_path / "l.seg.nrrd", two_boxes(3, 9), np.eye(4), segments)
    np.testing.assert_array_equal(reference(tmp_path / "l.seg.nrrd"), two_boxes(1, 2))


def test_a_segment_more_than_declared_is_refused_and_never_taken_for_another(tmp_path):
    """Even if it has the value of a declared class: once any name is known, names decide."""
    segments = [Segment(9, "liver", (1, 0, 0)), Segment(3, "kidney", (0, 1, 0))]
    write_segmentation(tmp_path / "l.seg.nrrd", two_boxes(9, 3), np.eye(4), segments)
    with pytest.raises(UserError, match="kidney"):
        reference(tmp_path / "l.seg.nrrd")


def test_a_segment_more_that_is_empty_does_no_harm(tmp_path):
    segments = [Segment(1, "liver", (1, 0, 0)), Segment(2, "kidney", (0, 1, 0)), Segment(4, "spleen", (0, 0, 1))]
    write_segmentation(tmp_path / "l.seg.nrrd", two_boxes(1, 4), np.eye(4), segments)
    np.testing.assert_array_equal(reference(tmp_path / "l.seg.nrrd"), two_boxes(1, 2))


def test_a_cropped_segmentation_is_put_where_it_belongs(tmp_path):
    affine = GRIDS["oblique"].copy()
    affine[:3, 3] += affine[:3, :3] @ [2, 2, 2]
    write_image(tmp_path / "l.nrrd", two_boxes(3, 9)[2:, 2:6, 2:5].copy(), affine)
    np.testing.assert_array_equal(reference(tmp_path / "l.nrrd", affine=GRIDS["oblique"]), two_boxes(1, 2))


def test_labels_beyond_the_image_are_refused_not_cut_off(tmp_path):
    affine = np.eye(4)
    affine[0, 3] = -5
    write_image(tmp_path / "l.nrrd", two_boxes(3, 9), affine)
    with pytest.raises(UserError, match="outside"):
        reference(tmp_path / "l.nrrd")


def test_another_grid_is_resampled_only_when_asked(tmp_path):
    fine = np.repeat(np.repeat(np.repeat(two_boxes(3, 9), 2, 0), 2, 1), 2, 2)
    affine = np.diag([0.5, 0.5, 0.5, 1.0])
    affine[:3, 3] = -0.25
    write_image(tmp_path / "l.nrrd", fine, affine)
    with pytest.raises(UserError, match="grid"):
        reference(tmp_path / "l.nrrd")
    np.testing.assert_array_equal(reference(tmp_path / "l.nrrd", resample=True), two_boxes(1, 2))


def test_what_is_cached_of_a_case(tmp_path):
    random = np.random.default_rng(0)
    write_image(tmp_path / "i.nrrd", random.normal(100, 5, SHAPE).astype(np.float32), GRIDS["LPS"])
    write_image(tmp_path / "l.nrrd", two_boxes(3, 9), GRIDS["LPS"])
    case = case_of(tmp_path / "i.nrrd", tmp_path / "l.nrrd")
    plan = Plan((0.0, 0.0, 0.0), (8, 8, 8))
    cached = load_case(case, plan, CLASSES, 0, False, lambda labels, plan: (labels + 1).astype(np.float32))
    expected = two_boxes(1, 2)[::-1, ::-1]  # from left-back-head to right-front-head
    np.testing.assert_array_equal(cached["label"][0].numpy(), expected)
    assert tuple(cached["image"].shape) == (1, *SHAPE) and cached["image"].dtype == torch.float32
    np.testing.assert_array_equal(cached["weight"][0].numpy(), expected + 1)
    for value in (1, 2):
        places = {tuple(place) for place in cached.voxels[value]}
        assert places == {tuple(place) for place in np.argwhere(expected == value)}
