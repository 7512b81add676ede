"""Classification of pictures and volumes: channels, grids, regions and heat maps, from the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest
from ClassifyModuleLib.task import TASK
from ClassifyModuleLib.worker.grid import dimensions_of, extent_of, grid_of
from ClassifyModuleLib.worker.images import on_grid
from MedDeepLib.data.dataset import load_dataset
from MedDeepLib.data.slots import Source
from MedDeepLib.data.sources.image import read_image, write_image
from MedDeepLib.errors import UserError
from toy_classes import FAST, write_volumes

QUICK = ("--set", "steps=2", "--set", "network=alexnet", "--set", "features=4", "--set", "batch_size=2")
SIDEWAYS = np.array([[0, 0, 2.0, -20], [-2.0, 0, 0, 40], [0, 2.0, 0, 5], [0, 0, 0, 1]])


def test_a_heat_map_lies_on_the_image(train, classify, tmp_path):
    dataset = write_volumes(tmp_path, count=8, size=16, affine=SIDEWAYS)
    code, shown, errors = train(dataset, "cnn", tmp_path / "run", *QUICK)
    assert code == 0 and "3-dimensional image" in shown, errors
    image = tmp_path / "0.nrrd"
    for evidence in ("gradcam", "occlusion"):
        outputs = ("--output", tmp_path / "a.json", "--output-heatmap", tmp_path / f"{evidence}.nrrd")
        settings = ("--set", f"evidence={evidence}", "--set", "explained=sick")
        code, _, errors = classify(
            "apply", "--model", tmp_path / "run", "--input", image, *outputs, *settings, *FAST[:4]
        )
        assert code == 0, errors
        found, own = read_image(tmp_path / f"{evidence}.nrrd"), read_image(image)
        assert found.shape == own.shape and np.allclose(found.affine, own.affine)
        assert 0 <= found.array.min() <= found.array.max() <= 1.001
    code, _, errors = classify("apply", "--model", tmp_path / "run", "--input", image, *outputs,
                               "--set", "explained=tall", *FAST[:4])  # fmt: skip
    assert code == 2 and "does not know the class 'tall'" in errors


def write_pictures(folder, mode: str):
    from PIL import Image

    random = np.random.default_rng(4)
    for number in range(6):
        file = folder / "cohort" / ("light" if number % 2 else "dark") / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        values = random.integers(0, 120, (40, 60, 3)) + 100 * (number % 2)
        Image.fromarray(values.astype(np.uint8)).convert(mode).save(file)
    return folder / "cohort"


def test_colours_where_grey_was_trained_are_refused(train, classify, tmp_path):
    pytest.importorskip("PIL")
    dataset = write_pictures(tmp_path, "L")
    code, shown, errors = train(dataset, "cnn", tmp_path / "run", *QUICK)
    assert code == 0 and "2-dimensional" in shown and "each image fitted into it" in shown, errors
    (tmp_path / "colour").mkdir()
    picture = next(write_pictures(tmp_path / "colour", "RGB").rglob("*.png"))
    inputs = ("--input", picture, "--output", tmp_path / "answer.json", *FAST[:4])
    code, _, errors = classify("apply", "--model", tmp_path / "run", *inputs)
    assert code == 2 and "3 channels" in errors and "grey" in errors, errors
    picture = next(dataset.rglob("*.png"))
    code, _, errors = classify("apply", "--model", tmp_path / "run", "--input", picture, *inputs[2:])
    assert code == 0, errors
    assert json.loads((tmp_path / "answer.json").read_text(encoding="utf-8"))["called"] in ("dark", "light")


def plan(**more):
    return {
        "size": [16, 16, 16], "spacing": [2.0, 2.0, 2.0], "fit": False, "dimensions": "3", "channels": ["image"],
        "normalization": "zscore", "window": [0, 1], "region": False, "margin": 4.0,
    } | more  # fmt: skip


def test_the_surroundings_of_a_region_are_seen(tmp_path):
    array, labels = (
        np.random.default_rng(0).normal(size=(40, 40, 40)).astype(np.float32),
        np.zeros((40, 40, 40), np.uint8),
    )
    array[30:34, 10:14, 20:24] += 20
    labels[30:34, 10:14, 20:24] = 1
    write_image(tmp_path / "image.nrrd", array, SIDEWAYS)
    write_image(tmp_path / "label.nrrd", labels, SIDEWAYS)
    inputs = {
        "image": Source("image", (tmp_path / "image.nrrd",)),
        "region": Source("labels", (tmp_path / "label.nrrd",)),
    }
    tensor, grid, _ = on_grid(inputs, plan(region=True, normalization="window", window=[-30, 30]))
    middle = tensor[0, 6:10, 6:10, 6:10].mean()
    assert float(middle) > 5 * float(tensor.abs().mean()), "the region is in the middle of what the network sees"
    seen = grid.to_native(tensor[0].numpy())
    assert np.allclose(seen[30:34, 10:14, 20:24].mean(), float(tensor[0, 6:10, 6:10, 6:10].mean()), rtol=0.3)
    write_image(tmp_path / "label.nrrd", 0 * labels, SIDEWAYS)
    with pytest.raises(UserError, match="label.nrrd is empty"):
        on_grid(inputs, plan(region=True))


def test_the_grid_holds_the_largest_image_at_one_spacing(tmp_path):
    dataset = load_dataset(write_volumes(tmp_path, count=4, size=20, affine=SIDEWAYS), TASK)
    extents = [extent_of(case, 10.0) for case in dataset.training]
    assert dimensions_of(extents, "automatic") == "3"
    grid = grid_of(extents, "3", (0, 0, 0), (0.0, 0.0, 0.0), "cpu", 32)
    assert grid["size"] == [32, 32, 32] and np.allclose(np.multiply(grid["size"], grid["spacing"]), 40)
    with pytest.raises(UserError, match="set dimensions to 2.5 or 3"):
        dimensions_of(extents, "2")


def test_a_single_slice_along_any_axis(tmp_path):
    array = np.arange(20 * 30, dtype=np.float32).reshape(20, 1, 30)
    write_image(tmp_path / "coronal.nrrd", array, np.diag([1.0, 5.0, 2.0, 1.0]))
    inputs = {"image": Source("image", (tmp_path / "coronal.nrrd",))}
    flat = plan(dimensions="2", size=[20, 30, 1], spacing=[1.0, 2.0, 0.0], normalization="window", window=[-1, 700])
    tensor, grid, _ = on_grid(inputs, flat)
    assert tuple(tensor.shape) == (1, 20, 30, 1)
    assert (np.diff(tensor[0, :, :, 0].numpy(), axis=1) > 0).all()
    assert np.allclose(grid.to_native(tensor[0].numpy()).shape, (20, 1, 30))
    assert np.corrcoef(grid.to_native(tensor[0].numpy()).ravel(), array.ravel())[0, 1] > 0.999
