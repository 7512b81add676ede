"""The released model is found by its name, small, complete, and reveals nothing about the computer that trained it."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from MedDeepLib.bundles.model import open_model, released_models
from MedDeepLib.core import Context
from MedDeepLib.data.fingerprints import file_hash
from RegisterModuleLib.worker.inputs import Pair
from RegisterModuleLib.worker.transforms import SpatialTransform
from toy_pairs import GRIDS, draw

MOST_BYTES = 5_000_000


def test_brain_is_offered_for_registration_only():
    assert "brain" in released_models("register") and "brain" not in released_models("segment")
    model = open_model("brain", "register")
    assert model.trained and not model.is_foreign and model.channels == ("MR",)
    assert "Apache-2.0" in model.description()


def test_it_is_small_and_names_no_path():
    folder = open_model("brain", "register").folder
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < MOST_BYTES
    for file in files:
        text = file.read_bytes().decode("utf-8", "replace")
        assert not re.search(r"(/home|/root|/tmp|/Users|[A-Z]:\\\\Users)\b", text), file
    card = (folder / "docs" / "README.md").read_text(encoding="utf-8")
    assert "Research use only" in card and "has seen no real image" in card
    assert "Apache" in (folder / "docs" / "license.txt").read_text(encoding="utf-8")


def test_its_weights_are_those_it_names_and_fit_the_networks():
    model = open_model("brain", "register")
    for name, digest in model.metadata["files"].items():
        assert file_hash(model.folder / Path(name)) == digest
    networks = model.make_method().networks(model)
    assert set(networks) == {"structures"}


def test_it_gives_an_invertible_transform():
    """On a body unlike its training data it aligns nothing, but must neither fold nor fail."""
    from MedDeepLib.core import from_mapping
    from MedDeepLib.data.sources.image import Image

    torch.set_num_threads(1)
    model = open_model("brain", "register")
    method = model.make_method()
    options = from_mapping(method.ApplyParameters, {"steps": 0, "matrix_steps": 0})
    context = Context(torch.device("cpu"))
    images = [Image(draw(grid).astype("float32")[None], GRIDS[grid][0]) for grid in ("plain", "left-handed")]
    pair = Pair(*images, SpatialTransform())
    figures = method.predictor(model, context, options).predict(pair, context).summary()
    assert figures["folded_percent"] == 0 and figures["inverse_error_mm"] < 0.5
