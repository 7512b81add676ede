"""A padded CT is registered as well as one without padding, and the result reports the padding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from MedDeepLib.bundles.model import open_model
from MedDeepLib.core import Context, from_mapping
from RegisterModuleLib.worker.inputs import Pair
from RegisterModuleLib.worker.transforms import SpatialTransform
from toy_ct import inner_points, scan
from toy_pairs import matrix_of, moved_by

TRUTH = matrix_of((3, -4, 8.7), (14, -12, 8))  # 10 degrees and 20 mm


def _as_moved(points: np.ndarray) -> np.ndarray:
    return moved_by(np.linalg.inv(TRUTH), points)


def registered(fixed_padding, moving_padding, method="global", grid="anisotropic", **options):
    """``grid`` is that of the fixed image; on the moving image's grid, the circle stays while the body moves."""
    torch.set_num_threads(1)
    fixed = scan(grid, padding=fixed_padding)
    moving = scan("anisotropic", _as_moved, moving_padding, seed=1)
    model = open_model(method, "register")
    made = model.make_method()
    predictor = made.predictor(
        model, Context(torch.device("cpu")), from_mapping(made.ApplyParameters, {"finest_spacing": 9.0} | options)
    )
    return predictor.predict(Pair(fixed, moving, SpatialTransform()), Context(torch.device("cpu")))


def errors(prediction) -> np.ndarray:
    points = inner_points()
    return np.linalg.norm(prediction.transform.of_points(points) - moved_by(TRUTH, points), axis=1)


@pytest.mark.parametrize(
    ("grid", "fixed", "moving", "said"),
    [
        ("anisotropic", -3024, -3024, "2 of 2 images have padding of -3024"),
        ("anisotropic", -3024, None, "1 of 2 images has padding of -3024"),
        ("oblique", None, -2000, "1 of 2 images has padding of -2000"),
        ("oblique", -32768, -2048, "2 of 2 images have padding of -2048 and -32768"),
        ("oblique", None, None, ""),
    ],
)
def test_a_rigid_motion_is_found_whatever_the_padding(grid, fixed, moving, said):
    prediction = registered(fixed, moving, grid=grid, transform="rigid")
    assert errors(prediction).mean() < 2
    words = prediction.in_words()
    assert words.count("padding") == bool(said) and said in words
    assert "hardly aligned" not in words
    assert prediction.warped().min() >= -1024


def test_a_deformable_registration_finds_it_too():
    prediction = registered(-3024, -3024, "morph", steps=10)
    assert errors(prediction).mean() < 2
    assert "2 of 2 images have padding of -3024" in prediction.in_words()


def test_a_result_says_that_images_were_hardly_aligned():
    prediction = registered(None, None, transform="rigid", matrix_steps=0)
    assert prediction.summary()["similarity_after"] == prediction.summary()["similarity_before"]
    assert "The images were hardly aligned" in prediction.in_words() and "option center" in prediction.in_words()
    # Images that matched before cannot match better.
    figures = {"similarity_before": 0.93, "similarity_after": 0.93}
    prediction.figures.update(figures)
    assert "hardly aligned" not in prediction.in_words()
