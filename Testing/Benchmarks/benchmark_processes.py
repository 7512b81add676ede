"""Training in several processes: batches per second of two over those of one, each with one thread or one GPU.

    PYTHONPATH=MedDeepExtension:SegmentModule python Testing/Benchmarks/benchmark_processes.py [--device all]

Whole jobs as panels start them, under torch's launcher; the time is measured between their progress events, after the
first steps. A process computes the same in both, so the loss is due to the exchange of gradients and to shared memory
bandwidth. Needs two idle cores, or two GPUs with ``--device all``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from statistics import median

_ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(_ROOT / "MedDeepExtension"), str(_ROOT / "SegmentModule"), str(_ROOT / "Testing" / "Python")]

from MedDeepLib.devices import ALL, list_devices  # noqa: E402
from MedDeepLib.jobs import Job, JobFolder, launch  # noqa: E402
from toy_cases import write_toy_dataset  # noqa: E402
from verdicts import load, row  # noqa: E402

LEAST_OVER_ONE = 1.6
FIRST_STEPS = 10
# Patch and feature maps: small enough to train on a CPU, and large enough to keep a GPU busy.
SIZES = {"cpu": (32, (8, 16, 32, 64)), ALL: (96, (32, 64, 128, 256))}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", help="cpu, or all: two cards")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    device = ALL if options.device.startswith(("all", "cuda", "auto")) else options.device
    cards = [card for card in list_devices() if card.id.startswith("cuda")]
    if device == ALL and len(cards) < 2:
        print("This computer has no two cards: measuring its processor.")
        device = "cpu"
    print(f"Device '{device}', {load()}.")
    rates = {1: [], 2: []}
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        dataset = write_toy_dataset(Path(folder))
        for turn in range(options.repeats):
            for processes, values in rates.items():
                values.append(_rate(Path(folder) / f"{processes}.{turn}", dataset, device, processes, options.steps))
    for processes, values in rates.items():
        row(f"batches per second: {processes} process{'es' if processes > 1 else ''}", median(values))
    ratios = [two / one for one, two in zip(rates[1], rates[2], strict=True)]
    return 0 if row("batches per second, 2 processes / 1", median(ratios), least=LEAST_OVER_ONE) else 1


def _rate(folder: Path, dataset: Path, device: str, processes: int, steps: int) -> float:
    """Batches per second of a complete training."""
    edge, features = SIZES[device]
    settings = {
        "steps": steps, "batch_size": 2, "patch_size": [edge] * 3, "features": list(features), "resolution": "full",
        "validate_every": steps, "elastic": 0.0,
    }  # fmt: skip
    job = Job("segment", "train", "unet", settings, str(dataset), device=device, processes=processes, threads=processes)
    job_folder = JobFolder.create(folder, job)
    if launch(job_folder).wait(600) != 0:
        raise SystemExit(f"The training failed: {job_folder.events()[-1]}")
    progress = [e for e in job_folder.events() if e["event"] == "progress" and e.get("stage")]
    first = next(event for event in progress if event["step"] >= FIRST_STEPS)
    return processes * (progress[-1]["step"] - first["step"]) / (progress[-1]["time"] - first["time"])


if __name__ == "__main__":
    sys.exit(main())
