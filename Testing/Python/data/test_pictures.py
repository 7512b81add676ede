"""Pictures are images of one slice: the same pixels as another reader's, at the place that Slicer gives them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from MedDeepLib.core.registry import task
from MedDeepLib.data.dataset import load_dataset
from MedDeepLib.data.formats.pictures import channel_count
from MedDeepLib.data.sources.image import read_image, read_image_info
from MedDeepLib.errors import UserError
from PIL import Image

SHAPE = (24, 18)  # width, height


def pixels(channels: int, dtype=np.uint8) -> np.ndarray:
    """Random pixels (rows, columns[, channels])."""
    random = np.random.default_rng(channels).integers(0, np.iinfo(dtype).max, (*SHAPE[::-1], channels))
    return random.astype(dtype)[..., 0] if channels == 1 else random.astype(dtype)


@pytest.fixture
def saved(tmp_path):
    def save(name: str, array: np.ndarray, palette: bool = False, **options):
        picture = Image.fromarray(array)
        picture = picture.convert("P") if palette else picture
        picture.save(tmp_path / name, **options)
        return tmp_path / name

    return save


@pytest.mark.parametrize("channels, dtype", [(1, np.uint8), (1, np.uint16), (3, np.uint8)])
def test_png(saved, channels, dtype):
    array = pixels(channels, dtype)
    path = saved("a.png", array)
    image = read_image(path)
    assert image.array.shape == (channels, *SHAPE, 1) and image.array.dtype == dtype
    np.testing.assert_array_equal(image.array[..., 0].T.squeeze(), array)
    np.testing.assert_allclose(image.affine, np.diag([-1, -1, 1, 1]))
    info = read_image_info(path)
    assert (info.shape, info.channels, channel_count(path)) == ((*SHAPE, 1), channels, channels)


@pytest.mark.parametrize("channels", [2, 4])
def test_transparency_is_no_channel(saved, channels):
    array = pixels(channels)
    image = read_image(saved("a.png", array))
    assert len(image.array) == channels - 1
    np.testing.assert_array_equal(image.array[..., 0].T.squeeze(), array[..., : channels - 1].squeeze())


def test_a_palette_becomes_colours(saved):
    path = saved("a.png", pixels(3), palette=True)
    expected = np.array(Image.open(path).convert("RGB"))
    np.testing.assert_array_equal(read_image(path).array[..., 0].T, expected)
    assert channel_count(path) == 3


@pytest.mark.parametrize("name", ["a.jpg", "A.JPEG"])
@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg(saved, name, channels):
    path = saved(name, pixels(channels), format="jpeg", subsampling=0)
    found = read_image(path).array[..., 0].T.squeeze().astype(int)
    assert np.abs(found - np.array(Image.open(path)).astype(int)).max() <= 3  # decoders round differently
    assert channel_count(path) == channels


def test_its_resolution_is_its_voxel_size(saved):
    """As in Slicer, which reads pictures with ITK too: columns to the left, rows to the back."""
    image = read_image(saved("a.jpg", pixels(1), dpi=(254, 254)))
    np.testing.assert_allclose(image.affine, np.diag([-0.1, -0.1, 1, 1]), atol=1e-6)


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
@pytest.mark.parametrize("kept", [0.05, 0.5, 0.98])
def test_a_truncated_picture_is_refused(saved, name, kept):
    path = saved(name, np.random.default_rng(0).integers(0, 255, (200, 200, 3)).astype(np.uint8))
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(UserError, match="damaged or incomplete"):
        read_image(path)


@pytest.mark.parametrize("content", [b"\xff\xd8 whatever", b"\x89PNG\r\n\x1a\n", b"text"])
@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_what_is_no_picture(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match="damaged or incomplete"):
        read_image(tmp_path / name)


def test_colours_of_a_printer_are_refused(tmp_path):
    Image.new("CMYK", SHAPE).save(tmp_path / "a.jpg")
    with pytest.raises(UserError, match="four colours of a printer"):
        read_image(tmp_path / "a.jpg")


def test_a_dataset_of_pictures_has_their_colours_as_channels(saved, tmp_path):
    for number in range(2):
        saved(f"{number}.png", pixels(3))
    saved("grey.png", pixels(1))
    file, labels = tmp_path / "list.json", {"1": "cell"}
    entries = [{"image": "0.png"}, {"image": "1.png"}]
    file.write_text(json.dumps({"training": entries, "labels": labels}), encoding="utf-8")
    assert load_dataset(file, task("segment")).channels == ("red", "green", "blue")
    file.write_text(json.dumps({"training": [*entries, {"image": "grey.png"}], "labels": labels}), encoding="utf-8")
    with pytest.raises(UserError, match=r"grey has 1 image, but the dataset has 3 channels \(red, green, blue\)"):
        load_dataset(file, task("segment"))
