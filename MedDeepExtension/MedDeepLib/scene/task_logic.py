"""The logic shared by all modules that train."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from MedDeepLib.jobs import Job, JobFolder, Launcher, application_launcher
from MedDeepLib.scene import runs
from MedDeepLib.scene.scene_jobs import EvaluationJob, PlanningJob, TrainingJob, start_training


class TaskLogic:
    """Starts jobs and loads their results into the scene; needs no panel.

    Each method returns at once with a job to ``wait()`` for. Wrong arguments raise
    :class:`MedDeepLib.errors.UserError`; a failure of the job makes ``wait()`` raise. A new run is put into a
    dated folder in the runs folder if ``run_folder`` is None.

    Attributes:
        task: name of the module's task.
        launcher: starts the workers.
    """

    task = ""

    def __init__(self, launcher: Launcher | None = None):
        """``launcher``: None for that of the application."""
        super().__init__()
        self.launcher = application_launcher() if launcher is None else launcher

    def train(
        self,
        dataset: str | Path,
        method: str,
        parameters: dict[str, Any] | None = None,
        run_folder: str | Path | None = None,
        device: str = "auto",
        seed: int = 0,
    ) -> TrainingJob | EvaluationJob:
        """Train a network."""
        job = Job(self.task, "train", method, dict(parameters or {}), dataset=str(dataset), device=device, seed=seed)
        folder = Path(run_folder) if run_folder else runs.new_folder(f"{self.task}_{method}")
        return start_training(self.launcher, JobFolder.create(folder, job))

    def plan(
        self, dataset: str | Path, method: str, parameters: dict[str, Any] | None = None, device: str = "auto"
    ) -> PlanningJob:
        """Plan a training for these images and this device, with reasons; read ``job.text`` after ``wait()``."""
        job = Job(self.task, "plan", method, dict(parameters or {}), dataset=str(dataset), device=device)
        folder = JobFolder.create(runs.temporary_folder(f"{self.task}_plan"), job)
        return PlanningJob(self.launcher.launch(folder))

    def cross_validate(
        self,
        dataset: str | Path,
        method: str,
        parameters: dict[str, Any] | None = None,
        folds: int | str = 5,
        run_folder: str | Path | None = None,
        device: str = "auto",
        seed: int = 0,
    ) -> TrainingJob | EvaluationJob:
        """Train and evaluate a network for every fold: each is evaluated on cases that it has not seen.

        Args:
            folds: how many by patient, or "site" to leave out one site at a time.
        """
        settings = {"dataset": str(dataset), "folds": str(folds), "device": device, "seed": seed}
        job = Job(self.task, "crossvalidate", method, dict(parameters or {}), **settings)
        folder = Path(run_folder) if run_folder else runs.new_folder(f"{self.task}_{method}_folds")
        return start_training(self.launcher, JobFolder.create(folder, job))

    def resume(self, run_folder: str | Path) -> TrainingJob | EvaluationJob:
        """Resume a training or cross-validation from its last checkpoint."""
        return start_training(self.launcher, JobFolder(run_folder))

    def evaluate(self, model: str | Path, dataset: str | Path, device: str = "auto") -> EvaluationJob:
        """Evaluate a model on the test cases of a dataset; the job's tables come into the scene."""
        job = Job(self.task, "evaluate", dataset=str(dataset), model=str(model), device=device)
        folder = JobFolder.create(runs.new_folder(f"{self.task}_evaluation"), job)
        return EvaluationJob(self.launcher.launch(folder), name=Path(dataset).stem)
