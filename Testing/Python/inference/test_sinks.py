"""Each sink gives the same result in tiles as for the whole image at once, on oblique images in 3D and 2D."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from MedDeepLib.data.preparation import Plan, Prepared, prepare
from MedDeepLib.data.sources.image import Image
from MedDeepLib.devices import preflight
from MedDeepLib.errors import NotEnoughMemory, UserError
from MedDeepLib.inference.ladder import apply_within_memory
from MedDeepLib.inference.peaks import Peaks
from MedDeepLib.inference.sinks import Labels, Scores
from MedDeepLib.inference.sliding import TilingOptions, apply_network
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.morphology import local_maxima

CPU = torch.device("cpu")
# Rotated by 20 degrees about an oblique axis, its axes permuted, one flipped; spacing 1, 1.5 and 2 mm.
OBLIQUE = np.array([[0.05, 1.46, 0.60, -30.0], [-0.95, 0.18, -0.55, 12.0], [-0.29, -0.30, 1.83, 7.0], [0, 0, 0, 1.0]])


class Local(torch.nn.Module):
    """Three channels that depend on the voxel alone; runs out of memory for tiles longer than ``longest``."""

    def __init__(self, longest: int = 1000):
        super().__init__()
        self.longest = longest

    def forward(self, x):
        if x.shape[2] > self.longest:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return torch.cat([-(x**2), x - 0.5, -x - 0.5], 1)


def case(shape, spacing=(0.0, 0.0, 0.0), size=(16, 16, 16)) -> Prepared:
    array = ndimage.gaussian_filter(np.random.default_rng(3).normal(0, 1, shape), [2 if n > 8 else 0 for n in shape])
    array = (array / array.std()).astype(np.float32)
    return prepare(Image(array[None], OBLIQUE), Plan(spacing, size))


def run(sink, prepared, size=(16, 16, 16), network=None, **options):
    options = TilingOptions(size, **{"whole_image": True, **options})
    return apply_network(network or Local(), prepared, options, CPU, sink)


def whole_scores(prepared: Prepared) -> np.ndarray:
    """Probabilities on the native grid, interpolated by scipy."""
    probabilities = Local()(prepared.image[None]).softmax(1)[0].numpy()
    index = np.indices(prepared.native_shape).astype(float)
    places = index * prepared.scale[:, None, None, None] + prepared.offset[:, None, None, None]
    return np.stack([ndimage.map_coordinates(p, places, order=1, mode="nearest") for p in probabilities])


def whole_peaks(prepared: Prepared, threshold: float) -> np.ndarray:
    """Maxima of the probability of class 1, highest first, in RAS; equal neighbours give their mean position."""
    values = Local()(prepared.image[None]).softmax(1)[0, 1].numpy()
    maxima = local_maxima(np.pad(values, 1), connectivity=3)[1:-1, 1:-1, 1:-1] & (values > threshold)
    parts, count = ndimage.label(maxima, np.ones((3, 3, 3)))
    voxels = np.array(ndimage.center_of_mass(maxima, parts, range(1, count + 1)))
    heights = ndimage.maximum(values, parts, range(1, count + 1))
    return heights, voxels @ prepared.affine[:3, :3].T + prepared.affine[:3, 3]


GRIDS = [
    ((40, 30, 26), (0.0, 0.0, 0.0), (16, 16, 16)),
    ((40, 30, 26), (2.0, 2.5, 1.3), (8, 16, 12)),
    ((40, 30, 9), (0.0, 0.0, 0.0), (16, 16, 1)),  # a network in 2D
    ((40, 30, 1), (0.0, 0.0, 0.0), (16, 16, 1)),
]


@pytest.mark.parametrize("blend", [False, True])
@pytest.mark.parametrize("shape, spacing, size", GRIDS)
def test_scores(shape, spacing, size, blend):
    prepared = case(shape, spacing, size)
    expected = whole_scores(prepared)
    scores = run(Scores([2, 0], blend=blend), prepared, size, batch_size=2)
    assert scores.dtype == np.float32 and scores.shape == (2, *prepared.native_shape)
    np.testing.assert_allclose(scores, expected[[2, 0]], atol=1e-5)
    assert prepared.to_native(scores).shape == (2, *shape)
    np.testing.assert_array_equal(prepared.to_native(scores)[1], prepared.to_native(scores[1]))
    half = run(Scores([2, 0], blend=blend, dtype=np.float16), prepared, size)
    assert half.dtype == np.float16
    np.testing.assert_allclose(half, expected[[2, 0]], atol=2e-3)


def test_the_highest_score_is_the_label():
    prepared = case((40, 30, 26), (2.0, 2.5, 1.3))
    scores = np.sort(whole_scores(prepared), 0)
    clear = scores[2] - scores[1] > 1e-4
    labels = run(Labels(), prepared)
    np.testing.assert_array_equal(labels[clear], run(Scores([0, 1, 2]), prepared).argmax(0)[clear])


def test_activations_and_mirrored_copies():
    prepared = case((20, 18, 16))
    raw = Local()(prepared.image[None])[0]
    for activation, expected in (("none", raw), ("sigmoid", raw.sigmoid()), ("softmax", raw.softmax(0))):
        scores = run(Scores([1], activation), prepared, flip_axes=(0, 2))
        np.testing.assert_allclose(scores[0], expected[1], atol=1e-5)


def test_where_tiles_overlap_scores_go_over_smoothly():
    """For a network that returns the mean of each tile, blended scores have no steps and the others do."""

    class Mean(torch.nn.Module):
        def forward(self, x):
            return x.mean((2, 3, 4), keepdim=True).expand_as(x)

    prepared = case((16, 48, 16))  # its second axis is the first of the network
    assert prepared.native_shape == (48, 16, 16)
    blended, central = (
        run(Scores([0], "none", blend), prepared, network=Mean(), overlap=0.5)[0, :, 5, 5] for blend in (True, False)
    )
    assert np.abs(np.diff(blended)).max() < 0.6 * np.abs(np.diff(central)).max()
    assert len(np.unique(central)) <= 6 and len(np.unique(blended)) > 20


def test_air_has_the_scores_of_background():
    image = torch.zeros(1, 48, 16, 16)
    image[:, :10] += 5 + torch.rand(1, 10, 16, 16)
    prepared = Prepared(image, np.eye(4), (0, 1, 2), (False,) * 3, (48, 16, 16), np.ones(3), np.zeros(3))
    scores = run(Scores([0, 1]), prepared, whole_image=False)
    assert (scores[0, -16:] == 1).all() and (scores[1, -16:] == 0).all()
    assert (run(Scores([1], "none", outside=-7.0), prepared, whole_image=False)[0, -16:] == -7).all()


def test_memory_of_scores_is_known_before(monkeypatch):
    prepared = case((20, 18, 16))
    voxels = 20 * 18 * 16
    assert Scores([0, 1]).bytes(prepared) == 3 * 4 * voxels
    assert Scores([0, 1], blend=False, dtype=np.float16).bytes(prepared) == 2 * 2 * voxels
    monkeypatch.setattr(preflight, "free_bytes", lambda device: 1000)
    with pytest.raises(NotEnoughMemory, match="The scores of 2 channels on .* take 0.0 GB of memory, and 0.0 GB are"):
        run(Scores([0, 1]), prepared)


def test_values_beyond_float16_are_an_error():
    prepared = case((20, 18, 16))
    prepared.image.mul_(1e6)
    with pytest.raises(UserError, match="ask for float32"):
        run(Scores([1], "none", dtype=np.float16), prepared)


@pytest.mark.parametrize("overlap", [0.0, 0.5])
@pytest.mark.parametrize("shape, spacing, size", GRIDS)
def test_peaks(shape, spacing, size, overlap):
    prepared = case(shape, spacing, size)
    values, points = whole_peaks(prepared, 0.4)
    found = run(Peaks([1], threshold=0.4, carried=[1, 2]), prepared, size, overlap=overlap, batch_size=3)
    assert len(values) >= 3 and found.truncated == ()
    assert len(found) == len(values)
    nearest = cKDTree(points).query(found.points)[1]
    assert sorted(nearest) == list(range(len(values)))
    np.testing.assert_allclose(found.values, values[nearest], atol=1e-6)
    assert (np.diff(found.values) <= 0).all()
    half_a_voxel = (found.points - points[nearest]) @ np.linalg.inv(prepared.affine[:3, :3]).T
    assert np.abs(half_a_voxel).max() <= 0.5 + 1e-5 and np.abs(half_a_voxel).max() > 0.05
    assert (found.channels == 1).all() and found.carried.shape == (len(values), 2)
    np.testing.assert_allclose(found.carried.sum(1), -1, atol=1e-5)  # x - 0.5 and -x - 0.5


def blobs(centers, shape=(48, 40, 32), width=2.0) -> Prepared:
    grid = np.indices(shape)
    image = sum(np.exp(-((grid - np.reshape(c, (3, 1, 1, 1))) ** 2).sum(0) / (2 * width**2)) for c in centers)
    image = torch.from_numpy(image[None].astype(np.float32))
    return Prepared(image, OBLIQUE, (0, 1, 2), (False,) * 3, shape, np.ones(3), np.zeros(3))


@pytest.mark.parametrize("size", [(16, 16, 16), (6, 24, 24), (24, 20, 1)])
def test_positions_are_finer_than_voxels_also_on_borders_of_tiles(size):
    centers = np.array([[15.5, 16.3, 15.7], [8.2, 30.5, 16.1], [31.9, 7.6, 8.4], [40.0, 33.0, 25.0]])
    prepared = blobs(centers)
    found = run(Peaks([0], "none", threshold=0.5), prepared, size, network=torch.nn.Identity(), overlap=0.0)
    expected = centers @ OBLIQUE[:3, :3].T + OBLIQUE[:3, 3]
    distances = np.linalg.norm(found.points[:, None] - expected, axis=2)
    assert len(found) == 4 and sorted(distances.argmin(1)) == [0, 1, 2, 3]
    assert distances.min(1).max() < 0.1


def test_tiles_that_disagree_about_a_peak_give_one():
    """It moves by one voxel from tile to tile, so that each tile finds it among the voxels that belong to the other."""

    class Shifting(torch.nn.Module):
        tiles = 0

        def forward(self, x):
            self.tiles += 1
            shifted = x.roll(1 if self.tiles % 2 else -1, 2)
            shifted[:, :, 0 if self.tiles % 2 else -1] = 0
            return shifted

    for column in range(13, 19):
        prepared = blobs([(column, 8, 8)], (32, 16, 16))
        found = run(Peaks([0], "none"), prepared, (20, 16, 16), network=Shifting(), overlap=0.25)
        assert 1 <= len(found) <= 2
        again = run(Peaks([0], "none", distance=5.0), prepared, (20, 16, 16), network=Shifting(), overlap=0.25)
        assert len(again) == 1


def test_equal_neighbours_are_one_peak():
    image = torch.zeros(1, 32, 16, 16)
    image[:, 14:18, 7:9, 8] = 1.0
    prepared = Prepared(image, np.eye(4), (0, 1, 2), (False,) * 3, (32, 16, 16), np.ones(3), np.zeros(3))
    assert len(run(Peaks([0], "none"), prepared, network=torch.nn.Identity())) == 1


def test_only_the_highest_are_kept_and_that_is_reported():
    rng = np.random.default_rng(0)
    image = torch.from_numpy(rng.uniform(0, 1, (1, 24, 24, 24)).astype(np.float32))
    prepared = Prepared(image, np.eye(4), (0, 1, 2), (False,) * 3, (24,) * 3, np.ones(3), np.zeros(3))
    full = run(Peaks([0], "none", most=10**6), prepared, network=torch.nn.Identity())
    assert full.truncated == () and len(full) > 200
    said = []
    found = apply_within_memory(
        torch.nn.Identity(),
        prepared,
        TilingOptions((16, 16, 16), whole_image=True),
        CPU,
        Peaks([0], "none", most=7),
        (4, 4, 4),
        said.append,
    )
    np.testing.assert_array_equal(found.points, full.points[:7])
    assert found.truncated == (0,) and said == [
        "More than 7 peaks were found in channel 0: only the 7 highest are kept. A higher threshold leaves fewer."
    ]


def test_of_close_peaks_the_highest_stays():
    prepared = blobs([(12, 20, 16), (18, 20, 16), (36, 20, 16)], width=1.5)
    prepared.image[:, :15] *= 1.5
    names = {
        distance: run(Peaks([0], "none", distance=distance), prepared, network=torch.nn.Identity())
        for distance in (0, 5, 7)
    }
    assert [len(found) for found in names.values()] == [3, 3, 2]
    assert names[7].values[0] == names[0].values[0] > 1.4


@pytest.mark.parametrize("make", [Labels, lambda: Scores([0, 2]), lambda: Peaks([1], threshold=0.4)])
def test_each_sink_starts_again_when_memory_runs_out(make):
    prepared = case((24, 20, 18))
    options, said = TilingOptions((32, 16, 16), batch_size=2, whole_image=True), []
    found = apply_within_memory(Local(longest=8), prepared, options, CPU, make(), (4, 4, 4), said.append)
    expected = run(make(), prepared, (40, 40, 40))
    assert [sentence[:31] for sentence in said] == ["There was not enough memory: ap"] * 3
    if isinstance(found, np.ndarray):
        np.testing.assert_allclose(found, expected, atol=1e-5)
    else:
        np.testing.assert_allclose(found.points, expected.points, atol=1e-4)


def test_tiles_for_peaks_stay_large_enough():
    said = []
    options = TilingOptions((12, 12, 12), whole_image=True)
    network = Local(longest=3)
    apply_within_memory(network, case((9, 8, 7)), options, CPU, Peaks([1]), (1, 1, 1), said.append)
    assert "3 x 3 x 3" in said[-1]
