"""Learning rate schedules: a factor on the optimiser's learning rate as a function of the step, from 0.

    Optimisation(optimizer, steps, learning_rate=cosine(steps, warmup=100))

Being pure functions they need no state to resume from a checkpoint. Only the plateau rule depends on validation
results; its state is part of the stage's progress.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

Schedule = Callable[[int], float]


def constant(warmup: int = 0) -> Schedule:
    """1, after a linear rise over ``warmup`` steps."""
    return lambda step: _rise(step, warmup)


def cosine(steps: int, warmup: int = 0) -> Schedule:
    """A linear rise over ``warmup`` steps, then half a cosine down to 0 at ``steps`` (arXiv 1608.03983)."""

    def factor(step: int) -> float:
        return _rise(step, warmup) * 0.5 * (1 + math.cos(math.pi * _share(step, steps, warmup)))

    return factor


def polynomial(steps: int, warmup: int = 0, power: float = 0.9) -> Schedule:
    """A linear rise over ``warmup`` steps, then (1 - share of the steps) ** ``power``, as in nnU-Net."""
    return lambda step: _rise(step, warmup) * (1 - _share(step, steps, warmup)) ** power


SCHEDULES = ("cosine", "polynomial", "constant")


def schedule(name: str, steps: int, warmup: int) -> Schedule:
    """The schedule of that name, one of :data:`SCHEDULES`."""
    return constant(warmup) if name == "constant" else {"cosine": cosine, "polynomial": polynomial}[name](steps, warmup)


@dataclass(frozen=True)
class Plateau:
    """Multiply the learning rate by ``factor`` after every ``patience`` validations without a better key metric."""

    patience: int
    factor: float = 0.5

    def reductions(self, validations_without_gain: int) -> int:
        """1 if the learning rate is lowered after this many validations without gain, otherwise 0."""
        return int(validations_without_gain > 0 and validations_without_gain % self.patience == 0)


def _rise(step: int, warmup: int) -> float:
    return min(1.0, (step + 1) / warmup) if warmup else 1.0


def _share(step: int, steps: int, warmup: int) -> float:
    """The share of the steps after the warm-up that is done, 0 to 1."""
    return min(1.0, max(0.0, (step - warmup) / max(1, steps - warmup)))
