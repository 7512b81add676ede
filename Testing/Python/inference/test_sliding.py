"""Label maps tile by tile: the same as for the whole image at once, whatever the tiles."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from MedDeepLib.data.preparation import Prepared
from MedDeepLib.errors import Stopped
from MedDeepLib.inference.sinks import Labels
from MedDeepLib.inference.sliding import TilingOptions, apply_network, cut_tile

CPU = torch.device("cpu")


def predict_labels(network, case: Prepared, options: TilingOptions, device: torch.device, *rest, **more) -> np.ndarray:
    return apply_network(network, case, options, device, Labels(), *rest, **more)


def prepared(image: torch.Tensor, native_shape=None, scale=(1.0, 1.0, 1.0), offset=(0.0, 0.0, 0.0)) -> Prepared:
    native = tuple(image.shape[1:]) if native_shape is None else native_shape
    return Prepared(image, np.eye(4), (0, 1, 2), (False,) * 3, native, np.array(scale), np.array(offset))


class Local(torch.nn.Module):
    """Scores of three classes that depend on the voxel alone, in 2D as in 3D."""

    def __init__(self):
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, x):
        self.shapes.append(tuple(x.shape))
        return torch.cat([-(x**2), x - 0.5, -x - 0.5], 1)


class Sided(torch.nn.Module):
    """Scores that change when the image is mirrored: neighbours along each axis count differently."""

    def forward(self, x):
        moved = sum((n + 1) * x.roll(1, 2 + n) for n in range(x.ndim - 2))
        return torch.cat([x, moved / 3, -x], 1)


def random_image(shape=(30, 25, 20), seed=0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(0, 1, (1, *shape)).astype(np.float32))


def whole(network, image: torch.Tensor) -> np.ndarray:
    with torch.inference_mode():
        return network(image[None])[0].argmax(0).numpy()


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.7])
@pytest.mark.parametrize("size", [(8, 8, 8), (16, 8, 24), (32, 32, 32), (8, 64, 8)])
def test_a_local_network_gives_the_same_in_tiles_as_in_one(size, overlap, batch_size):
    image = random_image()
    options = TilingOptions(size, overlap, batch_size, whole_image=True)
    labels = predict_labels(Local(), prepared(image), options, CPU)
    np.testing.assert_array_equal(labels, whole(Local(), image))
    assert labels.dtype == np.uint8


@pytest.mark.parametrize("shape", [(30, 25, 20), (30, 25, 1), (3, 4, 2)])
def test_slices_for_a_network_in_2d(shape):
    image, network = random_image(shape), Local()
    labels = predict_labels(network, prepared(image), TilingOptions((16, 16, 1), whole_image=True), CPU)
    np.testing.assert_array_equal(labels, whole(Local(), image))
    assert all(shape[1:] == (1, 16, 16) for shape in network.shapes)


@pytest.mark.parametrize("size", [(64, 64, 64), (32, 8, 16)])
def test_a_volume_smaller_than_a_tile_is_mirrored_at_its_borders(size):
    image = random_image((5, 9, 1))
    seen = []

    class Watching(Local):
        def forward(self, x):
            seen.append(x[0])
            return super().forward(x)

    labels = predict_labels(Watching(), prepared(image), TilingOptions(size, whole_image=True), CPU)
    np.testing.assert_array_equal(labels, whole(Local(), image))
    assert all(tuple(tile.shape[1:]) == size and float(tile.abs().min()) > 0 for tile in seen)


def test_mirrored_tiles_continue_the_image():
    image = torch.arange(4.0).reshape(1, 4, 1, 1)
    tile = cut_tile(image, (-3, 0, 0), (12, 1, 1))
    assert tile.ravel().tolist() == [3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1, 2]


def average_over_flips(network, image: torch.Tensor, axes) -> torch.Tensor:
    total = 0
    for mask in range(2 ** len(axes)):
        flips = [2 + axis for n, axis in enumerate(axes) if mask >> n & 1]
        answer = network(image[None].flip(flips) if flips else image[None]).softmax(1)
        total = total + (answer.flip(flips) if flips else answer)
    return (total / 2 ** len(axes))[0]


@pytest.mark.parametrize("axes", [(0,), (1, 2), (0, 1, 2)])
def test_averaging_over_mirrored_copies(axes):
    image = random_image((16, 16, 16))
    options = TilingOptions((16, 16, 16), whole_image=True, flip_axes=axes)
    labels = predict_labels(Sided(), prepared(image), options, CPU)
    np.testing.assert_array_equal(labels, average_over_flips(Sided(), image, axes).argmax(0).numpy())
    assert (labels != whole(Sided(), image)).any()


@pytest.mark.parametrize("axes", [(), (0, 1)])
def test_mean_probabilities_are_interpolated_to_a_finer_grid(axes):
    """On a grid twice as fine, against scipy's linear interpolation of the probabilities."""
    from scipy.ndimage import map_coordinates

    image = random_image((16, 16, 16))
    native = (31, 31, 31)
    case = prepared(image, native, scale=(0.5, 0.5, 0.5))
    options = TilingOptions((16, 16, 16), whole_image=True, flip_axes=axes)
    labels = predict_labels(Sided(), case, options, CPU)
    probabilities = average_over_flips(Sided(), image, axes).numpy()
    places = np.indices(native) / 2
    expected = np.stack([map_coordinates(p, places, order=1) for p in probabilities])
    ordered = np.sort(expected, 0)
    clear = ordered[-1] - ordered[-2] > 1e-5
    np.testing.assert_array_equal(labels[clear], expected.argmax(0)[clear])


@pytest.mark.parametrize("scale", [(0.31, 0.5, 0.77), (1.7, 2.4, 3.0), (0.4, 1.0, 2.2)])
@pytest.mark.parametrize("size", [(8, 8, 8), (32, 32, 32)])
def test_another_grid_has_no_seams(scale, size):
    """Every native voxel gets the same label, in several tiles or in one."""
    image = torch.nn.functional.avg_pool3d(random_image((24, 24, 24))[None], 5, 1, 2)[0] * 5
    native = tuple(round(24 / s) for s in scale)
    offset = [((24 - 1) - (n - 1) * s) / 2 for n, s in zip(native, scale, strict=True)]
    case = prepared(image, native, scale, offset)
    tiled = predict_labels(Local(), case, TilingOptions(size, 0.25, whole_image=True), CPU)
    at_once = predict_labels(Local(), case, TilingOptions((24, 24, 24), whole_image=True), CPU)
    assert tiled.shape == native
    assert (tiled != at_once).mean() < 0.002, "rounding may decide a tie"


def test_air_is_never_sent_through_the_network():
    image = torch.zeros(1, 64, 64, 64) + random_image((64, 64, 64)) * 0.01
    image[:, 18:31, 18:31, 18:31] += 5
    network = Local()
    options = TilingOptions((16, 16, 16), 0.0)
    labels = predict_labels(network, prepared(image), options, CPU)
    np.testing.assert_array_equal(labels, whole(Local(), image))
    assert len(network.shapes) <= 8
    everything = Local()
    predict_labels(everything, prepared(image), TilingOptions((16, 16, 16), 0.0, whole_image=True), CPU)
    assert len(everything.shapes) == 64


def test_progress_and_stop():
    image, network, said = random_image((32, 16, 16)), Local(), []

    def progress(done, total):
        said.append((done, total))

    options = TilingOptions((16, 16, 16), 0.0, whole_image=True)
    predict_labels(network, prepared(image), options, CPU, progress)
    assert said == [(1, 2), (2, 2)]
    with pytest.raises(Stopped):
        predict_labels(network, prepared(image), options, CPU, progress, stop_requested=lambda: len(said) == 3)
    assert said == [(1, 2), (2, 2), (1, 2)], "stopped between two tiles"


def test_networks_with_deep_supervision_answer_with_their_first_output():
    class Deep(Local):
        def forward(self, x):
            return [super().forward(x), None]

    image = random_image()
    labels = predict_labels(Deep(), prepared(image), TilingOptions((16, 16, 16), whole_image=True), CPU)
    np.testing.assert_array_equal(labels, whole(Local(), image))


def test_a_lower_precision_gives_nearly_the_same():
    image = random_image()
    options = TilingOptions((16, 16, 16), whole_image=True, autocast=torch.bfloat16)
    labels = predict_labels(torch.nn.Conv3d(1, 3, 1), prepared(image), options, CPU)
    assert labels.max() <= 2
