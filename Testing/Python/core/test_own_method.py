"""A user-written method in its own file works like the built-in ones: script, worker, model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from MedDeepLib.bundles.model import open_model
from MedDeepLib.data.sources.image import read_image, write_image
from scipy import ndimage

FOLDER = Path(__file__).resolve().parents[1] / "own_methods"


def smooth_image(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal((40, 36, 32))
    return (1000 * ndimage.gaussian_filter(noise, 4)).astype(np.float32)


@pytest.fixture
def healthy(tmp_path) -> Path:
    """A dataset of images without labels."""
    for number in range(4):
        write_image(tmp_path / f"healthy{number}.nrrd", smooth_image(number), np.diag([1.0, 1.0, 2.0, 1.0]))
    content = {"name": "healthy", "training": [{"image": f"healthy{n}.nrrd"} for n in range(4)]}
    (tmp_path / "healthy.json").write_text(json.dumps(content), encoding="utf-8")
    return tmp_path / "healthy.json"


@pytest.mark.slow
def test_a_method_of_ones_own_from_the_script(healthy, segment, tmp_path, monkeypatch):
    monkeypatch.setenv("MEDDEEP_METHODS", str(FOLDER))
    assert len((FOLDER / "anomaly.py").read_text(encoding="utf-8").splitlines()) < 110
    code, shown, _ = segment("methods", "anomaly")
    assert code == 0 and "codes" in shown and "compressed" in shown

    run = tmp_path / "run"
    arguments = ("--dataset", healthy, "--method", "anomaly", "--output", run, "--device", "cpu")
    code, shown, errors = segment("train", *arguments, "--set", "steps=250")
    assert code == 0, errors
    assert "Needs 1 input image (image). Trained" in open_model(run, "segment").summary()

    image = smooth_image(77)
    rough = np.random.default_rng(1).standard_normal((8, 8, 8)) * 3 * image.std()
    image[16:24, 12:20, 8:16] += rough.astype(np.float32)  # smoother than anything in its training data
    write_image(tmp_path / "patient.nrrd", image, np.diag([1.0, 1.0, 2.0, 1.0]))
    map_file = tmp_path / "map.nrrd"
    code, _, errors = segment("apply", "--model", run, "--input", tmp_path / "patient.nrrd", "--output", map_file)
    assert code == 0, errors
    errors_found = read_image(map_file)
    assert errors_found.array.shape[1:] == image.shape and np.allclose(errors_found.affine, np.diag([1, 1, 2, 1]))
    inside = errors_found.array[0, 16:24, 12:20, 8:16].mean()
    assert inside > 10 * np.median(errors_found.array[0])

    code, _, errors = segment("evaluate", "--model", run, "--dataset", healthy, "--output", tmp_path / "report.csv")
    assert code == 2 and "has no test cases with labels" in errors


def test_what_needs_labels_says_so_of_images_alone(healthy, segment, tmp_path):
    code, _, errors = segment("train", "--dataset", healthy, "--method", "unet", "--output", tmp_path / "run")
    assert code == 2 and "has images but no labels" in errors
    assert not (tmp_path / "run").exists()
