"""A cohort of small volumes: the cost of distributing them, and whether memory grows with their number.

    PYTHONPATH=MedDeepExtension:SegmentModule python Testing/Benchmarks/benchmark_cohort.py [--cases 200]

Trains a small network for a few steps on a phantom, writes as many volumes as asked for, and applies the network to
them as Scripts/segment.py does, in as many processes as the device manager gives. The bare prediction time is that of
as many processes that do nothing else: no reading, hashing, writing or waiting for a case. It thus includes the
slowdown of cores that share memory, which is reported separately as the ratio to a single process.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, median

_ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(_ROOT / "MedDeepExtension"), str(_ROOT / "SegmentModule"), str(_ROOT / "Testing" / "Python")]

import psutil  # noqa: E402
from MedDeepLib.data.sources.image import write_image  # noqa: E402
from MedDeepLib.jobs import Job, JobFolder, RunningJob, State, launch  # noqa: E402
from toy_cases import TRAINING, toy_affine, toy_image, write_toy_dataset  # noqa: E402
from verdicts import load, row  # noqa: E402

MOST_TIME = 1.15
MOST_MEMORY = 1.10
SHAPE = (72, 72, 48)
_SHORT = 20
_PREDICTIONS = 40
_SAMPLE_SECONDS = 0.2


def main() -> int:
    options = _parser().parse_args()
    with tempfile.TemporaryDirectory(prefix="meddeep-benchmark-") as name:
        folder = Path(name)
        os.environ["MEDDEEP_STATE"] = str(folder / "state")
        run = _trained(folder)
        scans = folder / "scans"
        _write(scans, options.cases)
        print(f"{options.cases} volumes of {' x '.join(map(str, SHAPE))} voxels on {options.device}; {load()}")
        few = _Cohort(run, _short_list(scans), folder / "few", options).wait()
        # Before and after: the load of a computer changes within minutes.
        beside = [_bare(run, scans, options.device, few.workers)]
        many = _Cohort(run, scans, folder / "many", options).wait()
        beside.append(_bare(run, scans, options.device, many.workers))
        alone = _bare(run, scans, options.device, 1)
    print(f"{'':10}{'workers':>8}{'wall time':>12}{'predict time':>14}{'driver':>12}{'a worker':>12}")
    for title, cohort in ((f"{_SHORT} cases", few), (f"{options.cases} cases", many)):
        print(
            f"{title:10}{cohort.workers:8}{cohort.wall:10.1f} s{cohort.predicting:12.1f} s"
            f"{cohort.driver / 2**20:8.0f} MiB{cohort.worker / 2**20:8.0f} MiB"
        )
    bare = many.predicted * mean(beside)
    good = [
        row("wall time / (sum of bare predict times / workers)", many.wall * many.workers / bare, MOST_TIME),
        row(f"memory of the driver, {options.cases} / {_SHORT} cases", many.driver / few.driver, MOST_MEMORY),
        row(f"memory of a worker, {options.cases} / {_SHORT} cases", many.worker / few.worker, MOST_MEMORY),
    ]
    row("predict time of the workers / bare", many.predicting / bare)
    row("bare predict time, after / before", beside[1] / beside[0])
    row(f"bare predict time, {many.workers} processes / 1", mean(beside) / alone)
    return 0 if all(good) else 1


class _Cohort:
    """One cohort in a worker process, with its time and memory.

    Attributes:
        wall: seconds from the first case begun after start-up to the last one.
        predicting, predicted: seconds of all predictions in that time, as measured by each worker, and their number.
        workers: their number.
        driver, worker: peaks of memory in bytes.
    """

    def __init__(self, run: Path, inputs: Path, output: Path, options: argparse.Namespace):
        job = Job(
            "segment",
            "cohort",
            model=str(run),
            inputs=str(inputs),
            output=str(output),
            device=options.device,
            workers=options.workers,
        )
        output.mkdir()
        self._output = output
        self._job: RunningJob = launch(JobFolder.create(output / "job", job))
        self.wall = self.predicting = 0.0
        self.workers = self.driver = self.worker = self.predicted = 0

    def wait(self) -> _Cohort:
        watch = threading.Thread(target=self._watch_memory)
        watch.start()
        self._job.wait()
        watch.join()
        if self._job.state is not State.DONE:
            raise SystemExit(self._job.folder.log_file.read_text(encoding="utf-8"))
        with (self._output / "summary.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        self.workers = len({row["worker"] for row in rows})
        # Start-up is over when every worker has loaded its model and finished a case.
        done = [e for e in self._job.folder.events() if e["event"] == "metrics"]
        seconds = [e["values"]["seconds per case"] for e in done]
        first = self._first_after_start(rows)
        self.wall = done[-1]["time"] - done[first]["time"]
        self.predicting, self.predicted = sum(seconds[first + 1 :]), len(seconds) - first - 1
        return self

    def _first_after_start(self, rows: list[dict[str, str]]) -> int:
        """The position, in the order of the results, of the first result of the worker that started last."""
        results = [e for e in self._job.folder.events() if e["event"] == "result" and e["output"].endswith(".nrrd")]
        worker_of = {row["output"]: row["worker"] for row in rows}
        seen: set[str] = set()
        place = 0
        for number, event in enumerate(results):
            if worker_of[event["output"]] not in seen:
                seen.add(worker_of[event["output"]])
                place = number
        return place

    def _watch_memory(self) -> None:
        driver = psutil.Process(self._job.pid)
        while self._job.is_running():
            try:
                self.driver = max(self.driver, driver.memory_info().rss)
                self.worker = max(
                    [self.worker, *(child.memory_info().rss for child in driver.children(recursive=True))]
                )
            except psutil.Error:
                pass
            time.sleep(_SAMPLE_SECONDS)


def _trained(folder: Path) -> Path:
    dataset = write_toy_dataset(folder)
    parameters = TRAINING | {"steps": 4, "validate_every": 4}
    job = launch(
        JobFolder.create(folder / "run", Job("segment", "train", "unet", parameters, str(dataset), device="cpu"))
    )
    if job.wait() != 0:
        raise SystemExit(job.folder.log_file.read_text(encoding="utf-8"))
    return folder / "run"


def _write(scans: Path, count: int) -> None:
    """Similar volumes; one voxel differs, so that no two are identical."""
    array, _ = toy_image(0, SHAPE)
    for number in range(count):
        array[0, 0, 0] = number
        write_image(scans / f"case{number:04}.nrrd", array, toy_affine(), compress=False)


def _bare(run: Path, scans: Path, device: str, processes: int) -> float:
    """Seconds of a prediction with one thread, as the mean over some processes that run at once."""
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        return mean(pool.map(_predictions, *zip(*[(run, scans, device)] * processes, strict=True)))


def _predictions(run: Path, scans: Path, device: str) -> float:
    """Seconds of a prediction with one thread, as the median of some."""
    import torch
    from MedDeepLib.core import Context
    from MedDeepLib.data.sources.image import read_image
    from MedDeepLib.devices import torch_device
    from MedDeepLib.worker.last_model import LastModel

    torch.set_num_threads(1)
    context = Context(torch_device(device)[0])
    predictor, _ = LastModel().load(Job("segment", "apply", model=str(run)), context)
    seconds = []
    for file in sorted(scans.glob("*.nrrd"))[:_PREDICTIONS]:
        images = [read_image(file)]
        began = time.perf_counter()
        predictor.predict(images, context)
        seconds.append(time.perf_counter() - began)
    return median(seconds)


def _short_list(scans: Path) -> Path:
    file = scans.with_name("few.csv")
    names = sorted(scans.glob("*.nrrd"))[:_SHORT]
    file.write_text("image\n" + "".join(f"{name}\n" for name in names), encoding="utf-8")
    return file


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--workers", type=int, default=0, help="processes; as many as fit when left out")
    parser.add_argument("--device", default="auto")
    return parser


if __name__ == "__main__":
    sys.exit(main())
