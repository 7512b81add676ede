"""The smallest dataset that segmentation can be tested with, see conformance/test_methods.py."""

from __future__ import annotations

from pathlib import Path

from toy_cases import write_toy_dataset

# Used where a method has a parameter of that name that accepts the value; all others keep their defaults.
TRAINING = {
    "batch_size": 1,
    "patch_size": [16, 16, 16],
    "spacing": [2.0, 2.0, 2.5],
    "features": [4, 8, 8],
    "filters": 8,
    "blocks": [1, 1],
}
APPLYING = {}


def write_dataset(folder: Path) -> Path:
    """Two cases for training, one for validation, one for testing; two structures."""
    return write_toy_dataset(folder, cases=4)
