"""The smallest dataset that detection can be tested with, see conformance/test_methods.py."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from toy_lesions import lesion_case, write_case

# Where a method has a parameter of such a name that takes the value; all others keep their defaults.
TRAINING = {
    "batch_size": 2,
    "patch_size": [16, 16, 16],
    "width": 8,
    "network_width": 0.05,
    "field": 11,
    "candidates": 10,
    "anchors": 1,
    "validation_cases": 1,
}
APPLYING = {"threshold": 0.0, "most": 20}


def write_dataset(folder: Path, channels: int = 2) -> Path:
    """Three cases for training, one of them without a finding, one for validation, one to test."""
    entries = []
    for number in range(5):
        random = np.random.default_rng(number)
        case = lesion_case(random, shape=(26, 24, 20), findings=0 if number == 2 else 2)
        entry = write_case(folder, f"case{number}", case)
        uptake = replace(case, image=case.image + random.normal(0, 20, case.image.shape).astype(np.float32))
        second = write_case(folder, f"uptake{number}", uptake)
        entries.append(entry | {"image": [entry["image"], second["image"]][:channels]})
    content = {"name": "blobs", "training": entries[:3], "validation": entries[3:4], "test": entries[4:]}
    file = folder / "dataset.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    return file
