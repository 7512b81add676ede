"""Applies a small network to a large volume and prints the peak of the memory it took, in float32 volumes.

It needs its own process, since a process may keep memory that it has freed. Usage:
memory_of_an_application.py FOLDER SPACING CLASSES, with the volumes small.nrrd and large.nrrd in FOLDER.
"""

from __future__ import annotations

import gc
import sys
import threading
import time
from pathlib import Path

import psutil
import torch
from MedDeepLib.bundles.model import Model
from MedDeepLib.core import Context
from MedDeepLib.data.preparation import Plan
from MedDeepLib.data.sources.image import read_image
from SegmentModuleLib.parameters import ApplyParameters
from SegmentModuleLib.worker.prediction import SegmentationPredictor


class Bright(torch.nn.Module):
    """Scores for any number of classes, with hardly any memory of its own."""

    def __init__(self, classes: int):
        super().__init__()
        self._others = classes - 2

    def forward(self, x):
        return torch.cat([-x, x, (x * 0 - 9).expand(-1, self._others, *x.shape[2:])], 1)


def apply(folder: Path, name: str, spacing: float, classes: int) -> None:
    entries = [{"value": n, "name": f"s{n}", "color": [1, 0, 0], "terminology": ""} for n in range(1, classes)]
    plan = Plan((spacing,) * 3, (32, 32, 32)).as_dict()
    model = Model(None, "toy", {"plan": plan, "channels": ["MR"], "classes": entries})
    context = Context(torch.device("cpu"))
    predictor = SegmentationPredictor(Bright(classes), model, context, ApplyParameters(), ())
    prediction = predictor.predict([read_image(folder / name)], context)
    prediction.write(folder / "out.seg.nrrd")
    prediction.summary()


def main(folder: Path, spacing: float, classes: int) -> None:
    torch.set_num_threads(1)
    apply(folder, "small.nrrd", spacing, classes)
    gc.collect()
    process = psutil.Process()
    before = peak = process.memory_info().rss
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.is_set():
            peak = max(peak, process.memory_info().rss)
            time.sleep(0.001)

    watcher = threading.Thread(target=watch)
    watcher.start()
    apply(folder, "large.nrrd", spacing, classes)
    done.set()
    watcher.join()
    voxels = read_image(folder / "large.nrrd").array.size
    print((peak - before) / (4 * voxels))


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
