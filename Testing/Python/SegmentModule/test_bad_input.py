"""For any bad input, the command line prints one plain sentence, writes nothing and returns 2."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
from MedDeepLib.data.sources.image import write_image
from MedDeepLib.data.sources.labels import read_segmentation
from sample_images import dicom_slices, save_dicom
from toy_cases import toy_affine, toy_image


def image(path: Path, array=None, affine=None) -> Path:
    write_image(path, toy_image(9)[0] if array is None else array, toy_affine() if affine is None else affine)
    return path


def nifti(path: Path, array: np.ndarray, **header) -> Path:
    """A NIfTI file as other programs may write it; ``header`` overwrites fields."""
    file = nibabel.Nifti1Image(array, np.eye(4))
    for key, value in header.items():
        file.header[key] = value
    nibabel.save(file, path)
    return path


def cut(path: Path, share: float = 0.6) -> Path:
    os.truncate(path, int(path.stat().st_size * share))
    return path


# --- images ----------------------------------------------------------------------------------------------------------


def test_missing_file(apply, tmp_path):
    assert "gone.nrrd does not exist" in apply(tmp_path / "gone.nrrd")


@pytest.mark.parametrize("name", ["a.nrrd", "a.nii", "a.nii.gz", "a.mha"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.6, 0.99])
def test_truncated_file(apply, tmp_path, name, share):
    assert "a.n" in apply(cut(image(tmp_path / name), share)) or name.endswith("mha")


@pytest.mark.parametrize("name", ["a.nrrd", "a.nii", "a.nii.gz", "a.mha"])
def test_corrupt_file(apply, tmp_path, name):
    (tmp_path / name).write_bytes(np.random.default_rng(0).bytes(5000))
    assert name in apply(tmp_path / name)


def test_corrupt_compressed_voxels(apply, tmp_path):
    file = image(tmp_path / "a.nii.gz")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(bytes(data))
    assert "damaged" in apply(file)


def test_a_file_of_another_kind(apply, tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    assert "a.png" in apply(tmp_path / "a.png")


def test_dicom_folder_with_a_truncated_slice(apply, tmp_path):
    voxels = (toy_image(9)[0] + 100).astype(np.int16)
    files = save_dicom(dicom_slices(voxels, toy_affine()), tmp_path / "series")
    cut(files[3], 0.7)
    apply(tmp_path / "series")


def test_dicom_folder_with_a_missing_slice(apply, tmp_path):
    voxels = (toy_image(9)[0] + 100).astype(np.int16)
    slices = dicom_slices(voxels, toy_affine())
    save_dicom(slices[:7] + slices[8:], tmp_path / "series")
    assert "missing" in apply(tmp_path / "series") or "slice" in apply(tmp_path / "series")


def test_a_folder_without_images(apply, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "empty" in apply(tmp_path / "empty")


def test_2d_where_3d_is_needed(apply, tmp_path):
    random = np.random.default_rng(0).normal(0, 1, (40, 40, 1)).astype(np.float32)
    assert "needs a three-dimensional image" in apply(image(tmp_path / "slice.nrrd", random))
    apply(nifti(tmp_path / "flat.nii", random[..., 0]))


def test_4d(apply, tmp_path):
    random = np.random.default_rng(0).normal(0, 1, (20, 20, 20, 5)).astype(np.float32)
    apply(nifti(tmp_path / "series.nii", random))


def test_empty_volume(apply, tmp_path):
    header = nibabel.Nifti1Header()
    header.set_data_shape((0, 10, 10))
    (tmp_path / "none.nii").write_bytes(header.binaryblock + b"\0" * 4)
    assert "no voxels" in apply(tmp_path / "none.nii")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["a.nrrd", "a.nii.gz"])
def test_voxels_that_are_no_numbers(apply, tmp_path, value, name):
    voxels = toy_image(9)[0]
    voxels[3, 4, 5] = value
    assert "1 voxel" in apply(image(tmp_path / name, voxels))


def test_an_image_without_contrast(apply, tmp_path):
    assert "has the value 7 everywhere" in apply(image(tmp_path / "a.nrrd", np.full((40, 40, 40), 7.0)))


def test_zero_spacing(apply, tmp_path):
    assert "spacing" in apply(nifti(tmp_path / "a.nii", toy_image(9)[0], pixdim=[1, 2, 0, 2, 0, 0, 0, 0]))


def test_wrong_number_of_channels(apply, tmp_path):
    one = image(tmp_path / "a.nrrd")
    assert "needs 1 input channel" in apply(image(tmp_path / "two.nrrd", np.stack([toy_image(1)[0]] * 2)))
    text = apply(one, options=("--input", one, one))
    assert "needs 1 input channel, but --input names 2" in text


def test_an_unknown_ending_of_the_output(apply, tmp_path):
    assert "must end in one of .seg.nrrd" in apply(image(tmp_path / "a.nrrd"), output=tmp_path / "out.jpg")


def test_an_output_that_cannot_be_written(apply, tmp_path):
    (tmp_path / "file").touch()
    one = image(tmp_path / "a.nrrd")
    assert "cannot be written" in apply(one, output=tmp_path / "file" / "out.seg.nrrd")
    (tmp_path / "folder.seg.nrrd").mkdir()
    apply(one, output=tmp_path / ("x" * 300 + ".seg.nrrd"))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(apply, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    assert "cannot be written" in apply(image(tmp_path / "a.nrrd"), output=tmp_path / "locked" / "out.seg.nrrd")


def test_the_disk_is_full_when_the_result_is_written(apply, tmp_path, monkeypatch):
    from MedDeepLib.data.formats import nrrd_file

    def full(path, *_):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    one = image(tmp_path / "a.nrrd")
    monkeypatch.setattr(nrrd_file, "write_labels", full)
    assert "No space left on device" in apply(one)


def test_the_input_as_output(apply, tmp_path):
    one = image(tmp_path / "a.nrrd")
    assert "would be overwritten" in apply(one, output=one)


# --- models and devices ----------------------------------------------------------------------------------------------


def test_a_model_of_another_task(apply, toy_run, tmp_path):
    model = shutil.copytree(toy_run / "model", tmp_path / "model")
    file = model / "configs" / "metadata.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    content["meddeep"]["task"] = "register"
    file.write_text(json.dumps(content), encoding="utf-8")
    assert "is for the task 'register', not for 'segment'" in apply(image(tmp_path / "a.nrrd"), model=model)


def test_no_model(apply, tmp_path):
    assert "nothing" in apply(image(tmp_path / "a.nrrd"), model=tmp_path / "nothing")


def test_a_damaged_model(apply, toy_run, tmp_path):
    model = shutil.copytree(toy_run / "model", tmp_path / "model")
    cut(model / "models" / "model.pt")
    assert "the file is damaged" in apply(image(tmp_path / "a.nrrd"), model=model)


def test_a_device_that_does_not_exist(apply, train, toy_dataset, tmp_path):
    one = image(tmp_path / "a.nrrd")
    assert "This computer has no device 'cuda:7'" in apply(one, options=("--device", "cuda:7"))
    assert "'gpu' is not a device" in apply(one, options=("--device", "gpu"))
    assert "This computer has no device 'cuda:7'" in train(toy_dataset, "--device", "cuda:7")


@pytest.mark.parametrize("option", ["speed=high", "overlap=2", "overlap", "flips=yes"])
def test_options_that_do_not_exist_or_fit(apply, tmp_path, option):
    apply(image(tmp_path / "a.nrrd"), options=("--set", option))


def test_impossible_resources(apply, tmp_path):
    assert "number of threads" in apply(image(tmp_path / "a.nrrd"), options=("--threads", "-2"))


# --- valid input is accepted -----------------------------------------------------------------------------------------


def test_a_bad_case_does_not_cost_the_others(segment, toy_run, tmp_path):
    good, bad = image(tmp_path / "good.nrrd"), cut(image(tmp_path / "bad.nrrd"))
    code, out, errors = segment(
        "apply", "--model", toy_run, "--input", bad, good, "--output", tmp_path / "results", "--device", "cpu"
    )
    assert code == 2 and "bad.nrrd was skipped" in errors
    assert [file.name for file in (tmp_path / "results").iterdir()] == ["good.seg.nrrd"]
    labels, affine, segments = read_segmentation(tmp_path / "results" / "good.seg.nrrd")
    truth = toy_image(9)[1]
    assert [segment.name for segment in segments] == ["bright ball", "dark ball"]
    assert 2 * ((labels > 0) & (truth > 0)).sum() / ((labels > 0).sum() + (truth > 0).sum()) > 0.8


def test_gzip_with_padding_is_not_corrupt(segment, toy_run, tmp_path):
    file = image(tmp_path / "a.nii.gz")
    with gzip.open(file) as stream:
        content = stream.read()
    file.write_bytes(gzip.compress(content[:5000]) + gzip.compress(content[5000:]))
    code, _, errors = segment(
        "apply", "--model", toy_run, "--input", file, "--output", tmp_path / "o.seg.nrrd", "--device", "cpu"
    )
    assert code == 0, errors
