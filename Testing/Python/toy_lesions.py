"""Small volumes with findings of a known place: bright blobs among distractors of another size and shape."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SPACING = (1.5, 1.5, 2.0)


@dataclass(frozen=True, eq=False)
class LesionCase:
    """A volume (I, J, K), its affine, and a box (center, size) in RAS mm for each finding."""

    image: np.ndarray
    affine: np.ndarray
    boxes: list[tuple[np.ndarray, np.ndarray]]


def lesion_case(
    random: np.random.Generator, shape=(48, 48, 32), findings: int = 3, distractors: int = 4, affine=None
) -> LesionCase:
    """Noisy tissue with bright balls, which are findings, and rods and specks of the same brightness, which are not."""
    affine = np.diag([-SPACING[0], -SPACING[1], SPACING[2], 1.0]) if affine is None else affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    grid = np.indices(shape).astype(float)
    image = 100 + random.normal(0, 8, shape)
    taken: list[np.ndarray] = []
    boxes = []
    for _ in range(findings):
        radius = random.uniform(4.0, 6.0)  # mm
        place = _free_place(random, shape, spacing, radius + 2, taken)
        distance = np.sqrt((((grid - place[:, None, None, None]) * spacing[:, None, None, None]) ** 2).sum(0))
        image += 90 / (1 + np.exp((distance - radius) / 0.5))
        boxes.append((affine[:3, :3] @ place + affine[:3, 3], np.full(3, 2 * radius)))
    for number in range(distractors):
        place = _free_place(random, shape, spacing, 4, taken)
        offset = np.abs((grid - place[:, None, None, None]) * spacing[:, None, None, None])
        half = np.array([1.6, 1.6, 1.6])  # mm: a speck
        if number % 2:
            half[random.integers(3)] = 14.0  # a rod
        image[(offset <= half[:, None, None, None]).all(0)] += 90
    return LesionCase(image.astype(np.float32), affine, boxes)


def write_case(folder: Path, name: str, case: LesionCase, class_name: str = "ball") -> dict[str, str]:
    """Write image and ROIs; the entry of a dataset's list."""
    from MedDeepLib.data.sources.image import write_image

    write_image(folder / f"{name}.nii.gz", case.image, case.affine)
    (folder / f"{name}.mrk.json").write_text(json.dumps(roi_file(case.boxes, class_name)), encoding="utf-8")
    return {"image": f"{name}.nii.gz", "findings": f"{name}.mrk.json", "patient": name}


def roi_file(boxes, class_name: str) -> dict:
    """Boxes along the axes of the patient as Slicer writes ROIs, in LPS."""
    to_lps = np.array([-1, -1, 1])
    markups = []
    for number, (center, size) in enumerate(boxes, start=1):
        position = (center * to_lps).tolist()
        point = {"label": f"{class_name}-{number}", "description": class_name, "position": position}
        orientation = np.diag(to_lps).ravel().tolist()
        markups.append(
            {
                "type": "ROI",
                "coordinateSystem": "LPS",
                "center": position,
                "orientation": orientation,
                "size": list(map(float, size)),
                "controlPoints": [point],
            }
        )
    return {"markups": markups}


def _free_place(random, shape, spacing, margin: float, taken: list[np.ndarray]) -> np.ndarray:
    """A place in voxels with a margin in mm to the border, away from those before."""
    low = margin / spacing
    for _ in range(200):
        place = random.uniform(low, np.array(shape) - 1 - low)
        if all(np.linalg.norm((place - other) * spacing) > 14 for other in taken):
            break
    taken.append(place)
    return place
