"""Small cohorts with known answers, dask's own scheduler and workers as users start them, and workers that die."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from toy_cases import toy_affine, toy_image

REPOSITORY = Path(__file__).resolve().parents[2]
LIBRARY = REPOSITORY / "MedDeepExtension"


def write_scans(folder: Path, count: int, first: int = 100) -> list[Path]:
    """``count`` images case100.nii.gz, case101.nii.gz, ... that no network was trained on."""
    from MedDeepLib.data.sources.image import write_image

    paths = [folder / f"case{number}.nii.gz" for number in range(first, first + count)]
    for number, path in enumerate(paths, start=first):
        write_image(path, toy_image(number)[0], toy_affine())
    return paths


def dice_of_bright_ball(output: Path, number: int) -> float:
    """The Dice of the bright ball in a result for an image of :func:`write_scans`."""
    from MedDeepLib.data.sources.labels import read_segmentation

    labels, _, _ = read_segmentation(output)
    truth = toy_image(number)[1] == 1
    return 2 * (truth & (labels == 1)).sum() / (truth.sum() + (labels == 1).sum())


def summary(output: Path) -> dict[str, dict[str, str]]:
    """The rows of a summary by their line in the list."""
    with (output / "summary.csv").open(newline="", encoding="utf-8") as file:
        return {row["line"]: row for row in csv.DictReader(file)}


def states(output: Path) -> list[str]:
    return [row["state"] for row in summary(output).values()]


@contextlib.contextmanager
def dask_processes() -> Iterator[Any]:
    """A function that starts ``dask scheduler`` or ``dask worker``; these end with the block."""
    started: list[subprocess.Popen] = []

    def start(program: str, *arguments, library: Path = LIBRARY) -> subprocess.Popen:
        environment = dict(os.environ, PYTHONPATH=str(library), OMP_NUM_THREADS="1")
        command = [sys.executable, "-m", f"distributed.cli.dask_{program}", *map(str, arguments), "--no-dashboard"]
        started.append(subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        return started[-1]

    try:
        yield start
    finally:
        for process in started:
            with contextlib.suppress(psutil.Error):
                for child in psutil.Process(process.pid).children(recursive=True):
                    with contextlib.suppress(psutil.Error):
                        child.kill()
            process.kill()
            process.wait(10)


def started_scheduler(start, folder: Path) -> str:
    """The address of a scheduler that has just been started."""
    file = folder / "scheduler.json"
    start("scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", file)
    wait_for(file.exists)
    wait_for(lambda: file.read_text(encoding="utf-8").strip().endswith("}"))
    return json.loads(file.read_text(encoding="utf-8"))["address"]


def wait_for(condition, seconds: float = 300.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.05)


def deadly(request: dict[str, Any]) -> dict[str, Any]:
    """Works like a worker, except that a case named deadly ends the process, as a lack of memory would."""
    from MedDeepLib.cohort.work import do_case

    if "deadly" in str(request["item"]["outputs"]):
        os._exit(9)
    return do_case(request)
