"""Small volumes and pictures with lesions and what looks like them, and trainings on these."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from toy_cases import run_job

SPACING = (1.0, 1.0, 2.0)
Drawn = tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray]]]
"""An image (I, J, K) or (C, I, J, K), and centre and size in voxels of each lesion."""


def write_lesions(
    folder: Path, draw: Callable[[np.random.Generator], Drawn], counts: Sequence[int], spacing=SPACING, name="lesion"
) -> Path:
    """A dataset of cases that ``draw`` makes, so many for training, validation and testing."""
    from MedDeepLib.data.sources.image import write_image

    affine = np.diag([*spacing, 1.0])
    entries: dict[str, list] = {}
    channels = 1
    number = 0
    for split, count in zip(("training", "validation", "test"), counts, strict=True):
        for _ in range(count):
            image, lesions = draw(np.random.default_rng(number))
            image = image if image.ndim == 4 else image[None]
            channels = len(image)
            files = [f"image{number}_{channel}.nii.gz" for channel in range(channels)]
            for file, values in zip(files, image, strict=True):
                write_image(folder / file, values.astype(np.float32), affine)
            with (folder / f"lesions{number}.csv").open("w", newline="", encoding="utf-8") as table:
                writer = csv.writer(table)
                writer.writerow(["class", "r", "a", "s", "size_r", "size_a", "size_s"])
                for center, size in lesions:
                    writer.writerow([name, *(center * spacing), *(size * np.array(spacing))])
            entry = {"name": f"case{number}", "image": files, "findings": f"lesions{number}.csv"}
            entries.setdefault(split, []).append(entry)
            number += 1
    content = {"name": "lesions", "modality": {str(n): f"channel {n}" for n in range(channels)}, "classes": [name]}
    path = folder / "dataset.json"
    path.write_text(json.dumps(content | entries), encoding="utf-8")
    return path


def train(folder: Path, dataset: Path, method: str, seed: int = 1, **parameters) -> Path:
    """The run of a training on one CPU thread."""
    from MedDeepLib.jobs import Job

    job = Job(
        "detect",
        "train",
        method=method,
        parameters=parameters,
        dataset=str(dataset),
        device="cpu",
        threads=1,
        seed=seed,
    )
    code, events = run_job(folder, job)
    assert code == 0, events[-1]
    return folder


def predictions(run: Path, dataset: Path, **options) -> list:
    """Pairs of what a model says of each test case, and the case's lesions (N, 6), centre and size in mm."""
    import torch
    from DetectModuleLib.worker.references import reference_boxes
    from MedDeepLib.bundles.model import open_model
    from MedDeepLib.core import Context, from_mapping, registry
    from MedDeepLib.data.dataset import load_dataset

    model = open_model(run, "detect")
    method = model.make_method()
    context = Context(torch.device("cpu"))
    predictor = method.predictor(model, context, from_mapping(method.ApplyParameters, options))
    found = []
    for case in load_dataset(dataset, registry.task("detect")).test:
        made = predictor.predict(predictor.read(case.inputs), context)
        boxes = reference_boxes(case, made.shape, made.affine, predictor.reading)
        found.append((made, np.array([[*box.center, *box.size] for box in boxes]).reshape(-1, 6)))
    return found


def hits(found: list, score: Callable = lambda finding: finding.score) -> tuple[np.ndarray, np.ndarray, int, int]:
    """Scores (N,) of all findings, the lesion of each (-1: none), the number of lesions, and of cases.

    A lesion's second finding is left out, as LUNA16 has it.
    """
    scores, lesion, before = [], [], 0
    for made, boxes in found:
        for finding in sorted(made.candidates, key=score, reverse=True):
            apart = np.linalg.norm(boxes[:, :3] - finding.box.center, axis=1) if len(boxes) else np.zeros(0)
            near = apart <= np.maximum(boxes[:, 3:].mean(1) / 2, 2.0) if len(boxes) else np.zeros(0, bool)
            which = before + int(np.where(near, apart, np.inf).argmin()) if near.any() else -1
            if which < 0 or which not in lesion:
                scores.append(score(finding))
                lesion.append(which)
        before += len(boxes)
    return np.array(scores), np.array(lesion), before, len(found)


def false_positives(found: list, sensitivity: float, score: Callable = lambda finding: finding.score) -> float:
    """False positives a case at the highest threshold that reaches the sensitivity; infinite if none does."""
    scores, lesion, count, cases = hits(found, score)
    for threshold in sorted(set(scores), reverse=True):
        above = scores >= threshold
        if (lesion[above] >= 0).sum() >= sensitivity * count:
            return float((lesion[above] < 0).sum()) / cases
    return float("inf")


def mean_sensitivity(found: list, score: Callable = lambda finding: finding.score) -> float:
    """At 1/8, 1/4, 1/2, 1, 2, 4 and 8 false positives a case: CPM."""
    scores, lesion, count, cases = hits(found, score)
    order = np.argsort(-scores, kind="stable")
    false, true = np.cumsum(lesion[order] < 0) / cases, np.cumsum(lesion[order] >= 0) / count
    rates = (0.125, 0.25, 0.5, 1, 2, 4, 8)
    return float(np.mean([true[false <= rate].max(initial=0.0) for rate in rates]))


def tissue(random: np.random.Generator, shape=(64, 64, 24), noise=0.15) -> np.ndarray:
    """A body in air: smooth tissue about 1 with noise; air is 0."""
    from scipy.ndimage import gaussian_filter

    image = gaussian_filter(random.normal(0, 1, shape), (3, 3, 1.5))
    image = 1 + 0.1 * image / image.std() + random.normal(0, noise, shape)
    rim = 3
    inside = np.zeros(shape, bool)
    inside[rim:-rim, rim:-rim] = True
    return np.where(inside, image, random.normal(0, 0.02, shape)).astype(np.float32)


def place(random: np.random.Generator, shape, taken: list[np.ndarray], border=(12, 12, 5), apart=12.0) -> np.ndarray:
    """A random voxel away from the border and from what is taken, which it joins."""
    low, high = np.array(border), np.array(shape) - border
    for _ in range(1000):
        center = random.uniform(low, high)
        if all(np.linalg.norm((center - other) * (1, 1, 2)) > apart for other in taken):
            break
    taken.append(center)
    return center


def add_ball(image: np.ndarray, center: np.ndarray, radius: float, height: float) -> None:
    """A soft ball of ``radius`` mm, on voxels of 1 x 1 x 2 mm."""
    grid = np.indices(image.shape).reshape(3, -1).T - center
    distance = np.linalg.norm(grid * SPACING, axis=1).reshape(image.shape)
    image += height / (1 + np.exp(np.clip((distance - radius) / 0.4, -30, 30)))


def add_tube(image: np.ndarray, center: np.ndarray, direction: np.ndarray, radius: float, height: float) -> None:
    """A soft tube through the whole image."""
    grid = (np.indices(image.shape).reshape(3, -1).T - center) * SPACING
    direction = direction / np.linalg.norm(direction)
    distance = np.linalg.norm(grid - np.outer(grid @ direction, direction), axis=1).reshape(image.shape)
    image += height / (1 + np.exp(np.clip((distance - radius) / 0.4, -30, 30)))
