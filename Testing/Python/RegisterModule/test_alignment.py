"""Registration by gradient steps alone: known transforms are recovered on any grids."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from MedDeepLib.bundles.model import open_model
from MedDeepLib.core import Context, from_mapping
from MedDeepLib.data.sources.image import Image
from MedDeepLib.errors import OutOfMemory, UserError
from RegisterModuleLib.worker.inputs import Pair
from RegisterModuleLib.worker.transforms import SpatialTransform
from sample_images import affine, rotation
from toy_pairs import GRIDS, body, displacement, draw, inner_points, inverse_of, matrix_of, moved_by, wave

VOXEL = 3.0


def pair(fixed: str, moving: str, to_body, contrast: int = 0, initial: SpatialTransform | None = None) -> Pair:
    """The body in the fixed image, and as ``to_body`` shows it in the moving one."""
    images = [
        Image(draw(fixed).astype(np.float32)[None], GRIDS[fixed][0]),
        Image(draw(moving, to_body, lambda p: body(p, contrast=contrast)).astype(np.float32)[None], GRIDS[moving][0]),
    ]
    return Pair(*images, initial or SpatialTransform())


def registered(method: str, images: Pair, context: Context | None = None, **options):
    torch.set_num_threads(1)
    context = context or Context(torch.device("cpu"))
    model = open_model(method, "register")
    made = model.make_method()
    predictor = made.predictor(model, context, from_mapping(made.ApplyParameters, options))
    return predictor.predict(images, context)


def errors(prediction, truth) -> np.ndarray:
    """Distance in mm between where a prediction and the truth map points of the body."""
    points = inner_points()
    return np.linalg.norm(prediction.transform.of_points(points) - truth(points), axis=1)


@pytest.mark.parametrize(
    ("fixed", "moving", "kind"),
    [("plain", "oblique", "rigid"), ("left-handed", "anisotropic", "rigid"), ("oblique", "left-handed", "affine")],
)
def test_a_matrix_is_found_again(fixed, moving, kind):
    scale = (1, 1, 1) if kind == "rigid" else (1.08, 0.94, 1.0)
    truth = matrix_of((6, -5, 9), (7, -6, 5), scale)
    images = pair(fixed, moving, lambda points: moved_by(np.linalg.inv(truth), points))
    prediction = registered("global", images, transform=kind, similarity="correlation")
    before = np.linalg.norm(inner_points() - moved_by(truth, inner_points()), axis=1)
    found = errors(prediction, lambda points: moved_by(truth, points))
    assert before.mean() > 8
    assert found.mean() < 0.1 * VOXEL
    figures = prediction.summary()
    assert figures["similarity_after"] > figures["similarity_before"] + 0.2
    assert figures["folded_percent"] == 0
    if kind == "rigid":
        assert figures["volume_ratio"] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("fixed", "moving"), [("plain", "left-handed"), pytest.param("oblique", "anisotropic", marks=pytest.mark.slow)]
)
def test_a_deformation_is_found_again(fixed, moving):
    bend = wave(6.0)
    images = pair(fixed, moving, bend)  # from the moving image's space to the body's, which is the fixed image's
    prediction = registered("morph", images, steps=30, matrix_steps=30)
    found = errors(prediction, lambda points: inverse_of(bend, points))
    before = np.linalg.norm(inner_points() - inverse_of(bend, inner_points()), axis=1)
    assert before.mean() > 3
    assert found.mean() < 0.25 * before.mean(), (found.mean(), before.mean())
    figures = prediction.summary()
    assert figures["folded_percent"] == 0 and figures["inverse_error_mm"] < 0.1 * VOXEL
    assert figures["similarity_after"] > figures["similarity_before"] + 0.09


def test_another_contrast_needs_mutual_information():
    truth = matrix_of((5, 4, -8), (6, 5, -4))
    images = pair("plain", "oblique", lambda points: moved_by(np.linalg.inv(truth), points), contrast=7)
    found = errors(registered("global", images, transform="rigid"), lambda points: moved_by(truth, points))
    assert found.mean() < 0.3 * VOXEL


@pytest.mark.parametrize("kind", ["matrix", "bent"])
def test_an_initial_transform_is_chained(kind):
    """The result includes it, and maps points of the fixed image all the way to the moving image."""
    step = matrix_of((0, 0, 25), (20, 0, 0)) if kind == "matrix" else displacement(size=4.0)
    first = SpatialTransform((step,))
    small = matrix_of((3, 0, 2), (3, 2, -2))
    truth = lambda points: first.of_points(moved_by(small, points))  # noqa: E731
    images = pair("plain", "plain", lambda points: inverse_of(truth, points), initial=first)
    found = errors(registered("global", images, transform="rigid", similarity="correlation"), truth)
    assert found.mean() < 0.15 * VOXEL
    assert np.linalg.norm(inner_points() - truth(inner_points()), axis=1).mean() > 3


def test_images_apart_are_refused_or_centred():
    truth = matrix_of((0, 0, 4), (400, 0, 0))
    far = (GRIDS["plain"][0] + np.array([[0, 0, 0, 400], *[[0] * 4] * 3]), GRIDS["plain"][1])
    moving = Image(draw(far, lambda p: moved_by(np.linalg.inv(truth), p)).astype(np.float32)[None], far[0])
    images = Pair(Image(draw("plain").astype(np.float32)[None], GRIDS["plain"][0]), moving, SpatialTransform())
    with pytest.raises(UserError, match="do not overlap in space.*option center"):
        registered("global", images)
    events = []
    context = Context(torch.device("cpu"), report=lambda event, **fields: events.append((event, fields)))
    found = registered("global", images, context, center=True, transform="rigid", similarity="correlation")
    assert errors(found, lambda points: moved_by(truth, points)).mean() < 0.1 * VOXEL
    assert any("centres of the images were aligned" in fields.get("message", "") for _, fields in events)


def test_a_stop_keeps_the_best_so_far():
    bend = wave(6.0)
    images = pair("plain", "plain", bend)
    asked, events = [0], []

    def stop() -> bool:
        asked[0] += 1
        return asked[0] > 25

    context = Context(
        torch.device("cpu"), report=lambda event, **fields: events.append((event, fields)), stop_requested=stop
    )
    prediction = registered("morph", images, context, steps=500, matrix_steps=0)
    figures = prediction.summary()
    assert figures["stopped_early"] and figures["steps"] < 30
    assert figures["similarity_after"] > figures["similarity_before"]
    assert any(event == "warning" and "best transform so far" in fields["message"] for event, fields in events)
    assert any(event == "progress" for event, _ in events)


def test_slices_are_registered_within_their_plane():
    """In a slice of any orientation, shift and rotation within the plane are found, and nothing moves out of it."""
    grid = (affine(rotation(0, 90, 0), (1.5, 1.5, 4), (3, -60, -55)), (74, 80, 1))
    inverse = np.linalg.inv(grid[0][:3, :3] / (1.5, 1.5, 4))
    turn = np.eye(4)
    turn[:3, :3] = inverse.T @ rotation(0, 0, 7) @ inverse
    turn[:3, 3] = inverse.T @ (5, -4, 0)
    center = np.eye(4)
    center[:3, 3] = grid[0][:3] @ (36.5, 39.5, 0, 1)
    truth = center @ turn @ np.linalg.inv(center)
    fixed = Image(draw(grid).astype(np.float32)[None], grid[0])
    moving = Image(draw(grid, lambda p: moved_by(np.linalg.inv(truth), p)).astype(np.float32)[None], grid[0])
    prediction = registered(
        "global", Pair(fixed, moving, SpatialTransform()), transform="rigid", similarity="correlation"
    )
    index = np.array([[20, 20, 0], [50, 30, 0], [36, 60, 0]])
    points = moved_by(grid[0], index)
    found = prediction.transform.of_points(points)
    assert np.linalg.norm(found - moved_by(truth, points), axis=1).max() < 0.3
    assert np.abs((np.linalg.inv(grid[0]) @ np.c_[found, np.ones(3)].T)[2]).max() < 1e-3
    assert prediction.summary()["rotation_degrees"] == pytest.approx(7, abs=0.3)


def test_a_transform_that_folds_is_reported():
    bend = wave(6.0)
    events = []
    context = Context(torch.device("cpu"), report=lambda event, **fields: events.append((event, fields)))
    prediction = registered("morph", pair("plain", "plain", bend), context, steps=3, matrix_steps=0)
    assert prediction.summary()["folded_percent"] == 0
    # The same pair with a field that folds: it changes by twice the images' distance within a few voxels.
    from RegisterModuleLib.worker.alignment import Aligned
    from RegisterModuleLib.worker.grids import Grid
    from RegisterModuleLib.worker.transforms import Displacement

    grid = Grid(affine(np.eye(3), (3, 3, 3), (-60, -60, -60)), (41, 41, 41))
    vectors = torch.zeros((3, 41, 41, 41))
    vectors[0, 20, 10:30, 10:30] = -12.0
    model = open_model("morph", "register")
    method = model.make_method()
    predictor = method.predictor(model, context, method.ApplyParameters())
    predictor.align = lambda pair, context: Aligned(SpatialTransform((Displacement(grid, vectors),)), {})
    folded = predictor.predict(pair("plain", "plain", bend), context).summary()["folded_percent"]
    assert folded > 0.3
    assert any(event == "warning" and "folds in" in fields["message"] for event, fields in events)


@pytest.mark.parametrize("size", [0.1, 5.0])
def test_a_rotation_is_found_in_bodies_of_any_size(size):
    """A mouse's head may be rotated as far as a human's, but its points move fewer millimetres."""
    truth = matrix_of((0, 0, 14), (3, 0, 0))
    images = pair("plain", "plain", lambda points: moved_by(np.linalg.inv(truth), points))
    scale = np.diag([size, size, size, 1.0])
    images = Pair(*(Image(one.array, scale @ one.affine) for one in (images.fixed, images.moving)), SpatialTransform())
    prediction = registered("global", images, transform="rigid", similarity="correlation")
    points = inner_points()
    found = prediction.transform.of_points(size * points) / size
    assert np.linalg.norm(found - moved_by(truth, points), axis=1).mean() < 0.2 * VOXEL


def test_too_little_memory_is_told_in_words(monkeypatch):
    from RegisterModuleLib.worker import alignment

    def full(*arguments, **options):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(alignment, "level", full)
    images = pair("plain", "plain", lambda points: points + 3)
    with pytest.raises(OutOfMemory, match="coarser finest_spacing"):
        registered("global", images)


def test_an_image_of_a_part_is_registered_to_the_whole():
    """A moving image may cover a small part of the fixed image only."""
    whole = pair("plain", "plain", lambda points: moved_by(matrix_of((0, 0, 0), (-3, 2, 0)), points))
    corner, shape = np.array([12, 16, 10]), np.array([14, 14, 14])
    part = whole.moving.array[(slice(None), *(slice(a, a + n) for a, n in zip(corner, shape, strict=True)))]
    moved = whole.moving.affine.copy()
    moved[:3, 3] += moved[:3, :3] @ corner
    assert part.size < 0.1 * whole.fixed.array.size and part.std() > 0
    prediction = registered("global", Pair(whole.fixed, Image(part, moved), SpatialTransform()), transform="rigid")
    center = moved[:3, :3] @ (shape / 2) + moved[:3, 3]
    wanted = moved_by(matrix_of((0, 0, 0), (3, -2, 0)), center[None])
    assert np.linalg.norm(prediction.transform.of_points(center[None]) - wanted) < 1.5 * VOXEL
