"""RetinaNet learns what an untrained one cannot: to tell balls from rods and specks, in volumes and in slices."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from MedDeepLib.jobs import Job, JobFolder
from toy_cases import run_job
from toy_lesions import lesion_case, write_case

PARAMETERS = {
    "patch_size": [32, 32, 24],
    "width": 8,
    "anchors": 1,
    "learning_rate": 3e-3,
    "steps": 150,
    "validate_every": 75,
    "validation_cases": 2,
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("lesions")
    cases = [lesion_case(np.random.default_rng(number), findings=number % 4) for number in range(17)]
    entries = [write_case(folder, f"case{number}", case) for number, case in enumerate(cases)]
    content = {"name": "balls", "training": entries[:10], "validation": entries[10:12], "test": entries[12:]}
    file = folder / "dataset.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    return file


def cpm(folder: Path, dataset: Path, **changes) -> float:
    """Of a model that is trained with some changed parameters."""
    parameters = PARAMETERS | changes
    job = Job("detect", "train", device="cpu", seed=1, method="retina", parameters=parameters, dataset=str(dataset))
    code, events = run_job(folder / "run", job)
    assert code == 0, events[-1]
    job = Job("detect", "evaluate", device="cpu", seed=1, model=str(folder / "run"), dataset=str(dataset))
    code, events = run_job(folder / "evaluation", job)
    assert code == 0, events[-1]
    report = Path(JobFolder(folder / "evaluation").result()["report"])
    with report.with_name(f"{report.stem}.summary.csv").open(newline="", encoding="utf-8") as file:
        *_, line = csv.DictReader(file)
    return float(line["cpm"])


@pytest.mark.slow
def test_it_learns_in_volumes(tmp_path, dataset):
    assert cpm(tmp_path / "untrained", dataset, steps=1) < 0.3
    assert cpm(tmp_path / "focal", dataset) > 0.8


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"loss": "hard negatives"},
        {"sampling": "selective", "sampling_every": 50},
        {"dimensions": "2", "patch_size": [32, 32], "batch_size": 8},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_its_variants_learn(tmp_path, dataset, changes):
    assert cpm(tmp_path, dataset, **changes) > 0.6
