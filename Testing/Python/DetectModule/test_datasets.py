"""Whole datasets: what is said before a training, what is refused, and what an evaluation counts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from DetectModuleLib.findings import Finding
from DetectModuleLib.methods.retina import Retina, RetinaParameters
from DetectModuleLib.task import TASK
from DetectModuleLib.worker.prediction import FindingsPrediction
from DetectModuleLib.worker.references import Reading
from MedDeepLib.core import Context
from MedDeepLib.data.dataset import load_dataset
from MedDeepLib.data.sources.boxes import Box
from MedDeepLib.errors import UserError
from sample_images import rotation
from toy_lesions import LesionCase, lesion_case, roi_file, write_case


def make(folder: Path, cases, **changes) -> Path:
    entries = [write_case(folder, f"case{number}", case) for number, case in enumerate(cases)]
    file = folder / "list.json"
    file.write_text(json.dumps({"training": entries} | changes), encoding="utf-8")
    return file


def prepared(file: Path, folder: Path, **parameters):
    """What a method prepares of a dataset, and all that it says meanwhile."""
    said: list[str] = []

    def report(event: str, **fields) -> None:
        said.extend([fields["message"]] if "message" in fields else [])

    context = Context(torch.device("cpu"), 1, folder, load_dataset(file, TASK), report)
    method = Retina(RetinaParameters(**{"patch_size": (24, 24, 16), "validation_fraction": 0.0} | parameters))
    method.check(context.dataset)
    return method.configured(context).prepare(context), said


def balls(number: int, findings: int = 2, **changes) -> LesionCase:
    return lesion_case(np.random.default_rng(number), shape=(32, 32, 24), findings=findings, distractors=0, **changes)


def test_cases_without_findings_are_negative_and_counted(tmp_path):
    file = make(tmp_path, [balls(n, findings) for n, findings in enumerate((2, 0, 3))])
    listed = json.loads(file.read_text(encoding="utf-8"))
    del listed["training"][1]["findings"]
    file.write_text(json.dumps(listed), encoding="utf-8")
    found, said = prepared(file, tmp_path)
    assert [len(case.extras["boxes"]) for case in found.data.training] == [2, 0, 3]
    assert set(found.data.training[1].voxels) == {0}
    assert "1 of 3 training case names no findings and counts as negative." in said
    assert found.facts["sizes"]["findings"] == 5 and found.facts["plan"]["spacing"] == [1.5, 1.5, 2.0]


def test_cases_that_do_not_fit_into_memory_are_the_same(tmp_path):
    """A negative one too, whose arrays are empty."""
    file = make(tmp_path, [balls(n, findings) for n, findings in enumerate((2, 0))])
    within, _ = prepared(file, tmp_path)
    beyond, _ = prepared(file, tmp_path, cache_memory=1e-9)
    assert any((tmp_path / "cache").iterdir())
    for one, other in zip(within.data.training, beyond.data.training, strict=True):
        assert torch.equal(one["image"], other["image"])
        assert all(torch.equal(one.extras[name], other.extras[name]) for name in one.extras)


def test_a_dataset_without_any_finding_is_refused(tmp_path):
    file = make(tmp_path, [balls(1, 0)])
    with pytest.raises(UserError, match="are all empty: mark them"):
        prepared(file, tmp_path)
    file.write_text(json.dumps({"training": [{"image": "case0.nii.gz"}]}), encoding="utf-8")
    with pytest.raises(
        UserError, match='add boxes, points or a label map to some of its training cases, as "findings"'
    ):
        prepared(file, tmp_path)


def test_findings_larger_than_the_patch_are_said(tmp_path):
    _, said = prepared(make(tmp_path, [balls(n) for n in range(3)]), tmp_path, patch_size=(4, 24, 16))
    assert any("6 of 6 findings are larger than the patch of 4 x 24 x 16 voxels" in sentence for sentence in said)


def test_thick_slices_are_said(tmp_path):
    affine = np.diag([-1.5, -1.5, 6.0, 1.0])
    _, said = prepared(make(tmp_path, [balls(n, affine=affine) for n in range(2)]), tmp_path)
    assert any("voxels along the slices' axis, which is too few" in sentence for sentence in said)


def test_turned_boxes_are_said(tmp_path):
    file = make(tmp_path, [balls(1), balls(2)])
    content = json.loads((tmp_path / "case0.mrk.json").read_text(encoding="utf-8"))
    content["markups"][0]["orientation"] = (np.diag([-1, -1, 1]) @ rotation(0, 0, 20)).ravel().tolist()
    (tmp_path / "case0.mrk.json").write_text(json.dumps(content), encoding="utf-8")
    _, said = prepared(file, tmp_path)
    assert any("1 of 4 boxes are turned against the image's axes by more than 5 degrees" in text for text in said)


def test_lps_given_as_ras_is_noticed_by_the_body(tmp_path):
    """Where the image holds both places, but only one is in the body."""
    affine = np.diag([-1.5, -1.5, 2.0, 1.0])
    affine[:3, 3] = (36, 36, 0)  # the origin is near the middle
    cases = []
    for number in range(3):
        image = np.random.default_rng(number).normal(0, 2, (50, 50, 20)).astype(np.float32)
        image[30:46, 30:46] += 100  # the body is one corner
        center = affine[:3, :3] @ (np.array([38, 38, 10.0]) + number) + affine[:3, 3]
        cases.append(LesionCase(image, affine, [(center * [-1, -1, 1], np.full(3, 6.0))]))
    with pytest.raises(UserError, match="Only 0 of 3 findings lie inside the body, but 3 would if .* taken as LPS"):
        prepared(make(tmp_path, cases), tmp_path)
    right = [LesionCase(case.image, affine, [(case.boxes[0][0] * [-1, -1, 1], np.full(3, 6.0))]) for case in cases]
    assert prepared(make(tmp_path, right), tmp_path)[0].facts["sizes"]["findings"] == 3


def prediction(found, threshold: float = 0.5) -> FindingsPrediction:
    boxes = [Box(np.array(center, float), np.full(3, 6.0), np.eye(3), "", "ball", score) for center, score in found]
    grid = np.diag([1.0, 1.0, 1.0, 1.0])
    return FindingsPrediction([Finding(box) for box in boxes], threshold, (60, 60, 60), grid, None, Reading(("ball",)))


def test_an_evaluation_counts_by_the_rules(tmp_path):
    (tmp_path / "image.nrrd").touch()
    references = [(np.array([10.0, 10, 10]), np.full(3, 8.0)), (np.array([40.0, 40, 40]), np.full(3, 8.0))]
    (tmp_path / "a.mrk.json").write_text(json.dumps(roi_file(references, "ball")), encoding="utf-8")
    left_out = [(np.array([20.0, 50, 20]), np.full(3, 8.0))]
    (tmp_path / "x.mrk.json").write_text(json.dumps(roi_file(left_out, "")), encoding="utf-8")
    entry = {"image": "image.nrrd", "findings": "a.mrk.json", "excluded": "x.mrk.json"}
    file = tmp_path / "list.json"
    content = {"training": [], "test": [entry, {"image": "image.nrrd", "name": "negative"}]}
    file.write_text(json.dumps(content), encoding="utf-8")
    dataset = load_dataset(file, TASK)
    assert dataset.classes == ("ball",)
    case, negative = TASK.evaluation.cases(dataset)
    found = prediction(
        [
            ([10, 10, 13.9], 0.9),  # nearer than the radius of 4
            ([10, 11, 10], 0.8),  # the same once more
            ([40, 40, 44.1], 0.7),  # beyond it
            ([20, 50, 20], 0.6),  # in the excluded region
            ([30, 10, 10], 0.2),  # below the threshold
        ]
    )
    rows = TASK.evaluation.rows(found, case, dataset)
    assert [row["outcome"] for row in rows] == [
        "hit",
        "missed",
        "duplicate",
        "false positive",
        "ignored",
        "false positive",
    ]
    assert [row["sensitivity"] for row in rows][:2] == [1.0, 0.0]
    assert rows[0]["false_positives"] == 1 and rows[0]["diameter_mm"] == 8
    (nothing,) = TASK.evaluation.rows(prediction([]), negative, dataset)
    assert nothing["outcome"] == "nothing" and nothing["false_positives"] == 0
    rows = [row | {"case": "a"} for row in rows] + [nothing | {"case": "negative"}]
    pooled = TASK.evaluation.pooled(rows)
    assert pooled["cpm"] == pytest.approx(0.5) and pooled["sensitivity_at_8"] == 0.5
    assert found.summary() == {"ball": 4} and len(found.findings) == 4


def test_without_any_target_there_is_nothing_to_judge(tmp_path):
    (tmp_path / "image.nrrd").touch()
    (tmp_path / "list.json").write_text(json.dumps({"test": [{"image": "image.nrrd"}]}), encoding="utf-8")
    assert TASK.evaluation.cases(load_dataset(tmp_path / "list.json", TASK)) == []
