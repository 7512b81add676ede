"""The smallest dataset that registration can be tested with, see conformance/test_methods.py."""

from __future__ import annotations

import json
from pathlib import Path

from toy_pairs import STRUCTURES, random_bend, structures, write

# Used where a method has a parameter of that name that accepts the value; all others keep their defaults.
TRAINING = {"batch_size": 1, "spacing": 8.0, "features": [4, 8, 8], "points": 8}
APPLYING = {"transform": "rigid", "resolutions": 1, "iterations": 2}


def write_dataset(folder: Path) -> Path:
    """Single images with label maps for training and validation, and a pair to test."""
    for number in range(5):
        write(folder / f"image{number}.nrrd", "plain", random_bend(number))
        write(folder / f"label{number}.nrrd", "plain", random_bend(number), structures)
    single = [{"image": f"image{n}.nrrd", "label": f"label{n}.nrrd", "patient": f"P{n}"} for n in range(3)]
    pair = {"fixed": "image3.nrrd", "moving": "image4.nrrd", "patient": "P3", "moving_patient": "P4"}
    pair |= {"fixed_label": "label3.nrrd", "moving_label": "label4.nrrd"}
    content = {
        "name": "bodies",
        "channels": ["any"],
        "labels": {str(value): name for value, name in STRUCTURES.items()},
        "training": single[:2],
        "validation": single[2:],
        "test": [pair],
    }
    file = folder / "dataset.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    return file
