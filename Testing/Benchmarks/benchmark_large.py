"""Applying a model to a volume of 512 x 512 x 600 voxels (16 bit): peak memory of the worker against the volume's size.

    PYTHONPATH=MedDeepExtension:SegmentModule python Testing/Benchmarks/benchmark_large.py [--device cuda]

The network is a small one, trained for a few steps on a phantom: memory does not depend on its result. The worker is a
real process, and its peak includes everything: Python, torch, ITK, the network, reading and writing.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(_ROOT / "MedDeepExtension"), str(_ROOT / "SegmentModule"), str(_ROOT / "Testing" / "Python")]

import numpy as np  # noqa: E402
from MedDeepLib.core import ApplyItem  # noqa: E402
from MedDeepLib.data.slots import Source  # noqa: E402
from MedDeepLib.data.sources.image import write_image  # noqa: E402
from MedDeepLib.jobs import Job, JobFolder, launch  # noqa: E402
from toy_cases import TRAINING, write_toy_dataset  # noqa: E402
from verdicts import load, row  # noqa: E402

SHAPE = (512, 512, 600)
SPACING_MM = (0.7, 0.7, 1.0)
MOST_VOLUMES = 2
MOST_BESIDES = 1e9


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        folder = Path(name)
        parameters = TRAINING | {"steps": 4, "validate_every": 4, "spacing": [2, 2, 2], "patch_size": [64, 64, 64]}
        _done(folder / "run", Job("segment", "train", "unet", parameters, str(write_toy_dataset(folder / "data"))))
        image = folder / "large.nrrd"
        write_image(image, _body(), np.diag([*SPACING_MM, 1.0]))
        item = ApplyItem({"image": Source("image", (image,))}, {"segmentation": str(folder / "large.seg.nrrd")})
        began = time.perf_counter()
        job = Job("segment", "apply", model=str(folder / "run"), items=(item,), device=options.device)
        usage = _done(folder / "apply", job)["usage"]
        seconds = time.perf_counter() - began
    volume = 4 * int(np.prod(SHAPE))
    print(f"{' x '.join(map(str, SHAPE))} voxels, {volume / 1e9:.2f} GB as float32; {usage['device']}, {load()}")
    row("seconds of the whole job", seconds)
    row("GB at most, in all", usage["resident_bytes"] / 1e9)
    allowed = MOST_VOLUMES * volume + MOST_BESIDES
    return 0 if row("peak memory / (2 x float32 volume + 1 GB)", usage["resident_bytes"] / allowed, 1.0) else 1


def _body() -> np.ndarray:
    """An ellipse of soft tissue with noise in air, like a body in a CT."""
    random = np.random.default_rng(0)
    i, j = np.ogrid[: SHAPE[0], : SHAPE[1]]
    inside = ((i - 256) / 200) ** 2 + ((j - 256) / 140) ** 2 < 1
    array = np.empty(SHAPE, np.int16)
    for k in range(SHAPE[2]):  # slice by slice: this process must not use more memory than the worker
        array[:, :, k] = np.where(inside, 40, -1000) + random.integers(-20, 20, SHAPE[:2])
    return array


def _done(folder: Path, job: Job) -> dict:
    running = launch(JobFolder.create(folder, job))
    if running.wait() != 0:
        raise SystemExit(running.folder.log_file.read_text(encoding="utf-8"))
    return running.folder.result()


if __name__ == "__main__":
    sys.exit(main())
