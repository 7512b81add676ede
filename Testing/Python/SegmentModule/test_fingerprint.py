"""The dataset fingerprint comes from headers, along the patient's axes, whatever the axes of the files."""

from __future__ import annotations

import json

import numpy as np
import pytest
from MedDeepLib.data.dataset import Dataset
from MedDeepLib.data.slots import Case, Source
from MedDeepLib.data.sources.image import write_image
from MedDeepLib.data.sources.labels import Segment
from SegmentModuleLib.worker import fingerprint as module
from SegmentModuleLib.worker.fingerprint import Fingerprint, fingerprint

CLASSES = (Segment(1, "liver", (1.0, 0.0, 0.0)), Segment(2, "spleen", (0.0, 1.0, 0.0)))


def of(*cases, channels: int = 1) -> Fingerprint:
    """The fingerprint of images, each given as (spacing, shape)."""
    spacings, shapes = zip(*cases, strict=True)
    return Fingerprint(spacings, shapes, channels, 2)


def dataset(tmp_path, images: list[tuple[tuple, np.ndarray]], channels=("CT",)) -> Dataset:
    cases = []
    for number, (shape, affine) in enumerate(images):
        file = tmp_path / f"{number}.nrrd"
        write_image(file, np.arange(np.prod(shape), dtype=np.int16).reshape(shape), affine)
        cases.append(Case(str(number), {"image": Source("image", (file,) * len(channels))}))
    return Dataset("d", tuple(channels), segments=CLASSES, training=tuple(cases))


def rotated(degrees: float, spacing) -> np.ndarray:
    """Axes rotated about the head-foot axis."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    affine = np.eye(4)
    affine[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) * spacing
    return affine


def test_axes_are_turned_to_right_anterior_superior(tmp_path):
    sagittal = np.zeros((4, 4))  # i runs back, j down, k to the left: slices along k
    sagittal[1, 0], sagittal[2, 1], sagittal[0, 2], sagittal[3, 3] = -0.5, -0.6, -5.0, 1
    left_handed = np.diag([-1.0, 1.0, 2.0, 1.0])
    images = [((10, 12, 4), sagittal), ((6, 8, 5), rotated(30, (0.7, 0.8, 3.0))), ((6, 7, 8), left_handed)]
    found = fingerprint(dataset(tmp_path, images))
    assert found.spacings == ((5.0, 0.5, 0.6), (0.7, 0.8, 3.0), (1.0, 1.0, 2.0))
    assert found.shapes == ((4, 10, 12), (6, 8, 5), (6, 7, 8))
    assert (found.cases, found.channels, found.classes, found.thinnest) == (3, 1, 2, 4)


def test_only_headers_are_read(tmp_path, monkeypatch):
    from MedDeepLib.data.formats import itk_io

    images = dataset(tmp_path, [((6, 7, 8), np.eye(4))] * 3, channels=("T1", "T2", "FLAIR", "PD"))
    monkeypatch.setattr(itk_io, "read_voxels", lambda *_: pytest.fail("voxels were read"))
    found = fingerprint(images)
    assert found.channels == 4 and found.shapes == ((6, 7, 8),) * 3


def test_medians_and_anisotropy():
    found = of(((1, 1, 5), (100, 100, 20)), ((0.8, 0.8, 4), (120, 110, 30)), ((0.9, 0.9, 7), (110, 90, 40)))
    assert found.median_spacing == (0.9, 0.9, 5.0) and found.median_shape == (110, 100, 30)
    assert found.anisotropy == pytest.approx(5 / 0.9)


def test_the_target_is_the_median_of_images_that_are_nearly_cubic():
    cases = [((1, 1, z), (64, 64, 64)) for z in (1, 2, 3, 3, 3)]
    assert of(*cases).target_spacing() == (1.0, 1.0, 3.0), "a ratio of 3 is not anisotropic yet"


def test_thick_slices_take_the_tenth_percentile():
    thickness = [2, 4, 5, 5, 5, 5, 6, 6, 8, 8, 10]
    found = of(*[((0.7, 0.7, z), (512, 512, 30)) for z in thickness])
    assert found.target_spacing() == (0.7, 0.7, 4.0)
    sagittal = of(*[((z, 0.7, 0.7), (30, 512, 512)) for z in thickness])
    assert sagittal.target_spacing() == (4.0, 0.7, 0.7)


def test_slices_are_never_made_finer_than_the_other_axes():
    thin, thick = ((1, 1, 0.5), (64, 64, 200)), ((1, 1, 8), (64, 64, 20))
    assert of(thin, thin, *[thick] * 8).target_spacing() == (1.0, 1.0, 1.0)
    thin, thick = ((2, 1, 0.5), (64, 64, 200)), ((2, 1, 8), (64, 64, 20))
    assert of(thin, thin, *[thick] * 8).target_spacing() == (2.0, 1.0, 2.0)


def test_the_shape_on_another_grid():
    found = of(((1, 1, 5), (100, 100, 20)), ((2, 2, 5), (60, 60, 30)), ((1, 1, 2.5), (80, 120, 60)))
    assert found.shape_at((1.0, 1.0, 5.0)) == (100, 120, 30)
    assert found.shape_at((4.0, 4.0, 0.0)) == (25, 30, 30), "0: as the slices come"


def test_it_can_be_kept_as_json():
    found = of(((1, 1, 5), (100, 100, 20)), ((2, 2, 5), (60, 60, 30)))
    content = json.loads(json.dumps(found.as_dict()))
    assert content["spacings"] == [[1, 1, 5], [2, 2, 5]] and content["shapes"] == [[100, 100, 20], [60, 60, 30]]
    assert content["cases"] == 2 and content["median_shape"] == [80, 80, 25] and content["anisotropy"] == 3.33


def test_names_of_cases_are_not_kept(tmp_path):
    found = module.fingerprint(dataset(tmp_path, [((6, 7, 8), np.eye(4))]))
    assert str(tmp_path) not in json.dumps(found.as_dict())
