"""The smallest dataset that classification can be tested with, see conformance/test_methods.py."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from MedDeepLib.data.sources.image import write_image

# Where a method has a parameter of such a name that takes the value; all others keep their defaults.
TRAINING = {
    "batch_size": 2,
    "size": [16, 16, 16],
    "hidden": [8, 4],
    "edge_maps": [2],
    "node_maps": 2,
    "network": "alexnet",
    "features": 4,
    "filters": 2,
    "dense": [8, 4],
}
APPLYING = {"neighbours": 1}
CASES = 9


def write_dataset(folder: Path) -> Path:
    """Nine patients with an image, a table and a matrix each; every method takes what it can."""
    random = np.random.default_rng(7)
    entries = []
    for number in range(CASES):
        sick = number % 2
        image = random.normal(100, 10, (16, 16, 16)).astype(np.float32)
        image[4:8, 4:8, 4:8] += 60 * sick
        write_image(folder / f"image{number}.nrrd", image, np.eye(4))
        row = ",".join(f"{value:.4f}" for value in random.normal(sick, 1, 4))
        (folder / f"table{number}.csv").write_text(f"a,b,c,d\n{row}\n", encoding="utf-8")
        matrix = random.normal(0, 1, (6, 6))
        matrix = matrix + matrix.T
        matrix[1, 2] += 3 * sick
        matrix[2, 1] += 3 * sick
        np.save(folder / f"matrix{number}.npy", matrix)
        entries.append(
            {
                "image": f"image{number}.nrrd",
                "table": f"table{number}.csv",
                "matrix": f"matrix{number}.npy",
                "class": "sick" if sick else "healthy",
                "patient": f"P{number}",
            }
        )
    content = {"name": "bodies", "training": entries[:4], "validation": entries[4:6], "test": entries[6:]}
    file = folder / "dataset.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    return file
