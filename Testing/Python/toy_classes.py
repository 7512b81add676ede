"""Small tables, matrices and images with a known signal, for the tests of classification."""

from __future__ import annotations

from pathlib import Path

import numpy as np

FAST = ("--device", "cpu", "--threads", "1", "--seed", "3")


def write_table(file: Path, count: int = 60, features: int = 6, seed: int = 1, shuffled: bool = False, **more) -> Path:
    """A table whose class depends on its first two features, not linearly; ``more`` are further columns."""
    random = np.random.default_rng(seed)
    values = random.normal(size=(count, features))
    positive = values[:, 0] * values[:, 1] + 0.3 * random.normal(size=count) > 0
    if shuffled:
        random.shuffle(positive)
    names = [f"f{number}" for number in range(features)]
    lines = [",".join(["patient", "class", *names, *more])]
    for number, row in enumerate(values):
        others = [str(column[number]) for column in more.values()]
        answer = "malignant" if positive[number] else "benign"
        lines.append(",".join([f"P{number}", answer, *(f"{value:.5f}" for value in row), *others]))
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def write_volumes(
    folder: Path, count: int, size: int, affine: np.ndarray | None = None, shuffled: bool = False, test: int = 0
) -> Path:
    """Noisy volumes (size, size, size); a bright block at a random place near a corner marks the sick ones.

    The last ``test`` of them are for testing. Intensities as a whole say nothing: the others have the block elsewhere.
    """
    import json

    from MedDeepLib.data.sources.image import write_image

    random = np.random.default_rng(3)
    cases: dict[str, list] = {"training": [], "test": []}
    edge = size // 5
    for number in range(count):
        sick = number % 2
        array = random.normal(100, 15, (size, size, size)).astype(np.float32)
        first = random.integers(1, edge, 3) + sick * (size // 2)
        array[tuple(slice(start, start + edge) for start in first)] += 60
        write_image(folder / f"{number}.nrrd", array, np.eye(4) if affine is None else affine)
        named = bool(random.integers(2)) if shuffled else bool(sick)
        split = "test" if number >= count - test else "training"
        answer = "sick" if named else "healthy"
        cases[split].append({"image": f"{number}.nrrd", "class": answer, "patient": f"P{number}"})
    (folder / "volumes.json").write_text(json.dumps({"name": "volumes"} | cases), encoding="utf-8")
    return folder / "volumes.json"


def write_matrices(folder: Path, count: int, size: int, shuffled: bool = False, test: int = 0) -> Path:
    """Symmetric noise (size, size); in one class the edges of region 2 with regions 5 to 9 are stronger."""
    import json

    random = np.random.default_rng(6)
    cases: dict[str, list] = {"training": [], "test": []}
    for number in range(count):
        sick = number % 2
        matrix = random.normal(size=(size, size))
        matrix = (matrix + matrix.T) / 2
        matrix[2, 5:10] += 1.5 * sick
        matrix[5:10, 2] += 1.5 * sick
        np.save(folder / f"{number}.npy", matrix)
        named = bool(random.integers(2)) if shuffled else bool(sick)
        split = "test" if number >= count - test else "training"
        answer = "sick" if named else "healthy"
        cases[split].append({"matrix": f"{number}.npy", "class": answer, "patient": f"P{number}"})
    (folder / "matrices.json").write_text(json.dumps({"name": "matrices"} | cases), encoding="utf-8")
    return folder / "matrices.json"
