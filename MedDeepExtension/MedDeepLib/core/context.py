"""The context that a running job passes to its method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MedDeepLib.core.phases import Phases

if TYPE_CHECKING:
    import torch

    from MedDeepLib.data.dataset import Dataset


def _silent(event: str, **fields: Any) -> None:
    """Report nothing."""


@dataclass
class Context:
    """The environment of one job inside the worker.

    Attributes:
        device: where networks run.
        seed: every random number of the job derives from it and from the number of the step that uses it.
        folder: the job folder; checkpoints go there.
        dataset: the cases, for training and evaluation; None where a model is applied, which needs none.
        report: ``report(event, **fields)`` sends one event (see ``MedDeepLib.jobs.events``).
        stop_requested: true once the user has asked the job to stop; cheap enough to be asked at every step.
        phases: ``with phases(name)`` counts the time of a phase for the job's result.
    """

    device: torch.device
    seed: int = 0
    folder: Path = field(default_factory=Path)
    dataset: Dataset = None  # pyright: ignore[reportAssignmentType]  # set wherever it is used
    report: Callable[..., None] = _silent
    stop_requested: Callable[[], bool] = lambda: False
    phases: Phases = field(default_factory=Phases)
