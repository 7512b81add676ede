"""How good a registration is: overlap, landmarks, a known transform, folding, inverse consistency."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from MedDeepLib.data.sources.labels import Segment, place_on_grid, read_segmentation
from MedDeepLib.data.sources.points import read_points
from MedDeepLib.errors import UserError

from RegisterModuleLib.worker.fields import jacobian_determinant
from RegisterModuleLib.worker.grids import SLAB_VOXELS, Grid, matrix_coordinates
from RegisterModuleLib.worker.inputs import Labels, Pair
from RegisterModuleLib.worker.transforms import Displacement, SpatialTransform, read_transform

if TYPE_CHECKING:
    from MedDeepLib.data.slots import Case


_SAMPLED_EDGE = 32  # points along each axis that distances in mm are averaged over
_SMALLEST = 1e-6


def deformation_metrics(transform: SpatialTransform, pair: Pair) -> dict[str, Any]:
    """Displacement in mm, Jacobian determinants and inverse consistency, within the fixed image."""
    points = _sample_points(pair.grid)
    moved = transform.of_points(points)
    distance = np.linalg.norm(moved - points, axis=1)
    back = np.linalg.norm(transform.inverse().of_points(moved) - points, axis=1)
    determinants = jacobians(transform, pair.grid)
    positive = determinants[determinants > _SMALLEST]
    metrics = {
        "displacement_mean_mm": round(float(distance.mean()), 3),
        "displacement_max_mm": round(float(distance.max()), 3),
        "folded_percent": round(100 * float((determinants <= 0).mean()), 5),
        "jacobian_log_sd": round(float(np.log(positive).std()), 4) if positive.size else 0.0,
        "inverse_error_mm": round(float(np.percentile(back, 99)), 4),
    }
    if transform.matrix is not None:
        metrics |= _matrix_metrics(transform.matrix)
    return metrics


def jacobians(transform: SpatialTransform, grid: Grid) -> np.ndarray:
    """Determinants of the transform between the points of its own finest field, or a single one for a matrix."""
    fields = [step for step in transform.steps if isinstance(step, Displacement)]
    if not fields:
        matrix = transform.matrix
        assert matrix is not None  # without fields all steps are matrices
        return np.array([np.linalg.det(matrix[:3, :3])])
    own = fields[0].grid
    back = torch.from_numpy(np.linalg.inv(own.affine[:3, :3]).astype(np.float32))
    points = matrix_coordinates(own.affine, own.indices())
    there = transform.at(points)
    field = torch.einsum("ab,bijk->aijk", back, there - points)
    return jacobian_determinant(field).numpy()


def jacobian_map(transform: SpatialTransform, grid: Grid) -> np.ndarray:
    """The determinant at every voxel of a grid (I, J, K): how much larger its tissue is in the moving image.

    Slab by slab: a large image's fields would not fit into memory.
    """
    back = torch.from_numpy(np.linalg.inv(grid.affine[:3, :3]).astype(np.float32))
    padding = [n for axis in (2, 1, 0) for n in ((0, 1) if grid.shape[axis] > 1 else (0, 0))]
    slab = max(1, SLAB_VOXELS // (grid.shape[1] * grid.shape[2]))
    last = max(grid.shape[0] - 1, 1)  # a voxel's derivatives need the next one
    parts = []
    for first in range(0, last, slab):
        points = matrix_coordinates(grid.affine, grid.indices(first=first, last=min(first + slab, last) + 1))
        field = torch.einsum("ab,bijk->aijk", back, transform.at(points) - points)
        parts.append(jacobian_determinant(field))
    determinants = torch.cat(parts)
    return torch.nn.functional.pad(determinants[None], padding, mode="replicate")[0].numpy().astype(np.float32)


class Registered(Protocol):
    """The prediction to score: a :class:`RegisterModuleLib.worker.prediction.RegistrationPrediction`."""

    pair: Pair
    transform: SpatialTransform
    figures: dict[str, Any]

    def __init__(self, pair: Pair, transform: SpatialTransform): ...

    def warped_labels(self, labels: Labels) -> np.ndarray: ...


def case_scores(
    prediction: Registered, case: Case, names: Mapping[int, str] = MappingProxyType({})
) -> list[dict[str, Any]]:
    """A row for each structure that both label maps of the pair have, and one for the whole image.

    ``names``: of the structures by their values; for others the label maps' own.
    """
    pair, transform = prediction.pair, prediction.transform
    own = {key: value for key, value in prediction.figures.items() if not isinstance(value, (bool, list))}
    labelled = case.files("fixed_label") and case.files("moving_label")
    # The most important columns come first: they are in the order of the rows that have them.
    rows = _structure_rows(prediction, case, names) if labelled else []
    known = landmark_metrics(case, transform) | _truth_metrics(case, transform, pair)
    rows.append({"structure": "whole image", **known, **own})
    keys = list(dict.fromkeys(key for row in rows for key in row))
    return [{key: row.get(key) for key in keys} for row in rows]


def _structure_rows(prediction: Registered, case: Case, known: Mapping[int, str]) -> list[dict[str, Any]]:
    from MedDeepLib.evaluation.overlap import structure_scores

    pair = prediction.pair
    (fixed_file,), (moving_file,) = case.files("fixed_label"), case.files("moving_label")
    fixed, fixed_affine, segments = read_segmentation(fixed_file)
    reference = place_on_grid(fixed, fixed_affine, pair.fixed.affine, pair.fixed.shape, fixed_file.name)
    labels = Labels(*read_segmentation(moving_file))
    warped = prediction.warped_labels(labels)
    names = {segment.value: segment.name for segment in (*labels.segments, *segments)} | dict(known)
    common = sorted((set(np.unique(reference)) & set(np.unique(labels.array))) - {0})
    if not common:
        raise UserError(f"The label maps of the pair {case.name} have no value in common: use one list of values.")
    classes = [Segment(int(value), names.get(int(value), f"label {value}"), (0.5, 0.5, 0.5)) for value in common]
    before = SpatialTransform()
    unmoved = type(prediction)(pair, before).warped_labels(labels)
    scores = structure_scores(warped, reference, pair.fixed.affine, classes)
    earlier = structure_scores(unmoved, reference, pair.fixed.affine, classes)
    return [
        {
            "structure": now["structure"],
            "dice": now["dice"],
            "dice_before": then["dice"],
            "hd95_mm": now["hd95_mm"],
            "assd_mm": now["assd_mm"],
        }
        for now, then in zip(scores, earlier, strict=True)
    ]


def landmark_metrics(case: Case, transform: SpatialTransform) -> dict[str, Any]:
    """Distance in mm between the landmarks of both images, before and after (target registration error)."""
    if not (case.files("fixed_landmarks") and case.files("moving_landmarks")):
        return {}
    fixed, moving = (read_points(case.files(slot)[0]) for slot in ("fixed_landmarks", "moving_landmarks"))
    common = set(fixed.names) & set(moving.names)
    if not common:
        raise UserError(f"The landmarks of the pair {case.name} have no name in common: use the same names.")
    for name in sorted(common):
        counts = fixed.names.count(name), moving.names.count(name)
        if counts[0] != counts[1]:
            raise UserError(
                f"The pair {case.name} has {counts[0]} fixed and {counts[1]} moving landmarks called '{name}', so "
                "it is unclear which belong together: give each its own name."
            )
    place = {key: number for number, key in enumerate(moving.keys())}
    keys = [(number, place[key]) for number, key in enumerate(fixed.keys()) if key[0] in common]
    here = fixed.positions[[first for first, _ in keys]]
    there = moving.positions[[second for _, second in keys]]
    error = np.linalg.norm(transform.of_points(here) - there, axis=1)
    return {
        "landmarks": len(keys),
        "tre_before_mm": float(np.linalg.norm(here - there, axis=1).mean()),
        "tre_mm": float(error.mean()),
        "tre_max_mm": float(error.max()),
    }


def _truth_metrics(case: Case, transform: SpatialTransform, pair: Pair) -> dict[str, Any]:
    """Distance in mm to where the true transform goes, before and after, in the foreground of the fixed image."""
    if not case.files("transform"):
        return {}
    truth = read_transform(case.files("transform")[0], pair.grid)
    points = foreground_points(pair)
    wanted = truth.of_points(points)
    error = np.linalg.norm(transform.of_points(points) - wanted, axis=1)
    return {
        "field_error_before_mm": float(np.linalg.norm(points - wanted, axis=1).mean()),
        "field_error_mm": float(error.mean()),
        "field_error_95_mm": float(np.percentile(error, 95)),
    }


def foreground_points(pair: Pair, most: int = 50_000) -> np.ndarray:
    """Places (N, 3) in RAS mm, evenly spread, where the fixed image shows more than air."""
    from MedDeepLib.data.preparation import background_threshold

    values = np.asarray(pair.fixed.array[0], np.float32)
    sample = values.ravel()[:: max(1, values.size // 500_000)]
    places = np.argwhere(values > background_threshold(sample))
    places = places[:: max(1, len(places) // most)]
    return places @ pair.fixed.affine[:3, :3].T + pair.fixed.affine[:3, 3]


def _matrix_metrics(matrix: np.ndarray) -> dict[str, Any]:
    """Angle of the rotation and change of volume of a matrix."""
    u, _, vt = np.linalg.svd(matrix[:3, :3])
    turn = u @ vt
    angle = np.degrees(np.arccos(np.clip((np.trace(turn) * np.sign(np.linalg.det(turn)) - 1) / 2, -1, 1)))
    return {"rotation_degrees": round(float(angle), 3), "volume_ratio": round(float(np.linalg.det(matrix[:3, :3])), 4)}


def _sample_points(grid: Grid) -> np.ndarray:
    axes = [np.linspace(0, n - 1, min(n, _SAMPLED_EDGE)) for n in grid.shape]
    index = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    return index @ grid.affine[:3, :3].T + grid.affine[:3, 3]
