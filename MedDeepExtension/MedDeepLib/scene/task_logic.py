"""What the logic of every module that trains can do, whatever its task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from MedDeepLib.scene import scene_jobs


class TaskLogic:
    """Starts jobs and brings their results into the scene; needs no panel.

    Each function returns at once with a job to ``wait()`` for. Wrong arguments raise
    :class:`MedDeepLib.errors.UserError`; what goes wrong in the job makes ``wait()`` raise.
    """

    task = ""

    def train(
        self,
        dataset: str | Path,
        method: str,
        parameters: dict[str, Any] | None = None,
        run_folder: str | Path | None = None,
        device: str = "auto",
        seed: int = 0,
    ) -> scene_jobs.TrainingJob:
        """Train a network; see :func:`MedDeepLib.scene.scene_jobs.start_training`."""
        return scene_jobs.start_training(self.task, dataset, method, parameters, run_folder, device, seed)

    def plan(
        self, dataset: str | Path, method: str, parameters: dict[str, Any] | None = None, device: str = "auto"
    ) -> scene_jobs.PlanningJob:
        """What a training would choose for these images and this device, and why; ``job.text`` after ``wait()``."""
        return scene_jobs.start_plan(self.task, dataset, method, parameters, device)

    def cross_validate(
        self,
        dataset: str | Path,
        method: str,
        parameters: dict[str, Any] | None = None,
        folds: int | str = 5,
        run_folder: str | Path | None = None,
        device: str = "auto",
        seed: int = 0,
    ) -> scene_jobs.EvaluationJob:
        """Judge a method on cases it has not seen; see :func:`MedDeepLib.scene.scene_jobs.start_cross_validation`."""
        return scene_jobs.start_cross_validation(
            self.task, dataset, method, folds, parameters, run_folder, device, seed
        )

    def resume(self, run_folder: str | Path) -> scene_jobs.TrainingJob | scene_jobs.EvaluationJob:
        """Go on with a training or cross-validation that was stopped or interrupted."""
        return scene_jobs.resume_training(run_folder)

    def evaluate(self, model: str | Path, dataset: str | Path, device: str = "auto") -> scene_jobs.EvaluationJob:
        """Evaluate a model on the test cases of a dataset; the job's tables come into the scene."""
        return scene_jobs.start_evaluation(self.task, model, dataset, device)
