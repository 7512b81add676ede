"""Off-screen views: what is drawn and where, and that nothing is left in the scene."""

import sys

import matplotlib.image
import numpy as np
import pytest
from MedDeepLib.data.sources import image as images
from MedDeepLib.data.sources.labels import Segment, write_segmentation
from MedDeepLib.errors import UserError
from MedDeepLib.scene import nodes, offscreen, views
from SegmentModuleLib.scene import overview

SIZE = (120, 100)
SHAPE = (40, 40, 40)


@pytest.fixture
def scene(host, tmp_path):
    """A grey volume of 40 mm; off its centre, a red cube on the patient's right and a green one on the left."""
    import slicer

    grid = np.diag([-1.0, -1.0, 1.0, 1.0])  # LPS, as most scanners
    grid[:3, 3] = 20, 20, -20
    labels = np.zeros(SHAPE, np.uint8)
    labels[8:14, 16:24, 16:24] = 1  # a small i is on the right
    labels[26:32, 16:24, 16:24] = 2
    write_segmentation(
        tmp_path / "two.seg.nrrd", labels, grid, [Segment(1, "right", (1, 0, 0)), Segment(2, "left", (0, 1, 0))]
    )
    grey = np.full(SHAPE, 100, np.float32)
    grey[0] = 0
    volume = nodes.volume_from_image(images.Image(grey[None], grid), "grey")
    volume.GetDisplayNode().SetAutoWindowLevel(False)
    volume.GetDisplayNode().SetWindowLevelMinMax(0, 200)
    segmentation = nodes.segmentation_from_file(tmp_path / "two.seg.nrrd", reference_volume=volume)
    return slicer, volume, segmentation


def mask_of(pixels: np.ndarray, colour: str) -> np.ndarray:
    red, green, blue = np.moveaxis(pixels.astype(int), -1, 0)
    return {"red": red > green + 40, "green": green > red + 40, "grey": (abs(red - green) < 3) & (red > 90)}[colour]


def middle_of(mask: np.ndarray) -> np.ndarray:
    """Row and column of the centre of a mask."""
    assert mask.any()
    return np.argwhere(mask).mean(axis=0)


def test_axial_slice_shows_the_patients_right_on_the_left(scene):
    _, volume, segmentation = scene
    view = views.SliceView("Test", "Axial", SIZE)
    view.show(volume, center=(0, 0, 0))
    pixels = view.pixels()
    view.close()
    assert pixels.shape == (100, 120, 3)
    right, left = middle_of(mask_of(pixels, "red")), middle_of(mask_of(pixels, "green"))
    assert right[1] < 60 < left[1]
    assert abs(right[0] - 50) < 4
    assert mask_of(pixels, "grey").sum() > 1000


def test_slice_beside_the_segments_shows_none(scene):
    _, volume, segmentation = scene
    view = views.SliceView("Test", "Axial", SIZE)
    view.show(volume, center=(0, 0, 10))
    pixels = view.pixels()
    view.close()
    assert not mask_of(pixels, "red").any()


def test_field_of_view_in_millimetres(scene):
    _, volume, _ = scene
    view = views.SliceView("Test", "Axial", SIZE)
    view.show(volume, center=(0, 0, 0))
    whole = mask_of(view.pixels(), "red").sum()
    view.show(volume, center=(0, 0, 0), millimetres=28)
    near = mask_of(view.pixels(), "red").sum()
    view.close()
    assert near > 2 * whole


def test_overview_has_three_slices_and_a_surface(scene, tmp_path):
    slicer, volume, segmentation = scene
    count = slicer.mrmlScene.GetNumberOfNodes()
    overview.render_overview(volume, segmentation, tmp_path / "new" / "overview.png", SIZE)
    picture = (matplotlib.image.imread(tmp_path / "new" / "overview.png")[..., :3] * 255).astype(int)
    gap = overview.GAP_BETWEEN_VIEWS
    assert picture.shape == (2 * 100 + gap, 2 * 120 + gap, 3)
    axial, coronal, surface = picture[:100, :120], picture[-100:, :120], picture[-100:, -120:]
    sagittal = picture[:100, -120:]
    for part in (axial, coronal, surface):
        assert mask_of(part, "red").sum() > 20
        assert mask_of(part, "green").sum() > 20
    # The sagittal slice passes between the two cubes.
    assert not mask_of(sagittal, "red").any()
    assert mask_of(sagittal, "grey").sum() > 1000
    # The camera is in front of the patient, so the patient's right is on the left of the picture.
    assert middle_of(mask_of(surface, "red"))[1] < middle_of(mask_of(surface, "green"))[1]
    left_over = slicer.mrmlScene.GetNumberOfNodes() - count
    overview.render_overview(volume, segmentation, tmp_path / "again.png", SIZE)
    assert slicer.mrmlScene.GetNumberOfNodes() == count + left_over  # at most a camera, made once
    assert left_over <= 1


def test_overview_of_an_empty_segmentation_shows_the_volume(scene, tmp_path):
    slicer, volume, segmentation = scene
    segmentation.GetSegmentation().RemoveAllSegments()
    overview.render_overview(volume, segmentation, tmp_path / "overview.png", SIZE)
    picture = (matplotlib.image.imread(tmp_path / "overview.png")[..., :3] * 255).astype(int)
    assert mask_of(picture[:100, :120], "grey").sum() > 1000


def test_picture_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(UserError, match="cannot be written"):
        offscreen.save_png(np.zeros((4, 5, 3), np.uint8), tmp_path / "file" / "picture.png")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux draws through EGL")
def test_missing_egl_names_the_packages(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setattr(offscreen.ctypes.util, "find_library", lambda name: None)
    with pytest.raises(UserError, match="apt-get install libegl1"):
        offscreen.check_rendering()
