"""Pairs of images that registration tests make: one body of soft ellipsoids, seen through known transforms.

The body is a function of position, so it can be drawn on any grid and through any transform without interpolation, and
the result of a registration can be compared with the truth in millimetres.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from MedDeepLib.data.sources.image import write_image
from sample_images import affine, rotation

STRUCTURES = {1: "front", 2: "back", 3: "left", 4: "right", 5: "top"}
_CENTERS = {1: (0, 28, 5), 2: (4, -26, -4), 3: (-22, 2, 6), 4: (24, -4, -8), 5: (2, 6, 28)}
_RADII = {1: (12, 9, 10), 2: (14, 10, 9), 3: (8, 13, 9), 4: (9, 11, 12), 5: (10, 9, 8)}
GRIDS = {
    "plain": (affine(np.eye(3), (3, 3, 3), (-52, -60, -54)), (36, 41, 37)),
    "oblique": (affine(rotation(12, -8, 20), (2.5, 3, 3.5), (-40, -72, -48)), (44, 42, 34)),
    "left-handed": (affine(np.diag([-1, 1, 1]), (3, 2.5, 3), (55, -60, -52)), (38, 48, 36)),
    "anisotropic": (affine([[0, 0, 1], [-1, 0, 0], [0, -1, 0]], (2.5, 2.5, 5), (-55, 62, 55)), (50, 45, 23)),
}


def body(points: np.ndarray, seed: int = 0, contrast: int = 0) -> np.ndarray:
    """Values (N,) at points (N, 3) in RAS mm: a head-like ellipsoid with structures and many small blobs in it.

    Args:
        contrast: 0, or another number for other intensities of the same body, some of them inverted.
    """
    random = np.random.default_rng(seed)
    values = 0.4 * _ellipsoid(points, (0, 0, 0), (44, 52, 46))
    inner = random.uniform(-1, 1, (40, 3)) * (30, 38, 32)
    sizes, heights = random.uniform(4, 9, (40, 3)), random.uniform(-0.25, 0.4, 40)
    if contrast:
        heights = np.random.default_rng(contrast).uniform(-0.3, 0.45, 40)
    for center, radii, height in zip(inner, sizes, heights, strict=True):
        values = values + height * _ellipsoid(points, center, radii)
    for value in STRUCTURES:
        height = 0.35 if not contrast else (-0.25 if value % 2 else 0.5)
        values = values + height * _ellipsoid(points, _CENTERS[value], _RADII[value])
    return values


def structures(points: np.ndarray) -> np.ndarray:
    """Label values (N,) at points (N, 3)."""
    labels = np.zeros(len(points), np.uint8)
    for value in STRUCTURES:
        labels[_ellipsoid(points, _CENTERS[value], _RADII[value]) > 0.5] = value
    return labels


def wave(amplitude: float = 5.0) -> Callable[[np.ndarray], np.ndarray]:
    """A smooth deformation in mm that does not fold: points (N, 3) to points (N, 3)."""

    def bend(points: np.ndarray) -> np.ndarray:
        x, y, z = (points / (0.5 * np.array([100, 120, 110]))).T
        fade = np.exp(-0.5 * (x**2 + y**2 + z**2))
        shift = np.stack([np.sin(2 * y + 0.4), np.sin(2 * z - 0.3), np.cos(2 * x)], 1)
        return points + amplitude * fade[:, None] * shift

    return bend


def inverse_of(transform: Callable[[np.ndarray], np.ndarray], points: np.ndarray) -> np.ndarray:
    """The inverse of a deformation, by fixed-point iteration."""
    found = points.copy()
    for _ in range(50):
        found = found - (transform(found) - points)
    return found


def matrix_of(angles=(0, 0, 0), shift=(0, 0, 0), scale=(1, 1, 1)) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = rotation(*angles) * np.asarray(scale, float)
    matrix[:3, 3] = shift
    return matrix


def moved_by(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def draw(
    grid: str | tuple[np.ndarray, tuple[int, int, int]],
    to_body: Callable[[np.ndarray], np.ndarray] = lambda points: points,
    values: Callable[[np.ndarray], np.ndarray] = body,
) -> np.ndarray:
    """The body on a grid (I, J, K); ``to_body`` maps points of the image to points of the body."""
    matrix, shape = GRIDS[grid] if isinstance(grid, str) else grid
    index = np.indices(shape).reshape(3, -1).T
    return values(to_body(moved_by(matrix, index))).reshape(shape)


def write(path: Path, grid: str, to_body=lambda points: points, values=body) -> Path:
    """Such an image as a file."""
    array = draw(grid, to_body, values)
    write_image(path, array if array.dtype == np.uint8 else (1000 * array).astype(np.float32), GRIDS[grid][0])
    return path


@cache
def displacement(spacing: float = 2.0, size: float = 6.0, seed: int = 0):
    """The flow of a random smooth velocity field around the body; about ``size`` mm."""
    import torch
    from RegisterModuleLib.worker.fields import integrated, inverted, on_other_grid
    from RegisterModuleLib.worker.grids import box_around
    from RegisterModuleLib.worker.transforms import Displacement

    box = box_around(np.eye(4), (-60, -66, -60), (60, 66, 60), 0.0)
    coarse, grid = box.grid(40.0), box.grid(spacing)
    generator = torch.Generator().manual_seed(seed)
    velocity = torch.randn((1, 3, *coarse.shape), generator=generator)
    velocity[:, :, [0, -1]] = velocity[:, :, :, [0, -1]] = velocity[..., [0, -1]] = 0
    velocity = on_other_grid(velocity[0], coarse.shape, grid.shape, smooth=True)
    velocity *= size / 40.0
    there = integrated(velocity, grid.indices())
    back = inverted(there, grid.indices(), integrated(-velocity, grid.indices()))
    return Displacement.from_voxels(grid, there, back)


def inner_points(count: int = 400, seed: int = 1) -> np.ndarray:
    """Random places (N, 3) in the body."""
    points = np.random.default_rng(seed).uniform(-1, 1, (20 * count, 3)) * (36, 44, 38)
    return points[((points / (36, 44, 38)) ** 2).sum(1) < 1][:count]


def write_label_dataset(folder: Path, count: int = 6, images: bool = False) -> Path:
    """A list of label maps, each of another deformed body, with images or, for training on painted ones, without."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for number in range(count):
        write(folder / f"body{number}.nrrd", "plain", random_bend(number), _tissue)
        entry = {"label": f"body{number}.nrrd", "patient": f"p{number}"}
        if images:
            entry["image"] = write(folder / f"image{number}.nrrd", "plain", random_bend(number)).name
        entries.append(entry)
    labels = {str(value): name for value, name in STRUCTURES.items()}
    content = {"name": "bodies", "channels": ["any"], "labels": labels, "training": entries}
    path = folder / "dataset.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def random_bend(seed: int, amplitude: float = 6.0) -> Callable[[np.ndarray], np.ndarray]:
    """A smooth random deformation, another one for every seed."""
    random = np.random.default_rng(100 + seed)
    phases, waves = random.uniform(-3, 3, (3, 3)), random.uniform(0.6, 1.4, (3, 3))

    def bend(points: np.ndarray) -> np.ndarray:
        scaled = points / 40
        parts = [np.sin((scaled * waves[axis] + phases[axis]).sum(1)) for axis in range(3)]
        return points + amplitude * np.stack(parts, 1) * np.exp(-0.5 * (scaled**2).sum(1) / 2)[:, None]

    return bend


def _tissue(points: np.ndarray) -> np.ndarray:
    """Structures in a body of two tissues, each with its own label value."""
    labels = structures(points)
    inside = _ellipsoid(points, (0, 0, 0), (44, 52, 46)) > 0.5
    core = _ellipsoid(points, (0, 0, 0), (32, 40, 34)) > 0.5
    return np.where(labels > 0, labels, np.where(core, 20, np.where(inside, 21, 0))).astype(np.uint8)


def _ellipsoid(points: np.ndarray, center, radii) -> np.ndarray:
    """1 inside, 0 outside, with an edge a few millimetres wide."""
    radii = np.asarray(radii, float)
    distance = np.linalg.norm((points - center) / radii, axis=1)
    return 1 / (1 + np.exp(np.clip((distance - 1) * radii.mean() / 1.2, -50, 50)))
