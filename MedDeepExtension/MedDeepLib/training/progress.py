"""The progress of a stage, as stored in checkpoints."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

_EARLIER_NAMES = {"best_figure": "best_score", "parts": "micro_batches"}  # in checkpoints up to version 0.1


@dataclass
class Progress:
    """The progress of a stage; part of every checkpoint.

    Attributes:
        stage_index: which stage it is, from 0.
        step: steps done.
        batches: batches done; more than steps where several processes train together.
        seconds: of training, interruptions not counted.
        best_score: the best key metric so far, times the direction of the metric: more is better.
        best_step: the step at which it was reached; 0: there was no validation yet.
        validations_without_gain: since the best step.
        reductions: how often the plateau rule has lowered the learning rate.
        refresh_due, validation_due: the job was stopped in the middle of one, which is done again.
        finished: the stage is complete.
        micro_batches: number of micro-batches that a batch is split into.
    """

    stage_index: int
    step: int = 0
    batches: int = 0
    seconds: float = 0.0
    best_score: float = -math.inf
    best_step: int = 0
    validations_without_gain: int = 0
    reductions: int = 0
    refresh_due: bool = False
    validation_due: bool = False
    finished: bool = False
    micro_batches: int = 1

    def as_dict(self) -> dict[str, Any]:
        return dict(vars(self))

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Progress:
        """From a checkpoint of this version or the previous one."""
        return cls(**{_EARLIER_NAMES.get(name, name): value for name, value in content.items()})
