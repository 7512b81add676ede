"""The panel's own costs: opening it, and the longest time for which Qt's loop is blocked while a network trains.

    make benchmark

The training is a small real one, started by a click; the worker uses all cores, as it would for a user.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(_ROOT / name) for name in ("Testing", "Testing/Python", "MedDeepExtension", "SegmentModule")]

import slicerhost  # noqa: E402
from toy_cases import TRAINING, write_toy_dataset  # noqa: E402
from verdicts import row  # noqa: E402

MOST_TO_OPEN = 0.3
MOST_STILL = 0.05
LONGEST_SECONDS = 300


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        for name in ("MEDDEEP_RUNS", "MEDDEEP_STATE"):
            os.environ[name] = str(Path(folder) / name)
        slicerhost.start()
        began = time.perf_counter()
        widget = slicerhost.load_module(_ROOT / "SegmentModule" / "SegmentModule.py")
        opening = time.perf_counter() - began
        heavy = sorted({"torch", "monai", "itk"} & set(sys.modules))
        still = _longest_still(widget, write_toy_dataset(Path(folder) / "data"))
        slicerhost.unload_module(widget)
    verdicts = [
        row("seconds to open the panel", opening, MOST_TO_OPEN),
        row("longest seconds Qt's loop stood still in training", still, MOST_STILL),
        row("torch, monai or itk imported by the panel", len(heavy), 0),
    ]
    return 0 if all(verdicts) else 1


def _longest_still(widget, dataset: Path) -> float:
    """The longest time in seconds between two ticks of a 5 ms timer, from the first step of a training to the last."""
    import qt

    ticks: list[float] = []
    timer = qt.QTimer()
    timer.setInterval(5)
    timer.connect("timeout()", lambda: ticks.append(time.perf_counter()))
    widget.ui.trainDatasetPathLineEdit.currentPath = str(dataset)
    parameters = json.dumps({"unet": TRAINING | {"steps": 200, "validate_every": 20}})
    widget.logic.getParameterNode().trainingParameters = parameters
    widget.ui.trainStartButton.click()
    status = widget.ui.trainStatusLabel
    slicerhost.process_events(LONGEST_SECONDS, until=lambda: " of 200" in status.text)
    timer.start()
    slicerhost.process_events(LONGEST_SECONDS, until=lambda: " of 200" not in status.text)
    timer.stop()
    slicerhost.process_events(LONGEST_SECONDS, until=lambda: status.text.startswith(("Done", "The ")))
    if not status.text.startswith("Done"):
        raise SystemExit(f"Error: the training did not end well: {status.text}")
    return max(later - sooner for sooner, later in zip(ticks, ticks[1:], strict=False))


if __name__ == "__main__":
    sys.exit(main())
