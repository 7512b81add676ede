"""Tiles: every voxel of the body belongs to one tile, and air to none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from MedDeepLib.inference.tiles import foreground_hull, hull_blocks, tiles

SHAPES_AND_SIZES = [
    ((50, 40, 30), (16, 16, 16)),
    ((33, 17, 65), (16, 32, 16)),
    ((16, 16, 16), (16, 16, 16)),
    ((17, 16, 15), (16, 16, 16)),
    ((7, 90, 3), (16, 16, 16)),
    ((1, 40, 40), (16, 16, 16)),
    ((60, 50, 4), (16, 16, 1)),
    ((60, 50, 1), (32, 32, 1)),
    ((5, 5, 2), (32, 32, 1)),
]


def owners(found, shape) -> np.ndarray:
    """The number of tiles that each voxel belongs to."""
    count = np.zeros(shape, int)
    for tile in found:
        count[tuple(slice(*own) for own in tile.own)] += 1
    return count


def check_own_voxels_are_inside(found, size) -> None:
    for tile in found:
        for start, n, (low, high) in zip(tile.start, size, tile.own, strict=True):
            assert low < high and start <= low and high <= start + n


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("shape, size", SHAPES_AND_SIZES)
def test_every_voxel_has_one_owner(shape, size, overlap):
    found = tiles(shape, size, overlap)
    assert (owners(found, shape) == 1).all()
    check_own_voxels_are_inside(found, size)
    for tile in found:
        for start, n, length in zip(tile.start, size, shape, strict=True):
            assert (start >= 0 and start + n <= length) or length < n, "beyond the image only if that is smaller"


@pytest.mark.parametrize("shape, size", SHAPES_AND_SIZES)
def test_tiles_overlap_as_much_as_asked(shape, size):
    for overlap in (0.0, 0.25, 0.5):
        starts = [sorted({tile.start[axis] for tile in tiles(shape, size, overlap)}) for axis in range(3)]
        for axis in range(3):
            steps = np.diff(starts[axis])
            assert (steps <= max(1, size[axis] * (1 - overlap))).all()


def test_no_more_tiles_than_needed():
    assert len(tiles((100, 100, 100), (50, 50, 50), 0.0)) == 8
    assert len(tiles((96, 96, 96), (96, 96, 96), 0.5)) == 1
    assert len(tiles((20, 20, 20), (96, 96, 96), 0.25)) == 1


def phantom(shape=(64, 64, 64), radius=14, center=(32, 32, 32)) -> torch.Tensor:
    """A bright ball in noisy air: (1, I, J, K)."""
    image = torch.from_numpy(np.random.default_rng(0).normal(0, 1, shape).astype(np.float32))
    image[ball(shape, radius, center)] += 100
    return image[None]


def ball(shape, radius, center) -> torch.Tensor:
    grid = np.indices(shape) - np.array(center)[:, None, None, None]
    return torch.from_numpy((grid**2).sum(0) <= radius**2)


@pytest.mark.parametrize("center", [(32, 32, 32), (10, 50, 32), (0, 0, 0), (63, 63, 0)])
@pytest.mark.parametrize("size", [(16, 16, 16), (32, 16, 48), (64, 64, 1)])
def test_every_voxel_of_the_body_has_an_owner_and_far_air_none(center, size):
    image = phantom(center=center)
    body = ball((64, 64, 64), 14, center).numpy()
    found = tiles((64, 64, 64), size, 0.25, foreground_hull(image))
    count = owners(found, (64, 64, 64))
    assert count.max() == 1 and (count[body] == 1).all()
    for tile in found:
        box = tuple(slice(max(0, low - 8), high + 8) for low, high in tile.own)
        assert body[box].any(), "a tile of air"


def test_air_costs_no_tiles():
    everything = len(tiles((64, 64, 64), (16, 16, 16), 0.0))
    body = len(tiles((64, 64, 64), (16, 16, 16), 0.0, foreground_hull(phantom(radius=7))))
    assert body <= everything / 4


def lungs(open_at_the_ends: bool) -> tuple[torch.Tensor, np.ndarray]:
    """A chest (value 0) with large lungs (-900) in air (-1000), in HU, and where the lungs are."""
    shape = (96, 80, 64)
    i, j, k = np.indices(shape)
    image = np.full(shape, -1000.0)
    long = np.ones(shape, bool) if open_at_the_ends else (k >= 4) & (k < 60)
    image[((i - 48) ** 2 / 44**2 + (j - 40) ** 2 / 36**2 < 1) & long] = 0
    inside = (((i - 26) / 16) ** 2 + ((j - 40) / 24) ** 2 < 1) | (((i - 70) / 16) ** 2 + ((j - 40) / 24) ** 2 < 1)
    lung = inside & (long if open_at_the_ends else (k >= 10) & (k < 54))
    image[lung] = -900
    image += np.random.default_rng(0).normal(0, 10, shape)
    return torch.from_numpy(image.astype(np.float32))[None], lung


@pytest.mark.parametrize("open_at_the_ends", [False, True])
def test_air_inside_the_body_is_body(open_at_the_ends):
    """Also in a slab of a chest CT, where the lungs are cut open above and below."""
    image, lung = lungs(open_at_the_ends)
    found = tiles(tuple(image.shape[1:]), (8, 8, 8), 0.0, foreground_hull(image))
    assert (owners(found, image.shape[1:])[lung] == 1).all()


def test_single_slices_of_a_chest():
    image, lung = lungs(open_at_the_ends=True)
    one = image[..., 30:31]
    found = tiles(tuple(one.shape[1:]), (8, 8, 1), 0.0, foreground_hull(one))
    assert (owners(found, one.shape[1:])[lung[..., 30:31]] == 1).all()


def test_an_image_with_nothing_to_see_is_done_whole():
    image = torch.zeros(1, 20, 20, 20)
    found = tiles((20, 20, 20), (16, 16, 16), 0.0, foreground_hull(image))
    assert (owners(found, (20, 20, 20)) == 1).all()


def test_a_body_in_any_channel_is_body():
    dark, bright = torch.zeros(1, 64, 64, 64), phantom()
    both = foreground_hull(torch.cat([dark, bright]))
    assert (both | foreground_hull(bright) == both).all()


@pytest.mark.parametrize("shape", [(64, 64, 64), (5, 64, 3), (1, 9, 2)])
def test_blocks_of_the_hull_cover_the_image(shape):
    hull = foreground_hull(torch.rand(1, *shape))
    assert list(hull.shape) == [-(-n // block) for n, block in zip(shape, hull_blocks(shape), strict=True)]
