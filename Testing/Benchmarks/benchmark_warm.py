"""Applying a model again: the time saved by a warm worker, as the second job's waiting time over the first's.

    PYTHONPATH=MedDeepExtension:SegmentModule python Testing/Benchmarks/benchmark_warm.py [--demo FOLDER]

Applies the demonstration's model to its test case in real worker processes, as the panel does. Where there is no
demonstration yet, a network is trained for a few steps on a phantom: waiting times do not depend on its result.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

_ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(_ROOT / "MedDeepExtension"), str(_ROOT / "SegmentModule"), str(_ROOT / "Testing" / "Python")]

import psutil  # noqa: E402
from MedDeepLib.core import ApplyItem  # noqa: E402
from MedDeepLib.core.registry import task  # noqa: E402
from MedDeepLib.data.dataset import load_dataset  # noqa: E402
from MedDeepLib.data.slots import Source  # noqa: E402
from MedDeepLib.jobs import Job, JobFolder, State, WarmWorkers, launch  # noqa: E402
from toy_cases import TRAINING, write_toy_dataset  # noqa: E402
from verdicts import load, row  # noqa: E402

MOST_SECONDS = 0.3
_COLUMNS = ("to reading", "to predicting", "to first tile", "to the end")


def main() -> int:
    options = _parser().parse_args()
    with tempfile.TemporaryDirectory(prefix="meddeep-benchmark-") as folder:
        run, dataset = _model_and_data(options.demo, Path(folder))
        image = load_dataset(dataset, task("segment")).test[0].files("image")[0]
        print(f"{run}, applied to {image.name} on {options.device}; {load()}")
        print(" " * 22 + "".join(f"{column:>16}" for column in _COLUMNS) + f"{'memory':>12}")
        workers = WarmWorkers()
        rows = []
        for number in range(options.repeats + 1):
            job = _job(run, image, Path(folder) / f"{number}.seg.nrrd", options.device)
            rows.append(_timed(workers, JobFolder.create(Path(folder) / f"job{number}", job)))
            _print_row("first job" if number == 0 else f"warm job {number}", rows[-1])
        workers.close()
    first, again = rows[0], [median(column) for column in zip(*rows[1:], strict=True)]
    _print_row("median of warm jobs", again)
    print(f"{'ratio, warm / first':22}" + "".join(f"{a / f:16.4f}" for a, f in zip(again[:4], first[:4], strict=True)))
    # Reading the image takes the same time in both; the worker's overhead comes before it.
    return 0 if row("seconds from the request to reading", again[0], MOST_SECONDS) else 1


def _model_and_data(demo: Path, folder: Path) -> tuple[Path, Path]:
    if (demo / "run" / "model").is_dir():
        return demo / "run", demo / "data" / "cases" / "dataset.json"
    dataset = write_toy_dataset(folder)
    parameters = TRAINING | {"steps": 4, "validate_every": 4}
    job = launch(JobFolder.create(folder / "run", Job("segment", "train", "unet", parameters, str(dataset))))
    if job.wait() != 0:
        raise SystemExit(job.folder.log_file.read_text(encoding="utf-8"))
    return folder / "run", dataset


def _job(run: Path, image: Path, output: Path, device: str) -> Job:
    item = ApplyItem({"image": Source("image", (Path(image),))}, {"segmentation": str(output)})
    return Job("segment", "apply", model=str(run), items=(item,), device=device)


def _timed(workers: WarmWorkers, folder: JobFolder) -> list[float]:
    """Seconds from the request to the event of each column, and MiB of the worker at the end."""
    began = time.time()
    job = workers.submit(folder)
    job.wait()
    if job.state is not State.DONE:
        raise SystemExit(folder.log_file.read_text(encoding="utf-8"))
    moments = [_moment(folder.events(), *what) for what in (("phase", "Reading"), ("phase", "Applying"), ("progress",))]
    ended = _moment(folder.events(), "state", "done")
    memory = psutil.Process(job.pid).memory_info().rss / 2**20
    return [*(moment - began for moment in (*moments, ended)), memory]


def _moment(events: list[dict[str, Any]], kind: str, beginning: str = "") -> float:
    return next(e["time"] for e in events if e["event"] == kind and str(e.get(kind, "")).startswith(beginning))


def _print_row(name: str, row: list[float]) -> None:
    print(f"{name:22}" + "".join(f"{seconds:14.3f} s" for seconds in row[:4]) + f"{row[4]:8.0f} MiB")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--demo", type=Path, default=_ROOT / "demo-output", help="what 'make demo' has made")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="auto")
    return parser


if __name__ == "__main__":
    sys.exit(main())
