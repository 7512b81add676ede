"""A chest in Hounsfield units as from a CT scanner: a round field of view with padding around it."""

from __future__ import annotations

from functools import cache

import numpy as np
from MedDeepLib.data.sources.image import Image
from sample_images import affine, rotation
from toy_pairs import moved_by

GRIDS = {
    "oblique": (affine(rotation(4, -3, 5), (5, 5, 8), (-185, -165, -150)), (76, 76, 38)),
    "anisotropic": (affine(np.diag([-1, -1, 1]), (5.5, 5.5, 7), (190, 195, -140)), (70, 70, 40)),
}


def chest(points: np.ndarray) -> np.ndarray:
    """HU (N,) at points (N, 3) in RAS mm: fat, muscle, two different lungs with vessels, heart, spine, ribs."""
    random = np.random.default_rng(5)
    values = np.full(len(points), -1000.0)
    parts = [
        ((0, 0, 0), (150, 110, 240), -100),
        ((0, 0, 0), (138, 98, 230), 45),
        ((-68, 8, 10), (52, 66, 100), -850),
        ((66, 4, 18), (44, 62, 88), -850),
        ((18, 30, -25), (44, 38, 46), 55),
        ((0, -72, 0), (20, 18, 230), 350),
        ((-50, 10, -95), (70, 60, 40), 110),
    ]
    for side in (-1, 1):
        parts += [((side * 100, -20, z), (14, 50, 8), 500) for z in range(-80, 100, 36)]
        for _ in range(12):
            parts.append(((side * 66, 5, 12) + random.uniform(-1, 1, 3) * (30, 40, 60), random.uniform(6, 14, 3), -50))
    for center, radii, height in parts:
        radii = np.asarray(radii, float)
        distance = (np.linalg.norm((points - center) / radii, axis=1) - 1) * radii.min() / 3
        share = 1 / (1 + np.exp(np.clip(distance, -50, 50)))
        values = values + share * (height - values)
    return values


@cache
def _drawn(grid: str, to_body) -> np.ndarray:
    matrix, shape = GRIDS[grid]
    points = moved_by(matrix, np.indices(shape).reshape(3, -1).T)
    return chest(to_body(points) if to_body else points).reshape(shape)


def scan(grid: str, to_body=None, padding: float | None = None, dtype=np.int16, seed=0) -> Image:
    """The chest on one of the grids, with noise; ``padding`` fills what lies outside the grid's own round field."""
    matrix, shape = GRIDS[grid]
    index = np.indices(shape)
    values = np.maximum(_drawn(grid, to_body) + np.random.default_rng(seed).normal(0, 15, shape), -1024)
    if padding is not None:
        middle = (np.array(shape[:2]) - 1) / 2
        values[np.hypot(index[0] - middle[0], index[1] - middle[1]) > middle.min()] = padding
    return Image(np.rint(values).astype(dtype)[None], matrix)


def inner_points(count: int = 400) -> np.ndarray:
    """Random places (N, 3) in the body, where every scan shows it."""
    points = np.random.default_rng(1).uniform(-1, 1, (8 * count, 3)) * (130, 95, 90)
    return points[np.hypot(points[:, 0] / 130, points[:, 1] / 95) < 1][:count]
