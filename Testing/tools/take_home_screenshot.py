"""Photograph the home panel at work, for the README.

    python Testing/tools/take_home_screenshot.py --runs FOLDER --dataset DATASET.json [--output FILE]

Everything in the picture really happens. FOLDER holds runs with trained models. Trainings with the settings of the
newest are started: one is stopped and one is killed once they have a checkpoint, and two are photographed while they
compute. The model is evaluated as well. What was started is deleted again.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / name) for name in ("MedDeepExtension", "SegmentModule", "Testing")]

PANEL_WIDTH = 520
LONGEST_SECONDS = 900
CHANGES = {"steps": 400, "validate_every": 10}
SHARE_WORTH_SEEING = 0.15


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, required=True, help="a folder with runs that have trained a model")
    parser.add_argument("--dataset", type=Path, required=True, help="a dataset with test cases")
    picture = REPOSITORY / "MedDeepExtension" / "Screenshots" / "home.png"
    parser.add_argument("--output", type=Path, default=picture)
    arguments = parser.parse_args()
    os.environ["MEDDEEP_RUNS"] = str(arguments.runs.resolve())
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    photographer = Photographer(arguments.dataset.resolve())
    try:
        photographer.photograph(arguments.output)
    finally:
        photographer.clean_up()
    return 0


class Photographer:
    """The open panel and the jobs that it shows."""

    def __init__(self, dataset: Path):
        import slicerhost

        slicerhost.start()
        self.host, self.dataset, self.started = slicerhost, dataset, []
        self.panel = slicerhost.load_module(REPOSITORY / "MedDeepExtension" / "MedDeepExtension.py")
        self.home, self.logic = self.panel.home, self.panel.logic

    def photograph(self, picture: Path) -> None:
        from MedDeepLib.jobs import Job

        self._wait(lambda: self.home.models.entries and not self.home.is_busy())
        model = self.home.models.entries[0]
        stopped, killed = self._train(), self._train()
        self._wait(lambda: all(job.folder.has_checkpoint() for job in (stopped, killed)))
        self.logic.stop(stopped.folder.path)
        killed.kill()
        self._wait(lambda: not stopped.is_running())
        evaluation = Job("segment", "evaluate", dataset=str(self.dataset), model=str(model.run))
        self._start(evaluation, "segment_evaluation").wait(LONGEST_SECONDS)
        running, _other = self._train(), self._train()
        self._wait(lambda: self._share(running) > SHARE_WORTH_SEEING)
        self.home.jobs.table.set_value(str(running.folder.path))
        self.home.models.table.set_value(str(model.folder))
        self._wait(lambda: not self.home.is_busy() and "validation" in self.panel.ui.jobsDetails.text)
        panel = self.panel.parent
        self.host.screenshot(self.panel, picture, (PANEL_WIDTH, 100))
        self.host.process_events(1.2)  # labels now know their width
        height = panel.minimumSizeHint().height()
        self.host.screenshot(self.panel, picture, (PANEL_WIDTH, height))

    def clean_up(self) -> None:
        for job in self.started:
            job.kill()
            self.logic.deleteJob(job.folder.path)
        self.host.unload_module(self.panel)

    def _train(self):
        """A training with the settings of the newest model."""
        from MedDeepLib.jobs import JobFolder

        job = JobFolder(self.home.models.entries[0].run).job()
        job = replace(job, dataset=str(self.dataset), parameters={**job.parameters, **CHANGES}, threads=0)
        return self._start(job, f"{job.task}_{job.method}")

    def _start(self, job, name: str):
        from MedDeepLib.jobs import JobFolder, launch
        from MedDeepLib.scene import runs

        self.started.append(launch(JobFolder.create(runs.new_folder(name), job)))
        return self.started[-1]

    def _share(self, job) -> float:
        """The share of its training that is done."""
        progress = job.folder.latest_progress()
        return progress["step"] / progress["total"] if progress and progress.get("stage") else 0.0

    def _wait(self, condition: Callable[[], bool]) -> None:
        began = time.monotonic()
        if not self.host.process_events(LONGEST_SECONDS, condition):
            raise SystemExit(f"waited in vain for {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    sys.exit(main())
