"""The script: the files it writes, and the input it refuses with one sentence."""

from __future__ import annotations

import csv
import json

import itk
import numpy as np
import pytest
from MedDeepLib.data.sources.image import read_image, write_image
from MedDeepLib.data.sources.labels import Segment, read_segmentation, write_segmentation
from RegisterModuleLib.worker.transforms import SpatialTransform, write_transform
from toy_pairs import GRIDS, STRUCTURES, draw, inner_points, matrix_of, moved_by, structures, write

TRUTH = matrix_of((5, -4, 8), (6, -5, 4))


def to_body(points: np.ndarray) -> np.ndarray:
    return moved_by(np.linalg.inv(TRUTH), points)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A fixed and a moving image, and the moving one's segmentation."""
    folder = tmp_path_factory.mktemp("pair")
    write(folder / "fixed.nrrd", "oblique")
    write(folder / "moving.nii.gz", "left-handed", to_body)
    labels = draw("left-handed", to_body, structures)
    segments = [Segment(value, name, (0.2 * value, 0.5, 0.5)) for value, name in STRUCTURES.items()]
    write_segmentation(folder / "moving.seg.nrrd", labels, GRIDS["left-handed"][0], segments)
    return folder


def test_apply_writes_everything_that_is_asked_for(register, files, tmp_path):
    outputs = {
        "volume": "warped.nrrd", "inverse": "inverse.tfm", "labels": "labels.seg.nrrd", "jacobian": "jacobian.nrrd",
        "difference": "difference.nrrd", "checkerboard": "checkerboard.nrrd",
    }  # fmt: skip
    flags = [part for name, file in outputs.items() for part in (f"--output-{name}", tmp_path / file)]
    code, printed, errors = register(
        *("apply", "--model", "global", "--fixed", files / "fixed.nrrd", "--moving", files / "moving.nii.gz"),
        *("--labels", files / "moving.seg.nrrd", "--output-transform", tmp_path / "t.h5", "--device", "cpu"),
        *("--set", "transform=rigid", "--set", "similarity=correlation"),
        *flags,
    )
    assert code == 0, errors
    for file in ("t.h5", *outputs.values()):
        assert f"Wrote {tmp_path / file}" in printed
    assert "Similarity 0." in printed and "nothing folds" in printed
    (transform,) = itk.transformread(str(tmp_path / "t.h5"))
    flip = np.array([-1, -1, 1.0])
    points = inner_points(50)
    found = np.array([transform.TransformPoint((point * flip).tolist()) for point in points]) * flip
    assert np.linalg.norm(found - moved_by(TRUTH, points), axis=1).max() < 0.6
    back = itk.transformread(str(tmp_path / "inverse.tfm"))[0]
    there = np.array([back.TransformPoint((point * flip).tolist()) for point in found]) * flip
    assert np.linalg.norm(there - points, axis=1).max() < 0.01

    fixed, warped = read_image(files / "fixed.nrrd"), read_image(tmp_path / "warped.nrrd")
    assert warped.shape == fixed.shape and np.allclose(warped.affine, fixed.affine, atol=1e-4)
    assert np.corrcoef(fixed.array.ravel(), warped.array.ravel())[0, 1] > 0.95
    labels, affine, segments = read_segmentation(tmp_path / "labels.seg.nrrd")
    truth = draw("oblique", values=structures)
    assert [segment.name for segment in segments] == list(STRUCTURES.values())
    assert 2 * ((labels == truth) & (truth > 0)).sum() / ((labels > 0).sum() + (truth > 0).sum()) > 0.85
    assert read_image(tmp_path / "jacobian.nrrd").array == pytest.approx(1, abs=1e-3)
    assert np.abs(read_image(tmp_path / "difference.nrrd").array).mean() < 0.1
    assert read_image(tmp_path / "checkerboard.nrrd").shape == fixed.shape


def test_an_initial_transform_is_part_of_the_result(register, files, tmp_path):
    first = ("apply", "--model", "global", "--fixed", files / "fixed.nrrd", "--moving", files / "moving.nii.gz")
    options = ("--device", "cpu", "--set", "similarity=correlation")
    code, _, errors = register(*first, "--output-transform", tmp_path / "a.tfm", *options)
    assert code == 0, errors
    code, _, errors = register(
        *first,
        "--initial",
        tmp_path / "a.tfm",
        "--output-transform",
        tmp_path / "b.h5",
        *options,
        "--set",
        "matrix_steps=0",
    )
    assert code == 0, errors
    one, two = (itk.transformread(str(tmp_path / name))[0] for name in ("a.tfm", "b.h5"))
    for point in ([0.0, 0, 0], [20.0, -10, 5]):
        assert list(two.TransformPoint(point)) == pytest.approx(list(one.TransformPoint(point)), abs=1e-4)


def test_evaluate_writes_overlap_landmarks_and_the_known_truth(register, files, tmp_path):
    from RegisterModuleLib.worker.transforms import SpatialTransform, write_transform

    write(tmp_path / "fixed_label.nrrd", "oblique", values=structures)
    write_transform(tmp_path / "truth.h5", SpatialTransform((TRUTH,)))
    points = inner_points(6)
    for name, places in (("fixed", points), ("moving", moved_by(TRUTH, points))):
        rows = "".join(f"p{n},{x},{y},{z}\n" for n, (x, y, z) in enumerate(places))
        (tmp_path / f"{name}.csv").write_text("name,r,a,s\n" + rows, encoding="utf-8")
    pair = {
        "fixed": str(files / "fixed.nrrd"), "moving": str(files / "moving.nii.gz"), "fixed_label": "fixed_label.nrrd",
        "moving_label": str(files / "moving.seg.nrrd"), "fixed_landmarks": "fixed.csv",
        "moving_landmarks": "moving.csv", "transform": "truth.h5", "patient": "A",
    }  # fmt: skip
    (tmp_path / "data.json").write_text(json.dumps({"name": "pairs", "test": [pair]}), encoding="utf-8")
    code, _, errors = register(
        *("evaluate", "--model", "global", "--dataset", tmp_path / "data.json", "--output", tmp_path / "report.csv"),
        *("--device", "cpu", "--set", "similarity=correlation"),
    )
    assert code == 0, errors
    header, *lines = (tmp_path / "report.csv").read_text(encoding="utf-8").splitlines()
    rows = [dict(zip(header.split(","), line.split(","), strict=True)) for line in lines]
    whole = next(row for row in rows if row["structure"] == "whole image")
    assert float(whole["tre_before_mm"]) > 5 and float(whole["tre_mm"]) < 0.6
    assert float(whole["field_error_mm"]) < 0.6 and float(whole["folded_percent"]) == 0
    scored = {row["structure"]: row for row in rows if row["dice"]}
    assert set(scored) == set(STRUCTURES.values())
    assert all(float(row["dice"]) > 0.8 and float(row["dice"]) > float(row["dice_before"]) for row in scored.values())


def test_the_options_of_a_model_are_those_of_its_method(register):
    code, printed, _ = register("methods", "brain")
    assert code == 0 and "matrix_steps" in printed and "smoothness" in printed
    code, _, errors = register("methods", "brane")
    assert code == 2 and "There is no method or model 'brane'" in errors


def test_methods_are_explained(register):
    code, printed, _ = register("methods", "morph")
    assert code == 0 and "field_spacing" in printed and "label_weight" in printed
    code, printed, _ = register("apply", "--help")
    assert code == 0 and "--output-transform" in printed and "elastix" in printed


# --- bad input --------------------------------------------------------------------------------------------


def test_one_image_for_both(refused, files, tmp_path):
    assert "are the same" in refused(files / "fixed.nrrd", files / "fixed.nrrd")
    copy = tmp_path / "copy.nrrd"
    copy.write_bytes((files / "fixed.nrrd").read_bytes())
    assert "identical" in refused(files / "fixed.nrrd", copy)


def test_a_slice_with_a_volume(refused, files, tmp_path):
    write_image(tmp_path / "slice.nrrd", draw("plain")[:, :, 18:19].astype(np.float32), GRIDS["plain"][0])
    assert "single slice" in refused(files / "fixed.nrrd", tmp_path / "slice.nrrd")


def test_different_numbers_of_channels(refused, files, tmp_path):
    two = np.stack([draw("plain"), 1 - draw("plain")]).astype(np.float32)
    write_image(tmp_path / "two.nrrd", two, GRIDS["plain"][0])
    assert "has 1 channel and" in refused(files / "fixed.nrrd", tmp_path / "two.nrrd")


def test_no_overlap(refused, tmp_path, files):
    affine = GRIDS["plain"][0].copy()
    affine[:3, 3] += 500
    write_image(tmp_path / "far.nrrd", draw("plain").astype(np.float32), affine)
    assert "do not overlap in space" in refused(files / "fixed.nrrd", tmp_path / "far.nrrd")


@pytest.mark.parametrize("value", [0, 7])
def test_an_image_without_contents(refused, files, tmp_path, value):
    write_image(tmp_path / "flat.nrrd", np.full((20, 20, 20), value, np.float32), np.eye(4))
    assert f"has the value {value} everywhere" in refused(files / "fixed.nrrd", tmp_path / "flat.nrrd")
    assert f"has the value {value} everywhere" in refused(tmp_path / "flat.nrrd", files / "moving.nii.gz")


def test_labels_that_lie_elsewhere(refused, files, tmp_path):
    affine = GRIDS["left-handed"][0].copy()
    affine[:3, 3] += 300
    write_image(tmp_path / "labels.nrrd", draw("left-handed", to_body, structures), affine)
    options = ("--labels", tmp_path / "labels.nrrd", "--output-labels", tmp_path / "out.nrrd")
    assert "on another grid than the moving image" in refused(files / "fixed.nrrd", files / "moving.nii.gz", *options)
    assert "needs the moving image's label map" in refused(files / "fixed.nrrd", files / "moving.nii.gz", *options[2:])


def test_labels_of_another_grid_in_the_right_place_are_moved(register, files, tmp_path):
    write(tmp_path / "labels.nrrd", "anisotropic", to_body, structures)
    code, _, errors = register(
        *("apply", "--model", "global", "--fixed", files / "fixed.nrrd", "--moving", files / "moving.nii.gz"),
        *("--labels", tmp_path / "labels.nrrd", "--output-labels", tmp_path / "out.nrrd", "--device", "cpu"),
        *("--output-transform", tmp_path / "t.h5", "--set", "similarity=correlation"),
    )
    assert code == 0, errors
    labels, truth = read_image(tmp_path / "out.nrrd").array[0], draw("oblique", values=structures)
    assert 2 * ((labels == truth) & (truth > 0)).sum() / ((labels > 0).sum() + (truth > 0).sum()) > 0.75


def test_what_is_missing_or_of_another_kind(refused, files, tmp_path):
    assert "does not exist" in refused(files / "fixed.nrrd", tmp_path / "none.nrrd")
    assert "does not exist" in refused(files / "fixed.nrrd", files / "moving.nii.gz", "--initial", tmp_path / "none.h5")
    assert "There is no model 'brane'" in refused(files / "fixed.nrrd", files / "moving.nii.gz", model="brane")


@pytest.mark.parametrize(
    ("output", "name"),
    [("volume", "v.jpg"), ("inverse", "i.nrrd"), ("jacobian", "j.h5"), ("labels", "l.txt")],
)
def test_endings_are_looked_at_before_anything_is_done(refused, files, tmp_path, output, name):
    labels = ("--labels", files / "moving.seg.nrrd") if output == "labels" else ()
    sentence = refused(files / "fixed.nrrd", files / "moving.nii.gz", f"--output-{output}", tmp_path / name, *labels)
    assert name in sentence and f"--output-{output} must end in" in sentence


def test_labels_that_nobody_wants_moved(refused, files):
    sentence = refused(files / "fixed.nrrd", files / "moving.nii.gz", "--labels", files / "moving.seg.nrrd")
    assert "no effect without --output-labels" in sentence


def test_an_initial_transform_that_flattens_space(refused, files, tmp_path):
    write_transform(tmp_path / "flat.tfm", SpatialTransform((np.diag([1.0, 1.0, 0.0, 1.0]),)))
    sentence = refused(files / "fixed.nrrd", files / "moving.nii.gz", "--initial", tmp_path / "flat.tfm")
    assert "flat.tfm flattens space" in sentence


def test_elastix_where_it_is_not_installed(refused, files, monkeypatch):
    from RegisterModuleLib.worker import elastix_job

    monkeypatch.setattr(elastix_job, "elastix_version", lambda: "")
    assert "needs the Python package itk-elastix" in refused(
        files / "fixed.nrrd", files / "moving.nii.gz", model="elastix"
    )


def test_elastix_is_not_trained(register, files, tmp_path):
    code, _, errors = register(
        *("train", "--dataset", tmp_path, "--method", "elastix", "--output", tmp_path / "run", "--device", "cpu")
    )
    assert code == 2 and "is not trained" in errors


def test_elastix_finds_the_matrix(register, files, tmp_path):
    code, _, errors = register(
        *("apply", "--model", "elastix", "--fixed", files / "fixed.nrrd", "--moving", files / "moving.nii.gz"),
        *("--output-transform", tmp_path / "t.h5", "--device", "cpu"),
        *("--set", "transform=rigid", "--set", "iterations=100", "--set", "similarity=mean-square"),
    )
    assert code == 0, errors
    (transform,) = itk.transformread(str(tmp_path / "t.h5"))
    flip = np.array([-1, -1, 1.0])
    points = inner_points(50)
    found = np.array([transform.TransformPoint((point * flip).tolist()) for point in points]) * flip
    assert np.linalg.norm(found - moved_by(TRUTH, points), axis=1).mean() < 1.0


def test_a_cohort_of_pairs(register, files, tmp_path, monkeypatch):
    monkeypatch.setenv("MEDDEEP_RUNS", str(tmp_path / "runs"))
    write_transform(tmp_path / "start.tfm", SpatialTransform((TRUTH,)))
    names = [files / "fixed.nrrd", files / "moving.nii.gz", tmp_path / "start.tfm", files / "moving.seg.nrrd"]
    rows = ["case,fixed,moving,initial,labels", "a,{},{},{},{}".format(*names), "b,{},gone.nrrd,,".format(*names)]
    (tmp_path / "list.csv").write_text("\n".join(rows), encoding="utf-8")
    arguments = ("apply", "--model", "global", "--inputs", tmp_path / "list.csv", "--output-dir", tmp_path / "out")
    options = ("--device", "cpu", "--threads", "1", "--set", "similarity=correlation", "--set", "matrix_steps=0")
    code, printed, errors = register(*arguments, *options)
    assert code == 2 and "1 of 2 cases are done, 1 failed" in printed, errors
    with (tmp_path / "out" / "summary.csv").open(newline="", encoding="utf-8") as file:
        first, second = csv.DictReader(file)
    assert first["state"] == "done" and float(first["similarity_after"]) > 0.9 and float(first["folded_percent"]) == 0
    assert first["image"].endswith(" mm") and first["output"] == str(tmp_path / "out" / "a.h5")
    assert second["state"] == "failed" and "gone.nrrd" in second["reason"]
    (transform,) = itk.transformread(str(tmp_path / "out" / "a.h5"))
    assert transform is not None
    labels, _, segments = read_segmentation(tmp_path / "out" / "a.labels.seg.nrrd")
    truth = draw("oblique", values=structures)
    assert [segment.name for segment in segments] == list(STRUCTURES.values())
    assert 2 * ((labels == truth) & (truth > 0)).sum() / ((labels > 0).sum() + (truth > 0).sum()) > 0.85

    # Finished cases are not repeated unless an input has changed; edited results are kept.
    before = (tmp_path / "out" / "a.h5").stat().st_mtime_ns
    code, printed, _ = register(*arguments, *options)
    assert "1 of 2 cases are done (1 of them was before)" in printed
    assert (tmp_path / "out" / "a.h5").stat().st_mtime_ns == before
    write_transform(tmp_path / "start.tfm", SpatialTransform((matrix_of((0, 0, 0), (1, 0, 0)) @ TRUTH,)))
    (tmp_path / "out" / "a.h5").write_bytes((tmp_path / "start.tfm").read_bytes())
    _, printed, errors = register(*arguments, *options)
    assert "1 of 2 cases are done, 1 failed" in printed
    assert (tmp_path / "out" / "a.kept1.h5").read_bytes() == (tmp_path / "start.tfm").read_bytes()
    assert "it was renamed to a.kept1.h5" in printed + errors
