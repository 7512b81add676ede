"""A small cohort with known answers, and how to run jobs on it."""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np

SHAPE = (36, 32, 24)
SPACING = (2.0, 2.0, 2.5)
CLASSES = {"1": "bright ball", "2": "dark ball"}
# Learns the cohort to a validation Dice above 0.8 in a few seconds on one core.
TRAINING = {
    "steps": 120,
    "batch_size": 2,
    "learning_rate": 0.03,
    "patch_size": [32, 32, 16],
    "features": [8, 16, 16],
    "resolution": "full",
    "validate_every": 40,
    "elastic": 0.0,
    "intensity": 0.2,
}


def toy_image(number: int, shape=SHAPE) -> tuple[np.ndarray, np.ndarray]:
    """A body of intensity 100 in air, with a ball of 160 (class 1) and one of 50 (class 2): image and label."""
    random = np.random.default_rng(number)
    grid = np.indices(shape)
    center = (np.array(shape) - 1) / 2
    image = random.normal(0, 5, shape)
    label = np.zeros(shape, np.uint8)
    image[_inside(grid, center, min(shape) * 0.48)] += 100
    for value, side, brightness in ((1, 1, 160), (2, -1, 50)):
        place = center + random.uniform(-2, 2, 3) + np.array([side * shape[0] * 0.16, 0, 0])
        ball = _inside(grid, place, random.uniform(4, 6))
        image[ball] = brightness + random.normal(0, 5, int(ball.sum()))
        label[ball] = value
    return image.astype(np.float32), label


def toy_affine(spacing=SPACING) -> np.ndarray:
    """Axes to the left, back and head, as most scanners store them."""
    affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    affine[:3, 3] = (40, 36, -30)
    return affine


def write_toy_dataset(folder: Path, cases: int = 6, **changes) -> Path:
    """``folder/dataset.json`` with images; the last case is for testing, the one before for validation."""
    from MedDeepLib.data.sources.image import write_image

    entries = []
    for number in range(cases):
        image, label = toy_image(number)
        write_image(folder / f"image{number}.nii.gz", image, toy_affine())
        write_image(folder / f"label{number}.nii.gz", label, toy_affine())
        entries.append({"image": f"image{number}.nii.gz", "label": f"label{number}.nii.gz", "patient": f"P{number}"})
    content = {
        "name": "balls",
        "labels": CLASSES,
        "channels": ["MR"],
        "training": entries[:-2],
        "validation": entries[-2:-1],
        "test": entries[-1:],
    }
    file = folder / "dataset.json"
    file.write_text(json.dumps(content | changes), encoding="utf-8")
    return file


def image_item(output: str | Path, *images: str | Path):
    """The item of a segmentation job."""
    from MedDeepLib.core import ApplyItem
    from MedDeepLib.data.slots import Source

    return ApplyItem({"image": Source("image", tuple(map(Path, images)))}, {"segmentation": str(output)})


def run_job(folder: Path, job) -> tuple[int, list[dict]]:
    """Run a job in this process; the worker's exit code and its events."""
    from MedDeepLib.jobs import JobFolder

    job_folder = JobFolder.create(folder, job)
    return run_worker(folder), job_folder.events()


def run_worker(folder: Path) -> int:
    """Run the worker's main function in this process."""
    from MedDeepLib.cohort.__main__ import main

    with restored_signals():
        return main([str(folder), "--quiet"])


@contextlib.contextmanager
def restored_signals() -> Iterator[None]:
    """Restore the signal handlers, which a worker replaces."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def failure(events: list[dict]) -> str:
    """The sentence with which a job has failed."""
    failed = [event for event in events if event["event"] == "state" and event["state"] == "failed"]
    assert len(failed) == 1, events
    return failed[0]["message"]


def _inside(grid: np.ndarray, center, radius: float) -> np.ndarray:
    return ((grid - np.asarray(center)[:, None, None, None]) ** 2).sum(0) < radius**2


def finished_job(folder):
    """Like ``launch``, but runs the job now in this process, which has already imported torch."""
    from MedDeepLib.jobs import State
    from MedDeepLib.jobs.events import EventReader

    class Finished:
        def __init__(self):
            folder.prepare_restart()
            self._reader = EventReader(folder.events_file)
            self._reader.read()
            self.folder = folder
            self.exit_code = run_worker(folder.path)
            self.state = {0: State.DONE, 130: State.STOPPED}.get(self.exit_code, State.FAILED)

        def is_running(self) -> bool:
            return False

        def poll(self) -> list[dict]:
            return self._reader.read()

    return Finished()
