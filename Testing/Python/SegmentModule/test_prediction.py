"""From a file's grid to the network's and back: results are in the right place, however the image is stored."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from MedDeepLib.bundles.model import Model
from MedDeepLib.core import Context
from MedDeepLib.data.preparation import Plan
from MedDeepLib.data.sources.image import Image, read_image
from MedDeepLib.data.sources.labels import Segment, read_segmentation
from MedDeepLib.errors import Stopped, UserError
from sample_images import GRIDS
from SegmentModuleLib.parameters import ApplyParameters
from SegmentModuleLib.worker.prediction import SegmentationPredictor

OWN, PATCH = (0.0, 0.0, 0.0), (32, 32, 32)
CONTEXT = Context(torch.device("cpu"))


class Bright(torch.nn.Module):
    """Finds the structure where the intensity is above zero, and never any other class."""

    def __init__(self, classes: int = 2):
        super().__init__()
        self.classes = classes

    def forward(self, x):
        nothing = torch.full_like(x[:, :1], -100.0)
        return torch.cat([-x[:, :1], x[:, :1], *[nothing] * (self.classes - 2)], 1)


def predictor(spacing=OWN, patch=PATCH, channels=("MR",), value=1, flip_axes=(), network=None, **options):
    plan = Plan(spacing, patch, "window", (-1.0, 1.0))
    classes = [{"value": value, "name": "ball", "color": [1, 0, 0], "terminology": ""}]
    model = Model(None, "toy", {"plan": plan.as_dict(), "channels": list(channels), "classes": classes})
    options = ApplyParameters(**{"whole_image": True, **options})
    return SegmentationPredictor(network or Bright(), model, CONTEXT, options, flip_axes)


def ball(affine: np.ndarray, radius: float = 18.0, extent: float = 60.0) -> tuple[Image, np.ndarray]:
    """An image that is positive within ``radius`` mm of an off-centre point, and that point."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    shape = tuple(int(np.ceil(extent / s)) for s in spacing)
    center = affine[:3, :3] @ ((np.array(shape) - 1) / 2 + np.array([3, -2, 4]) / spacing) + affine[:3, 3]
    places = np.einsum("ab,bijk->aijk", affine[:3, :3], np.indices(shape)) + affine[:3, 3, None, None, None]
    distance = np.linalg.norm(places - center[:, None, None, None], axis=0)
    image = np.clip((radius - distance) / 10, -1, 1).astype(np.float32)
    return Image(image[None], affine), distance < radius


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.mark.parametrize("grid", GRIDS)
def test_on_its_own_grid_nothing_is_lost(grid):
    """Every voxel gets its own label, whatever the axes."""
    image, _ = ball(GRIDS[grid])
    found = predictor(largest_component=False).predict([image], CONTEXT)
    np.testing.assert_array_equal(found.labels, image.array[0] > 0)
    np.testing.assert_array_equal(found.affine, image.affine)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.0, 2.0, 2.0), (0.8, 1.5, 3.0)])
@pytest.mark.parametrize("grid", GRIDS)
def test_resampled_to_another_grid_it_stays_in_place(grid, spacing):
    image, truth = ball(GRIDS[grid])
    found = predictor(spacing).predict([image], CONTEXT)
    assert dice(found.labels > 0, truth) > 0.95
    places = [np.argwhere(mask).mean(0) for mask in (found.labels > 0, truth)]
    moved = image.affine[:3, :3] @ (places[0] - places[1])
    assert np.linalg.norm(moved) < 0.25, "millimetres"


@pytest.mark.parametrize("grid", ["LPS", "oblique left-handed", "sagittal slices"])
def test_a_network_for_slices(grid):
    image, _ = ball(GRIDS[grid])
    found = predictor(patch=(16, 16, 1), largest_component=False).predict([image], CONTEXT)
    np.testing.assert_array_equal(found.labels, image.array[0] > 0)


@pytest.mark.parametrize("grid", ["LPS", "sagittal slices", "oblique"])
def test_a_network_for_slices_gets_axial_ones(grid):
    seen = []

    class Watching(Bright):
        def forward(self, x):
            seen.append(x)
            return super().forward(x)

    image, _ = ball(GRIDS[grid])
    predictor(patch=(256, 256, 1), network=Watching(), backend="torch").predict([image], CONTEXT)
    superior = int(np.abs(image.affine[2, :3]).argmax())
    assert len(seen) == image.shape[superior]


def test_labels_become_the_values_of_the_classes(tmp_path):
    image, _ = ball(GRIDS["oblique"])
    found = predictor(value=300).predict([image], CONTEXT)
    assert set(np.unique(found.labels)) == {0, 300}
    for name in ("out.seg.nrrd", "out.nii.gz"):
        found.write(tmp_path / name)
        labels, affine, _ = read_segmentation(tmp_path / name)
        np.testing.assert_array_equal(labels, found.labels)
        np.testing.assert_allclose(affine, image.affine, atol=1e-4)
    assert read_segmentation(tmp_path / "out.seg.nrrd")[2][0] == Segment(300, "ball", (1, 0, 0), _terminology(tmp_path))


def _terminology(folder) -> str:
    return read_segmentation(folder / "out.seg.nrrd")[2][0].terminology


def test_volumes_in_millilitres():
    image, truth = ball(GRIDS["oblique left-handed"])
    summary = predictor().predict([image], CONTEXT).summary()
    assert summary == {"ball": pytest.approx(truth.sum() * 0.5 * 0.6 * 5 / 1000, abs=1e-3)}
    assert summary["ball"] == pytest.approx(4 / 3 * np.pi * 1.8**3, rel=0.02)


def test_only_the_largest_piece_if_asked():
    image, truth = ball(np.eye(4))
    image.array[0, 1, 1, 1] = 1
    assert predictor(largest_component=False).predict([image], CONTEXT).labels[1, 1, 1] == 1
    kept = predictor(largest_component=True).predict([image], CONTEXT).labels
    assert kept[1, 1, 1] == 0 and (kept[truth] == 1).all()


def test_the_input_is_left_as_it_was():
    image, _ = ball(GRIDS["LPS"])
    before = image.array.copy()
    predictor((2.0, 2.0, 2.0)).predict([image], CONTEXT)
    np.testing.assert_array_equal(image.array, before)


@pytest.mark.parametrize(
    "shape, patch, words",
    [
        ((40, 40, 1), PATCH, "has only 1 slice: this model needs a three-dimensional image"),
        ((40, 3, 40), PATCH, "has only 3 slices"),
    ],
)
def test_too_few_slices(shape, patch, words):
    image = Image(np.random.default_rng(0).normal(0, 1, (1, *shape)).astype(np.float32), np.eye(4))
    with pytest.raises(UserError, match=words):
        predictor(patch=patch).predict([image], CONTEXT)
    assert predictor(patch=(16, 16, 1)).predict([image], CONTEXT).labels.shape == shape


def test_the_wrong_number_of_channels():
    image, _ = ball(np.eye(4))
    with pytest.raises(UserError, match=r"needs 2 input channels \(T1, T2\), but 1 were given"):
        predictor(channels=("T1", "T2")).predict([image], CONTEXT)
    with pytest.raises(UserError, match=r"needs 1 input channel \(MR\), but 2 were given"):
        predictor().predict([image, image], CONTEXT)


def test_channels_on_other_grids_are_refused_or_resampled():
    first, _ = ball(np.eye(4))
    second, _ = ball(GRIDS["LPS"])
    second = Image(second.array, GRIDS["LPS"] - GRIDS["LPS"] + np.diag([0.9, 0.9, 2.5, 1]))
    with pytest.raises(UserError, match=r"is on another grid than .* \(option resample_inputs\)"):
        predictor(channels=("T1", "T2")).predict([first, second], CONTEXT)

    class Second(Bright):
        def forward(self, x):
            return super().forward(x[:, 1:])

    found = predictor(channels=("T1", "T2"), network=Second(), resample_inputs=True).predict([first, second], CONTEXT)
    assert found.labels.shape == first.shape and found.labels.any()


def test_flips_only_for_models_trained_with_them():
    image, truth = ball(np.eye(4))
    with pytest.raises(UserError, match="trained without mirrored images"):
        predictor(flips=True)
    found = predictor(flips=True, flip_axes=(0, 1)).predict([image], CONTEXT)
    assert dice(found.labels > 0, truth) > 0.999


def test_stopping():
    image, _ = ball(np.eye(4))
    with pytest.raises(Stopped):
        predictor().predict([image], Context(torch.device("cpu"), stop_requested=lambda: True))


def test_progress_is_reported_to_the_end():
    said = []
    context = Context(torch.device("cpu"), report=lambda event, **fields: said.append((event, fields)))
    image, _ = ball(np.eye(4))
    predictor().predict([image], context)
    assert said[-1][0] == "progress" and said[-1][1]["step"] == said[-1][1]["total"] > 1


def test_a_dicom_folder(tmp_path):
    from sample_images import dicom_slices, save_dicom

    grid = GRIDS["LPS"]
    image, _ = ball(grid)
    stored = np.round(image.array[0] * 100).astype(np.int16)
    save_dicom(dicom_slices(stored, grid), tmp_path / "series")
    loaded = read_image(tmp_path / "series")
    found = predictor(largest_component=False).predict([loaded], CONTEXT)
    np.testing.assert_array_equal(found.labels, loaded.array[0] > 0)
    assert (found.labels > 0).sum() == (stored > 0).sum()
